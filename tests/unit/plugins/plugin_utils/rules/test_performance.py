# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the comparison of the speed with validate_expected_throughput."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import performance
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import needs
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

Build = Callable[..., NodeFacts]


@pytest.mark.parametrize(
    ("expected", "status"),
    [(100.0, "pass"), (130.25, "pass"), (131.0, "warn"), (208.4, "warn"), (209.0, "fail")],
)
def test_expectation_limits(node: Build, results: dict, expected: float, status: str) -> None:
    """The single stream of the fixture reaches 104.2 tok/s: 80 % of 130.25, 50 % of 208.4."""
    finding = performance.expectation(node(results, expected_throughput=expected))
    assert finding is not None
    assert finding.status is Status(status)
    assert finding.measured == 104.2


def test_expectation_with_a_shared_server_names_it_as_cause(node: Build, results: dict) -> None:
    results["load"]["results"][0]["shared"] = True
    finding = performance.expectation(node(results, expected_throughput=209.0))
    assert finding is not None
    assert finding.cause == "Other clients used the server while the single stream was measured."


def test_expectation_without_option_is_none(node: Build, results: dict) -> None:
    assert performance.expectation(node(results)) is None
    assert {item.check for item in performance.evaluate(node(results))} == set(needs("performance"))


def test_single_stream_ignores_void_steps(node: Build, results: dict) -> None:
    results["load"]["results"][0]["void"] = True
    step = performance.single_stream(node(results))
    assert step is not None
    assert step["name"] == "prompt-1024"


def test_expectation_without_single_stream_is_none(node: Build, results: dict) -> None:
    results["load"]["results"] = results["load"]["results"][2:]
    assert performance.expectation(node(results, expected_throughput=100.0)) is None


def test_expectation_replaces_the_modules_pass(node: Build, results: dict) -> None:
    findings = performance.evaluate(node(results, expected_throughput=100.0))
    summaries = [item.summary for item in findings if item.check == "performance.throughput"]
    assert summaries == ["one stream reaches 104 % of the expected speed"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"expected_throughput": 208.4}, {"speed": 104.2, "expected": 208.4, "percent": 50.0, "source": "user"}),
        ({}, {"speed": 100.0, "expected": None, "percent": None, "source": None}),
    ],
)
def test_one_stream_has_a_percentage_only_if_a_speed_is_expected(node, results, options: dict, expected: dict) -> None:
    subject = node(results, **options)
    assert performance.one_stream(subject, performance.evaluate(subject)) == expected


def test_one_stream_compared_with_the_roofline(node, results) -> None:
    subject = node(results, memory_bandwidth=360e9, model={"weight_bytes": 18e9, "layers": 64})
    speed = performance.one_stream(subject, performance.evaluate(subject))
    assert (speed["speed"], speed["source"]) == (100.0, "roofline")
    assert speed["percent"] == pytest.approx(100 * 100.0 / speed["expected"], rel=0.01)


def test_one_stream_without_a_single_stream_is_none(node, results) -> None:
    results["load"]["results"] = results["load"]["results"][2:]
    assert performance.one_stream(node(results), []) is None
