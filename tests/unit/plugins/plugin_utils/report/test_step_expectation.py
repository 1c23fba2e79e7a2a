# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the expected figures of a load step against the rules."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.step_expectation import step_expectation
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import expectation
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: 18 GB of weights at 360 GB/s on four GPUs, so that memory and not the host limits the speed.
MODEL = {"weight_bytes": 18e9, "layers": 64, "kv_heads": 8}
NOTHING = {"output_throughput": None, "itl": None}


def first_step(facts: NodeFacts) -> dict[str, t.Any]:
    return dict(facts.steps[0])


def test_expectation_of_the_user_has_limits(node: Callable[..., NodeFacts], results: dict) -> None:
    facts = node(results, expected_throughput=110.0)
    assert step_expectation(facts, first_step(facts))["output_throughput"] == {
        "expected": 110.0,
        "warn": 88.0,
        "fail": 55.0,
        "source": "validate_expected_throughput",
    }


def test_expectation_roofline_speed_becomes_token_gap(node: Callable[..., NodeFacts], results: dict) -> None:
    facts = node(results, model=MODEL, memory_bandwidth=360e9)
    step = first_step(facts)
    expected = step_expectation(facts, step)["itl"]
    assert expected is not None
    judged = expectation.speed(facts, expectation.setup(facts, step), step)
    assert 1 / expected["expected"] == pytest.approx(float(judged.expected), rel=0.01)
    assert expected["warn"] == pytest.approx(expected["expected"] / 0.8)
    assert expected["fail"] == pytest.approx(expected["expected"] / 0.5)
    assert expected["source"] == "roofline"


def test_expectation_user_limits_can_be_disabled(node: Callable[..., NodeFacts], results: dict) -> None:
    limits = {"default": {"warn": 90, "fail": 0}}
    facts = node(results, model=MODEL, memory_bandwidth=360e9, speed_limits=limits)
    expected = step_expectation(facts, first_step(facts))["itl"]
    assert expected is not None
    assert expected["warn"] == pytest.approx(expected["expected"] / 0.9)
    assert expected["fail"] is None


@pytest.mark.parametrize("change", [{"concurrency": 8}, {"skipped": "too long"}])
def test_expectation_only_for_steps_with_one_stream(
    node: Callable[..., NodeFacts], results: dict, change: dict
) -> None:
    facts = node(results, expected_throughput=110.0, model=MODEL, memory_bandwidth=360e9)
    assert step_expectation(facts, {**first_step(facts), **change}) == NOTHING


def test_expectation_without_facts_is_null(node: Callable[..., NodeFacts], results: dict) -> None:
    facts = node(results)
    assert step_expectation(facts, first_step(facts)) == NOTHING
    lost = node({"gpu": {"failed": True, "msg": "boom"}, "load": results["load"]})
    assert step_expectation(lost, first_step(lost)) == NOTHING


def test_expectation_host_bound_model_is_null(node: Callable[..., NodeFacts], results: dict) -> None:
    facts = node(results, model={**MODEL, "weight_bytes": 1e9, "layers": 8}, memory_bandwidth=3.3e12)
    assert step_expectation(facts, first_step(facts)) == NOTHING
