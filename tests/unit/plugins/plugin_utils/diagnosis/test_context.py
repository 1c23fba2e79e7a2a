# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rules can ask about a node."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import figures, listed

Build = Callable[..., t.Any]


def test_a_healthy_node(situation: Build) -> None:
    case = situation().case()
    assert (case.size, case.gpus, case.down, case.slow, case.silence, case.faults) == (4, 4, False, (), (), {})
    assert case.attained == pytest.approx(92, abs=0.2)
    assert case.recovery() is None
    assert case.transports == {"p2p": 2}


def test_a_slow_node_knows_what_it_would_gain(situation: Build) -> None:
    case = situation(speed=0.3).case()
    assert set(case.slow) == {"performance.roofline", "performance.scaling"}
    assert case.recovery() == "one stream from 31 to about 104 tok/s"
    assert case.speed_words() == ("one stream: 31.2 tok/s, 30 % of expected",)


def test_a_server_that_is_down_has_no_speed(situation: Build) -> None:
    case = situation(failure="connection_refused").case()
    assert case.down
    assert "performance.throughput" in case.silence
    assert case.slow == ()
    assert case.bound is None


def test_the_users_expectation_is_about_speed_and_not_about_silence(situation: Build) -> None:
    case = situation(expected_throughput=1000.0).case()
    assert not case.down
    assert case.slow == ("performance.throughput",)


def test_what_a_cause_explains_is_not_open_any_more(situation: Build) -> None:
    node = situation(tp=1)
    case = node.case()
    checks = ("memory.idle_gpu", "tensor_parallel.size")
    assert set(case.unexplained(*checks)) == set(checks)
    after = case.adding(*node.findings_of())
    assert after.unexplained(*checks) == ()
    assert after.has("tensor_parallel.off")
    assert not after.has("gpu.missing")


def test_power_is_told_as_part_of_its_limit(situation: Build) -> None:
    assert situation().case().power_share[0] == pytest.approx(100 * 100 / 130)


@pytest.mark.parametrize(("value", "is_on"), [("1", True), ("true", True), ("0", False), ("", False), (None, False)])
def test_switches(situation: Build, value: str | None, is_on: bool) -> None:
    environment = {} if value is None else {"NCCL_P2P_DISABLE": value}
    assert situation(environment=environment).case().is_set("NCCL_P2P_DISABLE") is is_on


def test_long_lines_are_cut(situation: Build) -> None:
    line = "(Worker_TP0 pid=1) ERROR 11-23 12:00:00 [x.py:1] torch.OutOfMemoryError: CUDA out of memory. " + "x" * 500
    assert len(situation(log=[line]).case().quote("cuda_oom")) <= 170


def test_words() -> None:
    assert figures({0: 91.6, 3: 2.0}, "%") == "GPU 0 92 %, GPU 3 2 %"
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
