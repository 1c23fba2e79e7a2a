# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the fleet for nodes with missing results, and for nodes that are slower than their peers.

The rules read the hosts in the report. Peers have the same GPUs, parallel sizes, model and vLLM version. If a group has
fewer than ``outliers.MINIMUM_NODES`` nodes, each node is compared with its expected speed instead.
"""

from __future__ import annotations

import statistics
import typing as t
from collections import Counter
from collections.abc import Mapping, Sequence

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

#: Name of the comparison over all load steps of a node.
OVERALL: t.Final = "all steps"

#: A node counts as slow if the speed of a single load step is below the median by more than this fraction.
SINGLE_STEP_FLOOR: t.Final = 0.20

Node = Mapping[str, t.Any]
Nodes = Mapping[str, Node]

_SOURCE: t.Final = (
    f"median and MAD: modified z-score above {SCORE_LIMIT} and more than {100 * RELATIVE_FLOOR:.0f} % below the median "
    "(Iglewicz and Hoaglin)"
)


def evaluate(nodes: Nodes) -> list[Finding]:
    """Return the ``fleet.missing`` finding, and one ``fleet.outlier`` finding for each group of comparable nodes."""
    return [missing(nodes), *outliers(nodes)]


def missing(nodes: Nodes) -> Finding:
    """Return the ``fleet.missing`` finding, which lists the nodes with missing results.

    A node is listed if it was unreachable, if a module failed on it, or if it lacks results that most peers have.
    """
    lost = {name: [error["reason"] for error in node["errors"]] for name, node in nodes.items() if _broken(node)}
    lacking = {name: reasons for name, reasons in _lacking(nodes).items() if name not in lost}
    incomplete = {**lost, **lacking}
    figures = {"expected": len(nodes), "measured": len(nodes) - len(incomplete), "unit": "nodes complete"}
    if not incomplete:
        return passed("fleet.missing", "every node reported every requested measurement", **figures)
    return failed(
        "fleet.missing",
        f"{len(incomplete)} of {len(nodes)} nodes {'has' if len(incomplete) == 1 else 'have'} incomplete results: "
        f"{', '.join(incomplete)}",
        evidence=incomplete,
        cause="A node was unreachable, a module failed on it, or its server returned no result although its peers did. "
        "Everything that was not measured is reported as not tested.",
        remedy="Fix the connection or the error that is reported for the node, then run again with --limit for these "
        "nodes.",
        source="a missing measurement is a failure, not a pass (SuperBench)",
        **figures,
    )


def _broken(node: Node) -> bool:
    return bool(node["errors"]) or not node["reachable"]


def speeds(node: Node) -> dict[str, float]:
    """For each valid load step of a node, return the output tokens per second."""
    valid = (step for step in node["load"] if not step["void"] and not step["skipped"])
    return {_step_name(step): float(speed) for step in valid if (speed := step["output_throughput"] or 0.0) > 0.0}


def own_speeds(node: Node) -> dict[str, float]:
    """For each valid load step of a node, return the output tokens per second.

    Load steps during which another client used the server are left out.
    """
    return speeds({**node, "load": [step for step in node["load"] if not step["shared"]]})


def _step_name(step: Mapping[str, t.Any]) -> str:
    """Return the name of a load step, followed by the number of tokens per request and the number of streams.

    These numbers distinguish load steps that have the same name.
    """
    return f"{step['name']} ({step['prompt_tokens']}+{step['output_tokens']} tokens, {step['concurrency']} streams)"


def _hardware(node: Node) -> tuple[t.Any, ...]:
    return tuple(sorted(node["facts"]["gpus"]["names"].items()))


def _lacking(nodes: Nodes) -> dict[str, list[str]]:
    """For each node with incomplete results, return one message per load step without a result.

    A node whose server answered no load step is incomplete. Otherwise, a load step counts only if most of the other
    nodes with the same GPUs have a result for this step.
    """
    missing_steps: dict[str, list[str]] = {}
    groups: dict[tuple[t.Any, ...], dict[str, t.Collection[str]]] = {}
    for name, node in nodes.items():
        if not _broken(node) and _speed_requested(node) and not _headless(node):
            groups.setdefault(_hardware(node), {})[name] = answered = speeds(node)
            if not answered and _unanswered(node):
                missing_steps[name] = ["the server answered no load step"]
    for measured in groups.values():
        counts = Counter(step for steps in measured.values() for step in steps)
        peers = len(measured) - 1
        for name, steps in measured.items():
            lacking = [step for step, count in counts.items() if 2 * count > peers and step not in steps]
            if lacking and name not in missing_steps:
                missing_steps[name] = [f"no speed for {step}" for step in lacking]
    return {name: missing_steps[name] for name in nodes if name in missing_steps}


def _headless(node: Node) -> bool:
    return bool((node["facts"].get("group") or {}).get("rank"))


def _speed_requested(node: Node) -> bool:
    return any(section["area"] == "performance" and section["selected"] for section in node["sections"])


def _unanswered(node: Node) -> bool:
    return any(
        finding["check"] == "performance.throughput" and finding["status"] == Status.FAIL.value
        for section in node["sections"]
        for finding in section["findings"]
    )


def outliers(nodes: Nodes) -> list[Finding]:
    """Return one finding for each large group of nodes that should have the same speed, and one for all other nodes."""
    measured = {name: node for name, node in nodes.items() if own_speeds(node)}
    if not measured:
        return [not_tested("fleet.outlier", "no node has a speed to compare")]
    if len(nodes) == 1:
        return [not_tested("fleet.outlier", "only one node, so there is nothing to compare")]
    groups: dict[str, dict[str, Node]] = {}
    for name, node in measured.items():
        groups.setdefault(group_name(node), {})[name] = node
    large = {label: group for label, group in groups.items() if len(group) >= MINIMUM_NODES}
    others = {label: group for label, group in groups.items() if label not in large}
    return [*(_by_peers(label, group) for label, group in large.items()), *([_by_roofline(others)] if others else [])]


def group_name(node: Node) -> str:
    """Return the name of a node's group, such as ``4 x NVIDIA RTX 4000 Ada Generation, TP 4, MODEL, vLLM 0.32.0``."""
    gpus, vllm = node["facts"]["gpus"], node["facts"]["vllm"]
    parts = [f"{count} x {name}" for name, count in sorted(gpus["names"].items())] or [f"{gpus['count'] or '?'} GPUs"]
    sizes = (
        ("TP", vllm["tensor_parallel_size"]),
        ("PP", vllm.get("pipeline_parallel_size")),
        ("DP", vllm.get("data_parallel_size")),
    )
    parts += [f"{kind} {size}" for kind, size in sizes if size and (kind == "TP" or size > 1)]
    engine = vllm.get("engine") or f"vLLM {vllm['version'] or 'unknown'}"
    return ", ".join([*parts, str(vllm["model"] or "model unknown"), engine])


def slow_nodes(group: Nodes) -> dict[str, dict[str, Outlier]]:
    """Return the outliers that are slower than their peers, as ``{node: {load step: outlier}}``.

    Load steps with results from too few nodes are left out. A node is evaluated by all its steps together, which
    averages out the noise. A single step counts only if it is far below the median, because with many steps and nodes,
    some result is always a little low.
    """
    by_step: dict[str, dict[str, float]] = {}
    for name, node in group.items():
        for step, speed in own_speeds(node).items():
            by_step.setdefault(step, {})[name] = speed
    common = {step: values for step, values in by_step.items() if len(values) >= MINIMUM_NODES}
    slow: dict[str, dict[str, Outlier]] = {}
    tests = [(OVERALL, _overall(common), RELATIVE_FLOOR)]
    tests += [(step, values, SINGLE_STEP_FLOOR) for step, values in common.items()]
    for step, values, floor in tests:
        for outlier in find_outliers(values, floor=floor):
            if outlier.deviation < 0:
                slow.setdefault(outlier.node, {})[step] = outlier
    return slow


def _overall(by_step: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return each node's speed divided by the median speed of all nodes, averaged over all load steps."""
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
        summary = f"{len(group)} comparable nodes are equally fast ({label})"
        return passed("fleet.outlier", summary, evidence={"group": label, "nodes": list(group)}, **figures)
    worst = {name: min(steps.values(), key=lambda item: item.deviation) for name, steps in slow.items()}
    named = sorted(worst, key=lambda name: worst[name].deviation)
    shown = [f"{name} by {-100 * worst[name].deviation:.0f} %" for name in named]
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
        cause="These nodes are slower with the same hardware and settings, because of a GPU, its link, the host or "
        "other tenants of the host.",
        remedy="Check the findings of these nodes first. If a node has none, stop and start it so that it moves to "
        "another host, then measure again.",
        **figures,
    )


def _by_roofline(groups: Mapping[str, Nodes]) -> Finding:
    """Compare the speed of each node with the speed expected for its hardware.

    This replaces outlier detection in groups that have too few nodes for it.
    """
    nodes = {name: node for group in groups.values() for name, node in group.items()}
    expectations = {name: _roofline(node) for name, node in nodes.items()}
    attained = {name: item["evidence"].get("attained_percent") for name, item in expectations.items() if item}
    details: dict[str, t.Any] = {
        "evidence": {
            "groups": [{"group": label, "nodes": list(group)} for label, group in groups.items()],
            "attained_percent": attained,
        },
        "source": f"compared with the expected speed, because outlier detection needs {MINIMUM_NODES} comparable nodes",
    }
    for status, verdict in ((Status.FAIL, failed), (Status.WARN, warned)):
        slow = [name for name, item in expectations.items() if item and item["status"] == status.value]
        if slow:
            return verdict(
                "fleet.outlier",
                f"{_nodes(slow, 'is slower than its', 'are slower than their')} hardware allows: {', '.join(slow)}",
                cause="One stream does not reach the speed expected of the GPUs of these nodes.",
                remedy="See the causes that are reported for these nodes.",
                **details,
            )
    unknown = [n for n, item in expectations.items() if not item or item["status"] == Status.NOT_TESTED.value]
    if unknown:
        reason = f"the speed to expect of {', '.join(unknown)} is unknown, and there are too few comparable nodes"
        return not_tested("fleet.outlier", reason, **details)
    summary = f"{_nodes(list(nodes), 'is as fast as its', 'are as fast as their')} hardware allows"
    return passed("fleet.outlier", summary, **details)


def _nodes(names: Sequence[str], singular: str, plural: str) -> str:
    return f"1 node {singular}" if len(names) == 1 else f"{len(names)} nodes {plural}"


def _roofline(node: Node) -> Mapping[str, t.Any] | None:
    findings = (item for section in node["sections"] for item in section["findings"])
    return next((item for item in findings if item["check"] == "performance.roofline"), None)
