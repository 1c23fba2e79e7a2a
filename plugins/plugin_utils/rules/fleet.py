# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All nodes of a run side by side: what one lacks that others have, and which is slower than its peers.

Works on the entries of the result document. Peers have the same GPUs, parallel sizes, model and vLLM version; a group
below the minimum of ``plugin_utils/rules/outliers.py`` falls back to the roofline of each of its nodes.
"""

from __future__ import annotations

import statistics
import typing as t
from collections import Counter
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import (
    Finding,
    Status,
    failed,
    not_tested,
    passed,
    warned,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.outliers import (
    MINIMUM_NODES,
    RELATIVE_FLOOR,
    SCORE_LIMIT,
    Outlier,
    find_outliers,
)

#: What all steps of a node together are called.
OVERALL: t.Final = "all steps"

#: A single step this far below its median counts by itself.
SINGLE_STEP_FLOOR: t.Final = 0.20

Node = Mapping[str, t.Any]
Nodes = Mapping[str, Node]

_SOURCE: t.Final = (
    f"median and MAD: modified z-score above {SCORE_LIMIT} and more than {RELATIVE_FLOOR:.0%} below the median "
    "(Iglewicz and Hoaglin)"
)


def evaluate(nodes: Nodes) -> list[Finding]:
    """``fleet.missing``, then one ``fleet.outlier`` for each group of comparable nodes."""
    return [missing(nodes), *outliers(nodes)]


def missing(nodes: Nodes) -> Finding:
    """Lost nodes, failed modules, and figures that a node lacks although nodes of its hardware have them."""
    lost = {name: [error["reason"] for error in node["errors"]] for name, node in nodes.items() if _broken(node)}
    lacking = {name: reasons for name, reasons in _lacking(nodes).items() if name not in lost}
    incomplete = {**lost, **lacking}
    figures = {"expected": len(nodes), "measured": len(nodes) - len(incomplete), "unit": "nodes complete"}
    if not incomplete:
        return passed("fleet.missing", "every node reported every measurement it was asked for", **figures)
    return failed(
        "fleet.missing",
        f"incomplete: {', '.join(incomplete)}",
        evidence=incomplete,
        cause="A node was lost, a module failed on it, or its server gave no figure where its peers did; what was not "
        "measured there is marked as not tested.",
        remedy="Mend the connection or the error named for the node, then run again with --limit for these nodes.",
        source="a missing measurement is a failure, not a pass (SuperBench)",
        **figures,
    )


def _broken(node: Node) -> bool:
    return bool(node["errors"]) or not node["reachable"]


def speeds(node: Node) -> dict[str, float]:
    """Load step -> output tokens per second, of the steps that are valid."""
    valid = (step for step in node["load"] if step["output_throughput"] and not step["void"] and not step["skipped"])
    return {_step_name(step): float(step["output_throughput"]) for step in valid}


def own_speeds(node: Node) -> dict[str, float]:
    """The same, without the steps in which other clients used the server: they say nothing about the node."""
    return speeds({**node, "load": [step for step in node["load"] if not step["shared"]]})


def _step_name(step: Mapping[str, t.Any]) -> str:
    """A step as its sizes, so that a name alone makes no two steps the same."""
    return f"{step['name']} ({step['prompt_tokens']}+{step['output_tokens']} tokens, {step['concurrency']} streams)"


def _hardware(node: Node) -> tuple[t.Any, ...]:
    return tuple(sorted(node["facts"]["gpus"]["names"].items()))


def _lacking(nodes: Nodes) -> dict[str, list[str]]:
    """Node -> load steps for which it has no figure, and most nodes with its GPUs have one."""
    groups: dict[tuple[t.Any, ...], dict[str, t.Collection[str]]] = {}
    for name, node in nodes.items():
        if not _broken(node) and _asked_for_speed(node):
            groups.setdefault(_hardware(node), {})[name] = speeds(node)
    found: dict[str, list[str]] = {}
    for measured in groups.values():
        counts = Counter(step for steps in measured.values() for step in steps)
        peers = len(measured) - 1
        for name, steps in measured.items():
            lacking = [step for step, count in counts.items() if 2 * count > peers and step not in steps]
            if lacking:
                found[name] = [f"no speed for {step}" for step in lacking]
    # In the order of the nodes, whatever their hardware.
    return {name: found[name] for name in nodes if name in found}


def _asked_for_speed(node: Node) -> bool:
    return any(section["area"] == "performance" and section["selected"] for section in node["sections"])


def outliers(nodes: Nodes) -> list[Finding]:
    """Slow nodes by their peers, one finding for each group; groups are told apart by what decides the speed."""
    measured = {name: node for name, node in nodes.items() if own_speeds(node)}
    if not measured:
        return [not_tested("fleet.outlier", "no node has a speed to compare")]
    if len(nodes) == 1:
        return [not_tested("fleet.outlier", "one node: nothing to compare it with")]
    groups: dict[str, dict[str, Node]] = {}
    for name, node in measured.items():
        groups.setdefault(group_name(node), {})[name] = node
    return [
        _by_peers(label, group) if len(group) >= MINIMUM_NODES else _by_roofline(label, group)
        for label, group in groups.items()
    ]


def group_name(node: Node) -> str:
    """``4 x NVIDIA RTX 4000 Ada Generation, TP 4, MODEL, vLLM 0.32.0``."""
    gpus, vllm = node["facts"]["gpus"], node["facts"]["vllm"]
    parts = [f"{count} x {name}" for name, count in sorted(gpus["names"].items())] or [f"{gpus['count'] or '?'} GPUs"]
    sizes = (
        ("TP", vllm["tensor_parallel_size"]),
        ("PP", vllm.get("pipeline_parallel_size")),
        ("DP", vllm.get("data_parallel_size")),
    )
    parts += [f"{kind} {size}" for kind, size in sizes if size and (kind == "TP" or size > 1)]
    return ", ".join([*parts, str(vllm["model"] or "model unknown"), f"vLLM {vllm['version'] or 'unknown'}"])


def slow_nodes(group: Nodes) -> dict[str, dict[str, Outlier]]:
    """Node -> load step -> how far it is below its peers; steps that too few nodes have are left out.

    A node is judged by all its steps together, which evens out their noise, and by a single step only where that is
    far off: with many steps and nodes some figure is always a little low.
    """
    by_step: dict[str, dict[str, float]] = {}
    for name, node in group.items():
        for step, speed in own_speeds(node).items():
            by_step.setdefault(step, {})[name] = speed
    common = {step: values for step, values in by_step.items() if len(values) >= MINIMUM_NODES}
    found: dict[str, dict[str, Outlier]] = {}
    tests = [(OVERALL, _overall(common), RELATIVE_FLOOR)]
    tests += [(step, values, SINGLE_STEP_FLOOR) for step, values in common.items()]
    for step, values, floor in tests:
        for outlier in find_outliers(values, floor=floor) if len(values) >= MINIMUM_NODES else ():
            # Faster than its peers is no trouble.
            if outlier.deviation < 0:
                found.setdefault(outlier.node, {})[step] = outlier
    return found


def _overall(by_step: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Node -> geometric mean over its steps of speed / median of the step: 1.0 is like its peers."""
    shares: dict[str, list[float]] = {}
    for values in by_step.values():
        median = statistics.median(values.values())
        for name, value in values.items():
            shares.setdefault(name, []).append(value / median)
    return {name: statistics.geometric_mean(values) for name, values in shares.items()}


def _by_peers(label: str, group: Nodes) -> Finding:
    slow = slow_nodes(group)
    figures: dict[str, t.Any] = {
        "expected": len(group),
        "measured": len(group) - len(slow),
        "unit": "nodes alike",
        "source": _SOURCE,
    }
    if not slow:
        alike = f"{len(group)} comparable nodes are alike ({label})"
        return passed("fleet.outlier", alike, evidence={"group": label, "nodes": list(group)}, **figures)
    worst = {name: min(steps.values(), key=lambda item: item.deviation) for name, steps in slow.items()}
    named = sorted(worst, key=lambda name: worst[name].deviation)
    shown = [f"{name} by {-worst[name].deviation:.0%}" for name in named]
    return failed(
        "fleet.outlier",
        f"slower than their peers: {', '.join(shown)} (of {len(group)} comparable nodes)",
        evidence={
            "group": label,
            "slow": {
                name: {
                    step: f"{item.value:.4g}, median {item.median:.4g}, score {min(item.score, 99):.1f}"
                    for step, item in slow[name].items()
                }
                for name in named
            },
        },
        cause="The same hardware and settings give less on this node: a GPU, its link, its host or its neighbours.",
        remedy="Look at that node's own findings first; where it has none, stop and start it, so that it lands on "
        "another host, and measure again.",
        **figures,
    )


def _by_roofline(label: str, group: Nodes) -> Finding:
    """Too few to judge by peers: each node against what its own hardware lets expect."""
    told = {name: _roofline(node) for name, node in group.items()}
    count = f"{len(group)} comparable node{'s' if len(group) > 1 else ''}"
    few = f"{count}, fewer than {MINIMUM_NODES}: judged by the roofline"
    attained = {name: item["evidence"].get("attained_percent") for name, item in told.items() if item}
    details: dict[str, t.Any] = {
        "evidence": {"group": label, "attained_percent": attained},
        "source": f"judging by peers needs {MINIMUM_NODES} nodes",
    }
    for status, verdict in ((Status.FAIL, failed), (Status.WARN, warned)):
        slow = [name for name, item in told.items() if item and item["status"] == status.value]
        if slow:
            return verdict(
                "fleet.outlier",
                f"{few}; too slow: {', '.join(slow)}",
                cause="These nodes are slower than their own hardware should be.",
                remedy="Look at the causes named for these nodes.",
                **details,
            )
    blind = [name for name, item in told.items() if not item or item["status"] == Status.NOT_TESTED.value]
    if blind:
        return not_tested("fleet.outlier", f"{few}, which is unknown for {', '.join(blind)}", **details)
    return passed("fleet.outlier", f"{few}; all as fast as they should be", **details)


def _roofline(node: Node) -> Mapping[str, t.Any] | None:
    findings = (item for section in node["sections"] for item in section["findings"])
    return next((item for item in findings if item["check"] == "performance.roofline"), None)
