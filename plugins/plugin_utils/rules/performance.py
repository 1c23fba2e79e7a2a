# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect the findings of the load test, and compare the measured speed with the expected speed."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, passed, warned
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
    compared = [item for item in speed if "attained_percent" in item.evidence and item.tested]
    return bool(compared) and not any(item.wrong for item in speed)


def one_stream(node: NodeFacts, findings: Iterable[Finding]) -> dict[str, t.Any] | None:
    """Return the speed of one stream and the speed expected of it, or None if no single stream was measured.

    The expected speed of the user takes precedence over that of the hardware. It is None if it is unknown or does not
    apply, for example because other clients used the server.

    :returns: ``speed`` and ``expected`` in tokens/s, ``percent`` of the expected speed, and the ``source`` of the
        expected speed: ``user``, ``table``, ``roofline`` or ``history``.
    """
    step = single_stream(node)
    if step is None:
        return None
    by_check = {item.check: item for item in findings if item.unit == "tok/s" and item.measured is not None}
    roofline = by_check.get("performance.roofline")
    compared = (item for item in (by_check.get("performance.throughput"), roofline) if item is not None)
    finding = next((item for item in compared if "attained_percent" in item.evidence and item.tested), None)
    measured = finding or roofline
    speed = float(step["output_throughput"] if measured is None else measured.measured)
    percent = None if finding is None else float(finding.evidence["attained_percent"])
    return {
        "speed": speed,
        "expected": round(100.0 * speed / percent, 1) if percent else None,
        "percent": percent,
        "source": finding.evidence.get("kind", "user") if finding else None,
    }


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
