# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a benchmark's result document, which follows the JSON Schema in docs/benchmark-results.schema.json.

Rates are per second and times are in seconds. The document contains everything that the terminal shows.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import (
    SEVERITY,
    Finding,
    Status,
    as_dicts,
    failed,
    not_tested,
    worst,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark import analysis, expected, regression
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.permutation_test import MINIMUM_REPEATS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.store import Identity, UnreadableBaseline, find
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import verdict
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

SCHEMA_VERSION: t.Final = "1.0"

Json = dict[str, t.Any]

#: Checks that do not apply to a sweep: it loads the server to its limit on purpose, so slow responses are not a fault.
_NOT_APPLICABLE: t.Final = ("performance.ttft", "performance.itl")


def node_document(
    node: NodeFacts, targets: Mapping[str, float | None], directory: Path, *, update: bool = False
) -> Json:
    """Return the result document's entry for one node: measurements, and a comparison with the node's baseline.

    :param directory: directory that contains the baselines.
    :param update: whether this run replaces the baseline.
    """
    identity = Identity.of(node)
    cells = expected.with_expected(node, analysis.cells(node.load.data.get("results") or ()))
    comparison, regressed = _compare(cells, identity, node, directory, update=update)
    speed = [expected.finding(node)] if node.load.taken else []
    findings = sorted([*_probe_findings(node), regressed, *speed], key=_severity, reverse=True)
    return {
        "status": verdict(item.status for item in findings).value,
        "headline": _headline(findings),
        "gpu_model": identity.gpu_model,
        "gpus": len(node.devices) or None,
        "model": identity.model,
        "vllm_version": identity.vllm_version,
        "tensor_parallel_size": node.tensor_parallel_size,
        "cells": cells,
        "knees": analysis.knees(cells, targets),
        "comparison": comparison,
        "stored_baseline": None,
        "findings": as_dicts(findings),
    }


def _compare(
    cells: Sequence[Json], identity: Identity, node: NodeFacts, directory: Path, *, update: bool
) -> tuple[Json | None, Finding]:
    if not any(cell["output_throughput"] for cell in cells):
        return None, not_tested(regression.CHECK, "no throughput was measured, so there is nothing to compare")
    try:
        baseline = find(directory, identity)
    except UnreadableBaseline as error:
        if update:
            return None, not_tested(regression.CHECK, f"not compared: {error}")
        return None, failed(
            regression.CHECK,
            str(error),
            cause="The file was edited, or written by another version of the collection.",
            remedy="Delete the file, or run again with -e benchmark_update_baseline=true to replace it.",
        )
    comparison = None if baseline is None else regression.compare_runs(cells, baseline)
    size = node.tensor_parallel_size
    return comparison, regression.judge(comparison, identity, size, accept=update)


def _probe_findings(node: NodeFacts) -> list[Finding]:
    if not node.load.taken:
        return [_not_measured(str(node.load.reason), tested=not node.check_mode)]
    return [item for item in node.findings("performance") if item.check not in _NOT_APPLICABLE]


def _not_measured(reason: str, *, tested: bool) -> Finding:
    """Return the finding for a node where no load test ran: ``not_tested`` in check mode, otherwise ``fail``."""
    if not tested:
        return not_tested("performance.throughput", reason)
    return failed(
        "performance.throughput",
        reason,
        cause="No load test ran on this node.",
        remedy="See the failed task in the output, or run playbooks/validate.yml on this node.",
    )


def _headline(findings: Sequence[Finding]) -> str:
    """Return the summary of the worst finding, or of the baseline comparison if no check fails or warns."""
    wrong = [item for item in findings if item.wrong]
    comparison = [item for item in findings if item.check == regression.CHECK]
    return max(wrong or comparison, key=_severity).summary


def _severity(finding: Finding) -> int:
    return SEVERITY.index(finding.status)


def becomes_baseline(node: Mapping[str, t.Any], *, update: bool) -> bool:
    """Return whether this run becomes the node's baseline.

    It does if the node has no baseline for this vLLM version, or if ``update`` is set. A run in which another check
    failed never becomes the baseline, and neither does a run with too few rounds for a comparison.
    """
    valid = [entry for cell in node["cells"] for entry in cell["rounds"] if entry["invalid"] is None]
    if node["model"] is None or not valid or len(node["cells"][0]["rounds"]) < MINIMUM_REPEATS:
        return False
    if any(item["status"] == "fail" and item["check"] != regression.CHECK for item in node["findings"]):
        return False
    regressed = next(item for item in node["findings"] if item["check"] == regression.CHECK)
    if update:
        return True
    if node["comparison"] is None:
        return bool(regressed["status"] == "not_tested")
    return bool(node["comparison"]["baseline"]["vllm_version"] != node["vllm_version"])


def results_document(nodes: Mapping[str, Json | None], run: Json) -> Json:
    """Return the result document of a run. A node whose entry is None counts as failed."""
    entries = {name: node or _missing_node() for name, node in nodes.items()}
    statuses = [entry["status"] for entry in entries.values()]
    return {
        "schema_version": SCHEMA_VERSION,
        "run": run,
        "summary": {
            "status": worst(statuses).value,
            "nodes": {status.value: statuses.count(status.value) for status in SEVERITY},
        },
        "nodes": entries,
    }


def _missing_node() -> Json:
    summary = "no result: the node became unreachable, or an earlier task failed on it"
    unknown = ("gpu_model", "gpus", "model", "vllm_version", "tensor_parallel_size", "comparison", "stored_baseline")
    return {
        "status": Status.FAIL.value,
        "headline": summary,
        **dict.fromkeys(unknown),
        "cells": [],
        "knees": [],
        "findings": as_dicts([_not_measured(summary, tested=True)]),
    }
