# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the expected speed of a benchmark's results."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark import analysis, expected
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import JudgingOptions, NodeFacts
from ansible_collections.multigpu.vllm.tests.support.sweep_results import sweep_results

MODEL: t.Final = {"weight_bytes": 9e9, "layers": 40}
#: Seconds per token of one stream: weights at 89 % of the bandwidth (RTX 4000 Ada), and 36 us for each layer.
TOKEN_TIME: t.Final = 9e9 / (0.89 * 360e9) + 40 * 36e-6


def node(speed: float = 1.0, **options: t.Any) -> NodeFacts:
    results = sweep_results(speed, noise=1e-9, prompt_tokens=[128], concurrency=[1, 8], tensor_parallel_size=1)
    chosen = {"model": MODEL, "memory_bandwidth": 360e9, **options}
    return NodeFacts.from_results("node-01", results, options=JudgingOptions(**chosen))


def with_expected(facts: NodeFacts) -> list[dict[str, t.Any]]:
    return expected.with_expected(facts, analysis.cells(facts.load.data["results"]))


def test_with_expected_of_each_number_of_streams() -> None:
    one, eight = with_expected(node())
    assert one["expected_throughput"] == pytest.approx(128 / (one["ttft"]["p50"] + 127 * TOKEN_TIME))
    # Without the size of the KV cache, a step of eight streams takes as long as one of a single stream.
    assert eight["expected_throughput"] == pytest.approx(8 * 128 / (eight["ttft"]["p50"] + 127 * TOKEN_TIME))


def test_with_expected_of_unknown_hardware_is_none() -> None:
    assert [cell["expected_throughput"] for cell in with_expected(node(model={}))] == [None, None]


# One stream of the sweep takes 21.25 ms per token at speed 1, which is 139 % of the expected speed.
@pytest.mark.parametrize(("speed", "status"), [(1.0, "pass"), (0.5, "warn"), (0.2, "fail")])
def test_finding_names_the_command_that_finds_the_cause(speed: float, status: str) -> None:
    result = expected.finding(node(speed))
    assert result.status.value == status
    assert (result.remedy or "").startswith("Run ansible-playbook multigpu.vllm.validate --limit node-01") is (
        status != "pass"
    )


def test_finding_uses_the_limits_of_the_user() -> None:
    limits = {"default": {"warn": 10, "fail": 5}}
    assert expected.finding(node(0.2, speed_limits=limits)).status.value == "pass"


def test_finding_without_gpu_facts_has_the_reason() -> None:
    facts = NodeFacts.from_results("node-01", {**sweep_results(), "gpu": {}})
    assert expected.finding(facts).summary == "the expected speed is unknown: gpu_facts was not run"
