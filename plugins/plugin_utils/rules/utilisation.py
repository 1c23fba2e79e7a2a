# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check whether every GPU that the server uses is busy under load, and whether these GPUs are synchronised."""

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

_CORES: t.Final = "Give each vLLM worker a separate processor core."
_HOST_REMEDY: t.Final = (
    f"Load the server with more streams (validate_concurrency). Let vLLM use CUDA graphs (no --enforce-eager). {_CORES}"
)


def evaluate(node: NodeFacts) -> list[Finding]:
    """Return the findings of the ``utilisation`` checks."""
    means = gpus.means(node.samples, "utilization_gpu")
    if not means and not node.load.taken:
        return []
    if not means or node.mig_gpus:
        unsampled = str(node.load.data.get("gpu_samples_reason") or "no GPU could be sampled during the load")
        reason = gpus.not_whole(node) or unsampled
        return [not_tested(check, reason) for check in ("utilisation.active", "utilisation.synchronised")]
    group = members(node, means)
    step = synchronised(node, means, group)
    return [active(node, means, group, steady=step.status is not Status.FAIL), step]


def members(node: NodeFacts, means: dict[int, float]) -> list[int]:
    """Return the GPUs that should be busy under load.

    If the server needs all GPUs of the node, or if their number is unknown, these are all GPUs. Otherwise, they are the
    GPUs on which the server's processes run. If those are unknown, they are the GPUs that hold a model. If a second
    server runs on the node and too many GPUs hold a model, only the busiest GPUs count.
    """
    size = node.group_size
    if size is None or size >= len(means):
        return list(means)
    if node.own_gpus and set(node.own_gpus) <= set(means):
        return node.own_gpus
    holding = [index for index in gpus.holders(gpus.memory_used(node)) if index in means] or list(means)
    return holding if len(holding) <= size else sorted(sorted(holding, key=means.__getitem__)[-size:])


def activity(node: NodeFacts) -> dict[str, t.Any]:
    """Return which of the node's GPUs were active under load.

    Tensor parallelism counts as working if all GPUs are active and the server's tensor-parallel group consists of all
    of them.

    :returns: the GPU indices ``active`` and ``idle``, the number of ``missing`` GPUs, and a ``summary``.
    """
    means = gpus.means(node.samples, "utilization_gpu")
    busy = [index for index, value in means.items() if value >= limits.BUSY.value]
    idle = [index for index in means if index not in busy]
    missing = max((node.gpu_facts.get("expected_count") or 0) - len(node.devices), 0)
    total = max(len(node.devices), len(means)) + missing
    if not means:
        summary = "GPU activity not tested"
    elif len(busy) < total:
        silent = total - missing - len(means)
        absent = [f"{gpus.gpu_list(idle)} idle"] if idle else []
        absent += [f"{missing} missing"] if missing else []
        absent += [f"{silent} without readings"] if silent else []
        summary = f"{len(busy)} of {total} GPUs active: {', '.join(absent)}"
    elif total == 1:
        summary = "The only GPU is active"
    else:
        size = node.tensor_parallel_size
        working = "tensor parallelism working" if size == total else f"TP {size}" if size else "TP size unknown"
        summary = f"{'Both' if total == 2 else f'All {total}'} GPUs active ({working})"
    return {"active": busy, "idle": idle, "missing": missing, "summary": summary}


def active(node: NodeFacts, means: dict[int, float], group: list[int], steady: bool = True) -> Finding:
    """Return the ``utilisation.active`` finding, which fails if the mean utilisation of a GPU is below ``limits.BUSY``.

    If the GPUs are synchronised (``steady``), their utilisation is also compared with ``limits.HOST_BOUND``.
    """
    idle = [index for index in group if means[index] < limits.BUSY.value]
    lowest = min(group, key=means.__getitem__)
    evidence = {"mean_utilization": {f"GPU {index}": round(value, 1) for index, value in means.items()}}
    figures = limits.BUSY.compared(means[lowest], "at least") | {"evidence": evidence}
    if idle:
        return failed(
            "utilisation.active",
            f"{gpus.gpu_list(idle)} idle while the server is under load",
            cause=f"vLLM computes on {len(group) - len(idle)} of the {len(group)} GPUs in its group.",
            remedy="Correct the tensor-parallel size (section 2), or look in the vLLM log for a worker that died.",
            **figures,
        )
    of_all = "" if len(group) == len(means) else f" (the node has {len(means)})"
    whose = " of the server" if of_all else ""
    who = f"the only GPU{whose} is" if len(group) == 1 else f"all {len(group)} GPUs{whose} are"
    if steady and max(means[index] for index in group) < limits.HOST_BOUND.value:
        figures |= limits.HOST_BOUND.compared(means[lowest], "at least")
        return warned(
            "utilisation.active",
            f"{who} active{of_all}, but for less than half of the time",
            cause="The GPUs wait for the host between steps, or the load is too small to keep them busy.",
            remedy=_HOST_REMEDY,
            **figures,
        )
    return passed("utilisation.active", f"{who} active{of_all}", **figures)


def synchronised(node: NodeFacts, means: dict[int, float], group: list[int]) -> Finding:
    """Return the ``utilisation.synchronised`` finding, which passes if no GPU has to wait long for another GPU.

    Only the GPUs of a tensor-parallel group wait for each other, at the all-reduces of each layer. Replicas serve
    separate requests, and pipeline stages work in turns. Each group is therefore evaluated separately, and the worst
    result is reported.

    The first criterion is the difference between the highest and the lowest utilisation in points, averaged over all
    samples. Utilisation counts a GPU that waits in an all-reduce as busy. GPUs with the same utilisation are therefore
    compared by memory activity: the GPU that the others wait for is active for the longest time.
    """
    if len(group) < 2:
        return not_tested("utilisation.synchronised", "only one active GPU, so there is nothing to compare")
    separate = tensor_groups(node, group)
    if len(separate[0]) < 2:
        what = "is a separate pipeline stage" if node.stages > 1 else "serves separate requests"
        return not_tested("utilisation.synchronised", f"each GPU {what}, so no all-reduce makes it wait for another")
    spreads, group = max(
        ((_spreads(node, replica), replica) for replica in separate),
        key=lambda item: statistics.fmean(item[0]) if item[0] else -1.0,
    )
    if not spreads:
        return not_tested("utilisation.synchronised", "no sample includes all GPUs of the group")
    samples = gpus.only(node.samples, group)
    spread, work = statistics.fmean(spreads), gpus.means(samples, "utilization_memory")
    evidence: dict[str, t.Any] = {
        "samples": len(spreads),
        "means": {f"GPU {index}": round(means[index], 1) for index in group},
        "memory_active": {f"GPU {index}": round(value, 1) for index, value in work.items()},
    }
    figures = limits.SPREAD.compared(spread, "at most") | {"evidence": evidence}
    if spread > limits.SPREAD.value:
        cause, remedy = _explain_spread(means, work, group)
        return failed(
            "utilisation.synchronised",
            f"the GPUs differ by {spread:.0f} points of utilisation on average",
            cause=cause,
            remedy=remedy,
            **figures,
        )
    if not node.expert_parallel and (less := uneven(work, group)) > limits.WORK.value:
        return _straggler(work, less, evidence)
    return passed("utilisation.synchronised", "the GPUs are synchronised", **figures)


def tensor_groups(node: NodeFacts, group: list[int]) -> list[list[int]]:
    """Return the GPUs of each tensor-parallel group; vLLM assigns consecutive GPUs to its ranks."""
    size = node.tensor_parallel_size or len(group)
    if not group or len(group) % size:
        return [group]
    return [group[start : start + size] for start in range(0, len(group), size)]


def _spreads(node: NodeFacts, group: Sequence[int]) -> list[float]:
    """For each sample that includes all GPUs in ``group``, return the highest utilisation minus the lowest."""
    spreads = []
    for sample in gpus.only(node.samples, group):
        values = [gpu["utilization_gpu"] for gpu in sample["gpus"] if gpu.get("utilization_gpu") is not None]
        if len(values) == len(group):
            spreads.append(max(values) - min(values))
    return spreads


def uneven(work: Mapping[int, float], group: Sequence[int]) -> float:
    """Return how far the lowest memory activity in ``group`` is below the highest, as a percentage of the highest.

    Return 0 if the activity of a GPU is unknown, or if all values are too small to compare.
    """
    values = [work[index] for index in group if index in work]
    most = max(values, default=0.0)
    if len(values) < len(group) or most < limits.WORKING.value:
        return 0.0
    return 100.0 * (1 - min(values) / most)


def _straggler(work: Mapping[int, float], less: float, evidence: dict[str, t.Any]) -> Finding:
    slow, waiting = max(work, key=work.__getitem__), min(work, key=work.__getitem__)
    return failed(
        "utilisation.synchronised",
        f"all GPUs look busy, but the others wait for GPU {slow}",
        expected=f"at most {limits.WORK.value:g}",
        measured=round(less, 1),
        unit="% less time in memory",
        evidence=evidence,
        cause=f"GPU {waiting} accesses its memory {work[waiting]:.0f} % of the time, GPU {slow} {work[slow]:.0f} %: "
        f"GPU {slow} needs longer for its share of each layer. Waiting in NCCL counts as utilisation.",
        remedy=f"Check GPU {slow} for throttling (section 1), another program (nvidia-smi), and a low clock or memory "
        "speed. Replace the GPU if it stays slow.",
        source=limits.WORK.source,
    )


def _explain_spread(means: dict[int, float], work: Mapping[int, float], group: list[int]) -> tuple[str, str]:
    """Return the cause of a difference in utilisation between the GPUs, and the remedy."""
    low, high = min(group, key=means.__getitem__), max(group, key=means.__getitem__)
    complete = len(work) == len(group)
    if complete and max(work.values()) < limits.WORKING.value:
        return "The kernels are so short that the GPUs wait for the host and each other at every kernel.", _HOST_REMEDY
    steady = means[high] - means[low] > limits.SPREAD.value and means[low] >= limits.BUSY.value
    if complete and steady and uneven(work, group) <= limits.WORK.value:
        return (
            f"All GPUs have the same amount of work, but GPU {low} gets it late from its process on the host, and GPU "
            f"{high} waits for it in NCCL, which counts as utilisation.",
            f"{_CORES} Look for the reason why the worker of GPU {low} is slow (other programs, CPU limits of the "
            "container, memory of another NUMA node).",
        )
    return (
        "The GPUs wait for each other: a slow GPU or a slow interconnect delays every all-reduce.",
        "Compare throttling (section 1) and the transport (section 4), and fix the slow GPU or path.",
    )
