# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result document of a benchmark; its JSON Schema is docs/benchmark-results.schema.json.

Rates are per second, times seconds. Whatever the terminal shows stands here.
"""

from __future__ import annotations

import typing as t
from collections import Counter
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
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark import analysis, regression
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.permutation_test import MINIMUM_REPEATS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.store import (
    Identity,
    UnreadableBaseline,
    find,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import verdict
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

SCHEMA_VERSION: t.Final = "1.0"

Json = dict[str, t.Any]

#: What the probe says about a load that goes to the limit on purpose: slow answers there are a result, not a fault.
_RESULTS_NOT_FAULTS: t.Final = ("performance.ttft", "performance.itl")


def node_document(
    node: NodeFacts, targets: Mapping[str, float | None], directory: Path, *, update: bool = False
) -> Json:
    """The entry of one node: what was measured on it, and how that compares with its baseline in ``directory``."""
    identity = identify(node)
    cells = analysis.cells(node.load.data.get("results") or ())
    comparison, regressed = _compare(cells, identity, node, directory, update=update)
    findings = sorted([*_probe_findings(node), regressed], key=_seriousness, reverse=True)
    return {
        "status": verdict(item.status for item in findings).value,
        "headline": _headline(findings),
        "gpu_model": identity.gpu_model,
        "gpus": len(node.devices) or None,
        "model": identity.model,
        "vllm_version": identity.vllm_version,
        "tensor_parallel_size": node.tensor_parallel.data.get("tensor_parallel_size"),
        "cells": cells,
        "knees": analysis.knees(cells, targets),
        "comparison": comparison,
        "stored_baseline": None,
        "findings": as_dicts(findings),
    }


def identify(node: NodeFacts) -> Identity:
    """What the node's speed belongs to. Of GPUs that differ, the most frequent comes first."""
    names = Counter(device.name for device in node.devices if device.name)
    server = node.load.data.get("server") or {}
    return Identity(
        node=node.name,
        gpu_model=" + ".join(name for name, _count in names.most_common()) or None,
        model=server.get("model"),
        vllm_version=server.get("version"),
    )


def _compare(
    cells: Sequence[Json], identity: Identity, node: NodeFacts, directory: Path, *, update: bool
) -> tuple[Json | None, Finding]:
    if not any(cell["output_throughput"] for cell in cells):
        return None, not_tested(regression.CHECK, "nothing was measured that could be compared")
    try:
        baseline = find(directory, identity)
    except UnreadableBaseline as error:
        if update:
            return None, not_tested(regression.CHECK, f"not compared: {error}")
        return None, failed(
            regression.CHECK,
            str(error),
            cause="The file was changed, or written by another version of the collection.",
            remedy="Delete the file, or replace it with -e benchmark_update_baseline=true.",
        )
    comparison = None if baseline is None else regression.compare_runs(cells, baseline)
    size = node.tensor_parallel.data.get("tensor_parallel_size")
    return comparison, regression.judge(comparison, identity, size, accept=update)


def _probe_findings(node: NodeFacts) -> list[Finding]:
    if not node.load.taken:
        return [_not_measured(str(node.load.reason), tested=not node.check_mode)]
    return [item for item in node.findings("performance") if item.check not in _RESULTS_NOT_FAULTS]


def _not_measured(reason: str, *, tested: bool) -> Finding:
    """No load was made: as intended in check mode, else a failure, because a missing figure is no good figure."""
    if not tested:
        return not_tested("performance.throughput", reason)
    return failed(
        "performance.throughput",
        reason,
        cause="Nothing was measured on this node.",
        remedy="See the task that failed on it, or run playbooks/validate.yml on it.",
    )


def _headline(findings: Sequence[Finding]) -> str:
    """What is wrong, else how it compares."""
    wrong = [item for item in findings if item.status in (Status.FAIL, Status.WARN)]
    told = wrong or [item for item in findings if item.check == regression.CHECK]
    return max(told, key=_seriousness).summary


def _seriousness(finding: Finding) -> int:
    return SEVERITY.index(finding.status)


def worth_keeping(node: Mapping[str, t.Any], *, update: bool) -> bool:
    """Whether this run becomes the node's baseline: there is none of its own yet, or ``update`` asks for it.

    A run with failed requests never does, nor one with too few rounds to be compared with.
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
    """The whole run; a node without an entry is one that gave no result, which fails."""
    entries = {name: node or _lost() for name, node in nodes.items()}
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


def _lost() -> Json:
    summary = "the node gave no result: it was lost, or an earlier task failed on it"
    return {
        "status": Status.FAIL.value,
        "headline": summary,
        "gpu_model": None,
        "gpus": None,
        "model": None,
        "vllm_version": None,
        "tensor_parallel_size": None,
        "cells": [],
        "knees": [],
        "comparison": None,
        "stored_baseline": None,
        "findings": as_dicts([_not_measured(summary, tested=True)]),
    }
