# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect the findings of the load test, and compare the measured speed with the expected speed."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status, failed, passed, warned
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import expectation as hardware_expectation
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import limits
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts


def evaluate(node: NodeFacts) -> list[Finding]:
    """Return the findings of the ``performance`` checks.

    A comparison with the user's expectation replaces the module's pass for the throughput.
    """
    compared = expectation(node)
    findings = node.findings("performance", replaced_by=[] if compared is None else [compared])
    return [*findings, *hardware_expectation.evaluate(node, single_stream(node))]


def single_stream(node: NodeFacts) -> Mapping[str, t.Any] | None:
    """Return the first valid load step that has only one stream, or None if there is no such step."""
    for step in node.steps:
        if step.get("concurrency") == 1 and step.get("output_throughput") and not step.get("void"):
            return step
    return None


def fast(node: NodeFacts) -> bool:
    """Return whether one stream reached its expected speed, which was therefore known, and no comparison failed."""
    speed = [item for item in evaluate(node) if item.check in ("performance.throughput", *hardware_expectation.SPEED)]
    compared = [item for item in speed if "attained_percent" in item.evidence and item.status is not Status.NOT_TESTED]
    return bool(compared) and not any(item.wrong for item in speed)


def expectation(node: NodeFacts) -> Finding | None:
    """Compare the speed of one stream with ``validate_expected_throughput``; return None if either value is missing."""
    expected = node.options.expected_throughput
    step = single_stream(node)
    if expected is None or step is None:
        return None
    measured = float(step["output_throughput"])
    attained = 100.0 * measured / expected
    figures = {
        "expected": expected,
        "measured": round(measured, 1),
        "unit": "tok/s",
        "evidence": {"step": step.get("name"), "attained_percent": round(attained, 1)},
    }
    summary = f"one stream reaches {attained:.0f} % of the expected speed"
    if attained >= limits.THROUGHPUT_WARN.value:
        return passed("performance.throughput", summary, **figures)
    cause = "The server is slower than expected; sections 2 to 4 and 6 usually show why."
    remedy = (
        "Fix the faults in the other sections first, then run again. If there are none, check "
        "validate_expected_throughput."
    )
    if hardware_expectation.shared(step):
        cause = "Other clients used the server while the single stream was measured."
        remedy = "Run again when no other client uses the server."
    below_half = attained < limits.THROUGHPUT_FAIL.value
    verdict, limit = (failed, limits.THROUGHPUT_FAIL) if below_half else (warned, limits.THROUGHPUT_WARN)
    return verdict("performance.throughput", summary, source=limit.source, cause=cause, remedy=remedy, **figures)
