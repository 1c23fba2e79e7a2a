# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPU utilisation while load ran: does every GPU of the group work, and do they work in step?"""

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import (
    Finding,
    Status,
    failed,
    not_tested,
    passed,
    warned,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import gpus, limits
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: Check -> the measurements it needs.
CHECKS: t.Final[dict[str, tuple[str, ...]]] = {
    "utilisation.active": ("load",),
    "utilisation.synchronised": ("load",),
}

_HOST_REMEDY: t.Final = (
    "Load the server with more streams (validate_concurrency); let vLLM use CUDA graphs (no --enforce-eager), and give "
    "each of its workers a processor core of its own."
)


def evaluate(node: NodeFacts) -> list[Finding]:
    """Findings of area ``utilisation``."""
    means = gpus.means(node.samples, "utilization_gpu")
    if not means:
        return _unsampled(node)
    group = members(node, means)
    step = synchronised(node, means, group)
    return [active(node, means, group, steady=step.status is not Status.FAIL), step]


def members(node: NodeFacts, means: dict[int, float]) -> list[int]:
    """GPUs that should work: all, where the group needs all or its size is unknown; else those of the server's own
    processes, or that hold a model. Of more than it needs, as with a second server, those that work most.
    """
    size = node.group_size
    if size is None or size >= len(means):
        return list(means)
    if node.own_gpus and set(node.own_gpus) <= set(means):
        return node.own_gpus
    holding = [index for index in gpus.holders(gpus.memory_used(node)) if index in means] or list(means)
    return holding if len(holding) <= size else sorted(sorted(holding, key=means.__getitem__)[-size:])


def active(node: NodeFacts, means: dict[int, float], group: list[int], steady: bool = True) -> Finding:
    """Mean utilisation of every member against ``limits.BUSY``; of GPUs in step also against ``limits.HOST_BOUND``."""
    idle = [index for index in group if means[index] < limits.BUSY.value]
    slowest = min(group, key=means.__getitem__)
    figures = {
        "expected": f"at least {limits.BUSY.value:g} %",
        "measured": round(means[slowest], 1),
        "unit": "%",
        "evidence": {"mean_utilization": {f"GPU {index}": round(value, 1) for index, value in means.items()}},
        "source": limits.BUSY.source,
    }
    if idle:
        return failed(
            "utilisation.active",
            f"{gpus.gpu_list(idle)} idle while the server is under load",
            cause=f"vLLM computes on {len(group) - len(idle)} of the {len(group)} GPUs of its group.",
            remedy="See section 2: make the tensor-parallel size match, or find the worker that died in the vLLM log.",
            **figures,
        )
    of_all = "" if len(group) == len(means) else f" (of {len(means)} on the node)"
    who = "the one GPU" if len(group) == 1 else f"all {len(group)} GPUs"
    if steady and max(means[index] for index in group) < limits.HOST_BOUND.value:
        limit = limits.HOST_BOUND
        figures |= {"expected": f"at least {limit.value:g} %", "source": limit.source}
        return warned(
            "utilisation.active",
            f"{who} of the group at work{of_all}, but for less than half of the time",
            cause="The GPUs wait for the host between steps, or the load is too small for them.",
            remedy=_HOST_REMEDY,
            **figures,
        )
    return passed("utilisation.active", f"{who} of the group at work{of_all}", **figures)


def synchronised(node: NodeFacts, means: dict[int, float], group: list[int]) -> Finding:
    """Whether the members work at the same time, and whether those that look busy work at all.

    Data-parallel replicas answer requests of their own and keep no step with each other: each is judged by itself, and
    the one that is furthest out of step is told.

    First the mean over the samples of the distance between the busiest and the idlest member, in points of
    utilisation. Utilisation counts a GPU that waits in an all-reduce as busy, so GPUs that agree in it are compared by
    how long they touch their memory: the one that all wait for does so the longest.
    """
    if len(group) < 2:
        return not_tested("utilisation.synchronised", "one GPU at work: nothing to compare it with")
    apart = replicas(node, group)
    if len(apart[0]) < 2:
        return not_tested("utilisation.synchronised", "each GPU serves requests of its own: none waits for another")
    spreads, group = max(
        ((_spreads(node, replica), replica) for replica in apart),
        key=lambda item: statistics.fmean(item[0]) if item[0] else -1.0,
    )
    if not spreads:
        return not_tested("utilisation.synchronised", "no sample shows all GPUs of the group")
    samples = gpus.only(node.samples, group)
    spread, work = statistics.fmean(spreads), gpus.means(samples, "utilization_memory")
    evidence: dict[str, t.Any] = {
        "samples": len(spreads),
        "means": {f"GPU {index}": round(means[index], 1) for index in group},
        "memory_active": {f"GPU {index}": round(value, 1) for index, value in work.items()},
    }
    figures = {
        "expected": f"at most {limits.SPREAD.value:g}",
        "measured": round(spread, 1),
        "unit": "points",
        "evidence": evidence,
        "source": limits.SPREAD.source,
    }
    if spread > limits.SPREAD.value:
        cause, remedy = _apart(means, work, group)
        return failed(
            "utilisation.synchronised",
            f"the GPUs are {spread:.0f} points of utilisation apart on average",
            cause=cause,
            remedy=remedy,
            **figures,
        )
    if node.only_tensor_parallel and (less := uneven(work, group)) > limits.WORK.value:
        return _straggler(work, less, evidence)
    return passed("utilisation.synchronised", "the GPUs work in step", **figures)


def replicas(node: NodeFacts, group: list[int]) -> list[list[int]]:
    """``group`` by data-parallel replica: vLLM gives each as many neighbouring GPUs as it has ranks."""
    data = node.tensor_parallel.data
    size = int(data.get("tensor_parallel_size") or len(group)) * int(data.get("pipeline_parallel_size") or 1)
    if int(data.get("data_parallel_size") or 1) == 1 or len(group) % size:
        return [group]
    return [group[start : start + size] for start in range(0, len(group), size)]


def _spreads(node: NodeFacts, group: Sequence[int]) -> list[float]:
    """Of every sample that shows all of ``group``: how far the busiest and the idlest are apart."""
    spreads = []
    for sample in gpus.only(node.samples, group):
        values = [gpu["utilization_gpu"] for gpu in sample["gpus"] if gpu.get("utilization_gpu") is not None]
        if len(values) == len(group):
            spreads.append(max(values) - min(values))
    return spreads


def uneven(work: Mapping[int, float], group: Sequence[int]) -> float:
    """By how many per cent the member that touches its memory least does so less than the one that does most.

    0 where that is not known of every member, or too small to be compared.
    """
    values = [work[index] for index in group if index in work]
    most = max(values, default=0.0)
    if len(values) < len(group) or most < limits.WORKING.value:
        return 0.0
    return 100.0 * (1 - min(values) / most)


def _straggler(work: Mapping[int, float], less: float, evidence: dict[str, t.Any]) -> Finding:
    behind, waits = max(work, key=work.__getitem__), min(work, key=work.__getitem__)
    return failed(
        "utilisation.synchronised",
        f"all GPUs look busy, but the others wait for GPU {behind}",
        expected=f"at most {limits.WORK.value:g}",
        measured=round(less, 1),
        unit="% less time in memory",
        evidence=evidence,
        cause=f"GPU {waits} touches its memory {work[waits]:.0f} % of the time, GPU {behind} {work[behind]:.0f} %: GPU "
        f"{behind} needs longer for its share of each layer. Waiting in NCCL counts as utilisation.",
        remedy=f"Look on GPU {behind} for throttling (section 1), another program (nvidia-smi) and a lower clock or "
        "memory speed; exchange the GPU if it stays behind.",
        source=limits.WORK.source,
    )


def _apart(means: dict[int, float], work: Mapping[int, float], group: list[int]) -> tuple[str, str]:
    """Cause and remedy of GPUs whose utilisation differs."""
    low, high = min(group, key=means.__getitem__), max(group, key=means.__getitem__)
    known = len(work) == len(group)
    if known and max(work.values()) < limits.WORKING.value:
        return "The kernels are so short that the GPUs wait for the host and for each other at every one.", _HOST_REMEDY
    steady = means[high] - means[low] > limits.SPREAD.value and means[low] >= limits.BUSY.value
    if known and steady and uneven(work, group) <= limits.WORK.value:
        return (
            f"Each GPU has as much to do as the others, but GPU {low} gets it late from its process on the host, and "
            f"GPU {high} waits for it in NCCL, which counts as utilisation.",
            f"Give every vLLM worker a processor core of its own; look for what slows the worker of GPU {low} (other "
            "programs, CPU limits of the container, memory of another NUMA node).",
        )
    return (
        "The GPUs wait for each other: a slow GPU or a slow interconnect holds up every all-reduce.",
        "Compare throttling (section 1) and the transport (section 4); mend the GPU or path that is behind.",
    )


def _unsampled(node: NodeFacts) -> list[Finding]:
    if not node.load.taken:
        return []
    reason = node.load.data.get("gpu_samples_reason") or "no GPU could be sampled while load ran"
    return [not_tested(check, str(reason)) for check in CHECKS]
