# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate the answers of a node: those of one server compared with a stored reference, and those of a fleet."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.output import judge
from ansible_collections.multigpu.vllm.plugins.module_utils.output.run import answers_of
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.recorded_answers import RecordedAnswers

FLEET: t.Final = "fleet.output"


def evaluate(node: NodeFacts) -> list[Finding]:
    """Return the findings for the ``output`` area."""
    own, stored = recorded(node), node.options.output_reference
    if own is None and node.output.data.get("recording"):
        raise ValueError("its recording has positions without tokens")
    compared = [_compared(own, stored)] if own and stored else []
    return node.findings("output", replaced_by=compared)


def recorded(node: NodeFacts) -> RecordedAnswers | None:
    """Return the answers of the node's server, or None if none were recorded or the recording is invalid."""
    recording = node.output.data.get("recording")
    if not recording:
        return None
    try:
        answers = answers_of(recording)
    except ValueError:
        return None
    return RecordedAnswers.of(node.name, {**recording, "answers": answers}, node.arguments)


def _compared(own: RecordedAnswers, stored: RecordedAnswers) -> Finding:
    """Return the ``output.reference`` finding for a stored reference."""
    if own.identity != stored.identity:
        return not_tested(judge.REFERENCE, f"{stored.source} has another model, quantisation or seed")
    rows = judge.comparison(own.recording["answers"], stored.recording["answers"])
    return judge.reference(rows, stored.source, certain=own.certain)


def fleet(nodes: Mapping[str, RecordedAnswers]) -> list[Finding]:
    """Return a ``fleet.output`` finding for each group of at least two nodes with the same model and quantisation.

    Each node is compared with the first node of each cluster, and joins the first cluster whose answers it shares. More
    than half of a group is right by majority.
    """
    return [_group(group) for group in _groups(nodes) if len(group) > 1]


def _groups(nodes: Mapping[str, RecordedAnswers]) -> list[dict[str, RecordedAnswers]]:
    groups: dict[str, dict[str, RecordedAnswers]] = {}
    for name, answers in nodes.items():
        groups.setdefault(repr(answers.identity), {})[name] = answers
    return list(groups.values())


def references(nodes: Mapping[str, RecordedAnswers]) -> list[str]:
    """Return the names of nodes whose answers may become references, at most one for each model and quantisation.

    Of several nodes, it is a trusted one of the majority. Without a majority, there is none.
    """
    chosen = []
    for group in _groups(nodes):
        largest = clusters(group)[0]
        trusted = [name for name in largest if group[name].trusted]
        chosen += trusted[:1] if 2 * len(largest) > len(group) else []
    return chosen


def clusters(group: Mapping[str, RecordedAnswers]) -> list[list[str]]:
    """Return the names of the nodes that answer alike, the largest cluster first."""
    found: list[list[str]] = []
    for name, answers in group.items():
        own = next((cluster for cluster in found if _alike(answers, group[cluster[0]])), None)
        if own is None:
            found.append([name])
        else:
            own.append(name)
    return sorted(found, key=len, reverse=True)


def _alike(one: RecordedAnswers, other: RecordedAnswers) -> bool:
    largest = judge.deviation(judge.comparison(one.recording["answers"], other.recording["answers"]))
    return largest is not None and largest <= judge.WRONG


def _group(group: Mapping[str, RecordedAnswers]) -> Finding:
    found = clusters(group)
    model = next(iter(group.values())).identity["model"]
    evidence: dict[str, t.Any] = {"model": model, "alike": found}
    figures = {"expected": len(group), "measured": len(found[0]), "unit": "nodes alike", "evidence": evidence}
    if len(found) == 1:
        return passed(FLEET, f"{len(group)} nodes compute the same answers ({model})", **figures)
    others = [name for cluster in found[1:] for name in cluster]
    if 2 * len(found[0]) > len(group):
        fault, evidence["outliers"] = FAULTS["output_outlier"], others
        summary = f"{', '.join(others)} {'answers' if len(others) == 1 else 'answer'} differently from the other"
        return failed(
            FLEET, f"{summary} {len(found[0])} nodes ({model})", cause=fault.cause, remedy=fault.remedy, **figures
        )
    fault = FAULTS["output_split"]
    named = " and ".join(", ".join(cluster) for cluster in found)
    return warned(FLEET, f"different answers: {named} ({model})", cause=fault.cause, remedy=fault.remedy, **figures)
