# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the expected throughput and inter-token latency of a load step. The plots in the report show these values."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import expectation, limits
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.expected_speed import Unknown, expected_speed

#: Source of each kind of expectation, for the legend of a plot. The ``performance.roofline`` finding has the formula.
_SOURCES: t.Final = {"table": "reference table", "roofline": "roofline", "history": "this node's usual speed"}

Step = Mapping[str, t.Any]
#: The keys are ``expected``, ``warn`` and ``fail`` in the unit of the metric (None if disabled), and ``source``.
Expected = dict[str, t.Any]


def step_expectation(node: NodeFacts, step: Step) -> dict[str, Expected | None]:
    """Return the expected ``output_throughput`` (tokens/s) and ``itl`` (seconds); an unknown expectation is None.

    Only steps with one stream and without other clients have an expectation, because the formulas do not cover several
    streams.
    """
    alone = step.get("concurrency") == 1 and not step.get("skipped") and not expectation.shared(step)
    return {
        "output_throughput": _user_expectation(node) if alone else None,
        "itl": _hardware_expectation(node, step) if alone else None,
    }


def _user_expectation(node: NodeFacts) -> Expected | None:
    """Return the throughput that the user expects, with its warning and failure limits."""
    speed = node.options.expected_throughput
    if speed is None:
        return None
    return {
        "expected": speed,
        "warn": speed * limits.THROUGHPUT_WARN.value / 100,
        "fail": speed * limits.THROUGHPUT_FAIL.value / 100,
        "source": "validate_expected_throughput",
    }


def _hardware_expectation(node: NodeFacts, step: Step) -> Expected | None:
    """Return the inter-token latency that the hardware should reach, with its warning and failure limits."""
    if not node.gpu.taken or node.mig_gpus:
        return None
    facts = expectation.setup(node, step)
    try:
        expected = expected_speed(facts)
    except Unknown:
        return None
    measured = expectation.decode_rate(step) if step.get("output_throughput") else 0.0
    if expectation.not_applicable(facts, expected, measured, expectation.speculative(node, step)):
        return None
    warn, fail, _source = expectation.speed_limits(node, facts.gpu_name)
    return {
        "expected": 1 / expected.speed,
        "warn": 100 / (warn * expected.speed) if warn else None,
        "fail": 100 / (fail * expected.speed) if fail else None,
        "source": _SOURCES[expected.kind],
    }
