# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPU utilisation while load ran: does every GPU of the group work, and do they work in step?"""

from __future__ import annotations

import statistics
import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import gpus, limits
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: Check -> the measurements it needs.
CHECKS: t.Final[dict[str, tuple[str, ...]]] = {
    "utilisation.active": ("load",),
    "utilisation.synchronised": ("load",),
}


def evaluate(node: NodeFacts) -> list[Finding]:
    """Findings of area ``utilisation``."""
    means = gpus.means(node.samples, "utilization_gpu")
    if not means:
        return _unsampled(node)
    group = members(node, means)
    return [active(node, means, group), synchronised(node, means, group)]


def members(node: NodeFacts, means: dict[int, float]) -> list[int]:
    """GPUs that should work: all, where the group needs all or its size is unknown; else those that hold the model."""
    size = node.group_size
    if size is None or size >= len(means):
        return list(means)
    holding = gpus.holders(gpus.memory_used(node))
    return holding or sorted(means, key=means.__getitem__, reverse=True)[:size]


def active(node: NodeFacts, means: dict[int, float], group: list[int]) -> Finding:
    """Mean utilisation of every member against ``limits.BUSY``."""
    idle = [index for index in group if means[index] < limits.BUSY.value]
    slowest = min(group, key=means.__getitem__)
    figures = {
        "expected": f"at least {limits.BUSY.value:g} %",
        "measured": round(means[slowest], 1),
        "unit": "%",
        "evidence": {"mean_utilization": {f"GPU {index}": round(value, 1) for index, value in means.items()}},
        "source": limits.BUSY.source,
    }
    if not idle:
        of_all = "" if len(group) == len(means) else f" (of {len(means)} on the node)"
        who = "the one GPU" if len(group) == 1 else f"all {len(group)} GPUs"
        return passed("utilisation.active", f"{who} of the group at work{of_all}", **figures)
    return failed(
        "utilisation.active",
        f"{gpus.gpu_list(idle)} idle while the server is under load",
        cause=f"vLLM computes on {len(group) - len(idle)} of the {len(group)} GPUs of its group.",
        remedy="See section 2: make the tensor-parallel size match, or find the worker that died in the vLLM log.",
        **figures,
    )


def synchronised(node: NodeFacts, means: dict[int, float], group: list[int]) -> Finding:
    """Mean over the samples of the distance between the busiest and the idlest member, in points of utilisation."""
    if len(group) < 2:
        return not_tested("utilisation.synchronised", "one GPU at work: nothing to compare it with")
    spreads = []
    for sample in gpus.only(node.samples, group):
        values = [gpu["utilization_gpu"] for gpu in sample["gpus"] if gpu.get("utilization_gpu") is not None]
        if len(values) == len(group):
            spreads.append(max(values) - min(values))
    if not spreads:
        return not_tested("utilisation.synchronised", "no sample shows all GPUs of the group")
    spread = statistics.fmean(spreads)
    figures = {
        "expected": f"at most {limits.SPREAD.value:g}",
        "measured": round(spread, 1),
        "unit": "points",
        "evidence": {"samples": len(spreads), "means": {f"GPU {index}": round(means[index], 1) for index in group}},
        "source": limits.SPREAD.source,
    }
    if spread <= limits.SPREAD.value:
        return passed("utilisation.synchronised", "the GPUs work in step", **figures)
    return failed(
        "utilisation.synchronised",
        f"the GPUs are {spread:.0f} points of utilisation apart on average",
        cause="The GPUs wait for each other: a slow GPU or a slow interconnect holds up every all-reduce.",
        remedy="Compare throttling (section 1) and the transport (section 4); mend the GPU or path that is behind.",
        **figures,
    )


def _unsampled(node: NodeFacts) -> list[Finding]:
    if not node.load.taken:
        return []
    reason = node.load.data.get("gpu_samples_reason") or "no GPU could be sampled while load ran"
    return [not_tested(check, str(reason)) for check in CHECKS]
