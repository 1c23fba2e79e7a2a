# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Live performance: what the probe found, and its speed against what the user and the hardware let expect."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, passed, warned
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import expectation as hardware_expectation
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import limits
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: Check -> the measurements it needs.
CHECKS: t.Final[dict[str, tuple[str, ...]]] = {
    "performance.throughput": ("load",),
    "performance.ttft": ("load",),
    "performance.itl": ("load",),
    "performance.client_limited": ("load",),
    "performance.token_reconciliation": ("load",),
    **hardware_expectation.CHECKS,
}


def evaluate(node: NodeFacts) -> list[Finding]:
    """Findings of area ``performance``: the probe's own, the user's expectation, and the hardware's."""
    findings = [*node.findings("performance"), *hardware_expectation.evaluate(node, single_stream(node))]
    judged = expectation(node)
    return findings if judged is None else [*findings, judged]


def single_stream(node: NodeFacts) -> t.Mapping[str, t.Any] | None:
    """The first valid step with one request at a time: what the guide's table speaks of; ``None`` if there is none."""
    for step in node.steps:
        if step.get("concurrency") == 1 and step.get("output_throughput") and not step.get("void"):
            return step
    return None


def expectation(node: NodeFacts) -> Finding | None:
    """One stream's speed against ``validate_expected_throughput``; ``None`` where either is missing."""
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
    if attained >= limits.THROUGHPUT_WARN.value:
        return passed("performance.throughput", f"one stream reaches {attained:.0f} % of what is expected", **figures)
    below_half = attained < limits.THROUGHPUT_FAIL.value
    why = {
        "cause": "The server is slower than this hardware should be; sections 2 to 4 and 6 usually show why.",
        "remedy": "Mend what the other sections name first, then run again; if they name nothing, check "
        "validate_expected_throughput.",
    }
    if hardware_expectation.shared(step):
        why = {
            "cause": "Other clients used the server while one stream was measured.",
            "remedy": "Run again when nobody else uses the server.",
        }
    verdict, limit = (failed, limits.THROUGHPUT_FAIL) if below_half else (warned, limits.THROUGHPUT_WARN)
    return verdict(
        "performance.throughput",
        f"one stream reaches only {attained:.0f} % of what is expected",
        source=limit.source,
        **why,
        **figures,
    )
