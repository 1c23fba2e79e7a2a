# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the facts and findings that the diagnosing rules read."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import (
    conclude_from_log,
    figures,
    listed,
)

Build = Callable[..., t.Any]


def test_context_of_a_healthy_node_has_nothing_wrong(situation: Build) -> None:
    context = situation().context()
    assert (context.node.group_size, context.gpu_count, context.down) == (4, 4, False)
    assert (context.slow, context.outage_checks, context.faults) == ((), (), {})
    assert context.attained == pytest.approx(92, abs=0.2)
    assert context.recovery() is None
    assert context.transports == {"p2p": 2}


def test_context_of_a_slow_node_has_a_possible_gain(situation: Build) -> None:
    context = situation(speed=0.3).context()
    assert set(context.slow) == {"performance.roofline", "performance.scaling"}
    assert context.recovery() == "one stream from 28 to about 92 tok/s (±10 %)"
    assert context.speed_evidence() == ("one stream: 27.6 tok/s, 30 % of expected",)


def test_context_of_an_outage_has_no_speed(situation: Build) -> None:
    context = situation(failure="connection_refused").context()
    assert context.down
    assert "performance.throughput" in context.outage_checks
    assert context.slow == ()
    assert context.roofline is None


def test_context_below_expected_throughput_is_slow_and_not_down(situation: Build) -> None:
    context = situation(expected_throughput=1000.0).context()
    assert not context.down
    assert context.slow == ("performance.throughput",)


def test_context_with_a_diagnosis_has_its_checks_explained(situation: Build) -> None:
    node = situation(tp=1)
    context = node.context()
    checks = ("memory.idle_gpu", "tensor_parallel.size")
    assert set(context.unexplained(*checks)) == set(checks)
    after = context.adding(*node.findings_of())
    assert after.unexplained(*checks) == ()
    assert after.has_diagnosis("tensor_parallel.off")
    assert not after.has_diagnosis("gpu.missing")


def test_context_power_share_is_relative_to_the_limit(situation: Build) -> None:
    assert situation().context().power_share[0] == pytest.approx(100 * 100 / 130)


def test_context_quote_shortens_long_lines(situation: Build) -> None:
    line = "(Worker_TP0 pid=1) ERROR 11-23 12:00:00 [x.py:1] torch.OutOfMemoryError: CUDA out of memory. " + "x" * 500
    assert len(situation(log=[line]).context().quote("cuda_oom")) <= 170


def test_figures_and_listed_join_values() -> None:
    assert figures({0: 91.6, 3: 2.0}, "%") == "GPU 0 92 %, GPU 3 2 %"
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_conclude_from_log_needs_the_fault_and_quotes_its_line(situation: Build) -> None:
    assert conclude_from_log(situation().context(), "host_oom", "memory.host_out_of_memory") is None
    line = "(Worker_TP0 pid=1) ERROR 11-23 12:00:00 [x.py:1] torch.OutOfMemoryError: CUDA out of memory."
    context = situation(log=[line]).context()
    diagnosis = conclude_from_log(context, "cuda_oom", "memory.host_out_of_memory", "memory.oom", evidence=["more"])
    assert diagnosis is not None
    assert diagnosis.evidence == (context.quote("cuda_oom"), "more")
    assert set(diagnosis.findings) == {*context.wrong("memory.oom"), *context.outage_checks}
