# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that every GPU holds its part of the model, and that memory use is balanced and leaves enough headroom."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.units import GIB, counted
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import REASONS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import gpus, limits, performance
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts


def evaluate(node: NodeFacts) -> list[Finding]:
    """Return the findings of the ``memory`` checks, based on the logs, the GPU readings and the load test."""
    reported = node.findings("memory", replaced_by=[*compare(node), *out_of_memory(node)])
    return [*reported, *cache(node), *preempted(node)]


def preempted(node: NodeFacts) -> list[Finding]:
    """Return a warning if vLLM preempted requests during the load test, unless the log scan reported that."""
    steps = node.preemptions
    if not steps or any(item.get("class") == "kv_preemption" for item in node.logs.data.get("findings") or ()):
        return []
    total, fault = sum(steps.values()), FAULTS["kv_preemption"]
    return [
        warned(
            "memory.headroom",
            f"{counted(total, 'preemption')} during {', '.join(steps)}",
            expected=0,
            measured=total,
            unit="preemptions",
            evidence={"preemptions": steps},
            cause=fault.cause,
            remedy=fault.remedy,
            source="vllm:num_preemptions_total",
        )
    ]


def cache(node: NodeFacts) -> list[Finding]:
    """Return a warning if the KV cache is too small for the concurrent requests in any step of the load test."""
    capacity = int(node.engine.get("kv_cache_tokens") or 0) * node.replicas
    sizes = {str(step.get("name")): _tokens_at_once(step) for step in node.steps}
    largest = max(sizes, key=sizes.__getitem__, default=None)
    if not capacity or largest is None or sizes[largest] <= capacity:
        return []
    return [
        warned(
            "memory.headroom",
            f"{largest} needs {sizes[largest]:,} tokens of KV cache at once, but the cache holds {capacity:,}",
            expected=sizes[largest],
            measured=capacity,
            unit="tokens",
            cause="The KV cache is smaller than the load requires, so requests wait until others end or are preempted.",
            remedy="Raise --gpu-memory-utilization (vllm_gpu_memory_utilization), or send fewer streams to this node.",
            source="streams x (prompt + output tokens), compared with the cache size in vLLM's log",
        )
    ]


def _tokens_at_once(step: t.Mapping[str, t.Any]) -> int:
    return int(step.get("concurrency") or 0) * int((step.get("prompt_tokens") or 0) + (step.get("output_tokens") or 0))


def out_of_memory(node: NodeFacts) -> list[Finding]:
    """Return a passed ``memory.oom`` finding if logs were read, otherwise an empty list.

    If the log scan found an out-of-memory error, the failed finding of the log scan takes precedence.
    """
    sources = node.logs.data.get("sources") or ()
    if not sources:
        return []
    return [passed("memory.oom", "no out-of-memory error in the logs", evidence={"logs": list(sources)})]


def compare(node: NodeFacts) -> list[Finding]:
    """Return the findings about the memory of each GPU, or an empty list if ``gpu_facts`` returned no data."""
    used = gpus.memory_used(node)
    if not used:
        return _not_tested(_no_reading(node)) if node.gpu.taken else []
    if reason := REASONS["sleeping"].cause if node.asleep else gpus.not_whole(node):
        return _not_tested(reason)
    holding = gpus.holders(used)
    if not holding:
        return _not_tested("no GPU holds a model: vLLM does not run on this node")
    # Exclude the GPUs of a second server on the node, because that server uses a different amount of memory.
    group = [index for index in holding if index in node.own_gpus] or holding
    if not node.own_gpus and len(holding) > (node.group_size or len(holding)):
        reason = f"{len(holding)} GPUs hold a model, and which {node.group_size} of them are the server's is unknown"
        balanced = not_tested("memory.balance", reason)
    else:
        balanced = balance(node, used, group)
    return [idle(node, used, holding), balanced, headroom(node, used, holding)]


def _not_tested(reason: str) -> list[Finding]:
    return [not_tested(check, reason) for check in ("memory.idle_gpu", "memory.balance", "memory.headroom")]


def _no_reading(node: NodeFacts) -> str:
    """Return a message that explains why the memory use is unknown.

    If no GPU was found, this message is the summary of the driver check.
    """
    summaries = (item.summary for item in node.findings("hardware") if item.check == "hardware.driver")
    return "no GPU reports its memory" if node.devices else next(summaries, "no GPU was found")


def idle(node: NodeFacts, used: dict[int, float], holding: list[int]) -> Finding:
    """Return the ``memory.idle_gpu`` finding, which passes if every GPU holds a part of the model."""
    unused = [index for index in used if index not in holding]
    figures = {
        "expected": len(used),
        "measured": len(holding),
        "unit": "GPUs with model memory",
        "source": limits.MODEL_MEMORY.source,
    }
    if not unused:
        return passed("memory.idle_gpu", f"all {len(used)} GPUs hold model memory", **figures)
    group = node.group_size
    if group is not None and group <= len(holding):
        cause = f"vLLM runs on {group} of {len(used)} GPUs, because its parallel sizes require no more."
        remedy = (
            f"Serve with --tensor-parallel-size {len(used)} (vllm_tensor_parallel_size: {len(used)}), or start one "
            "server per GPU if the model fits on one."
        )
    else:
        cause = "The workers for these GPUs did not start, died or cannot see them (CUDA_VISIBLE_DEVICES, container)."
        remedy = (
            "Look for the missing ranks in the vLLM log. Give the container all GPUs (--gpus all), then restart it."
        )
    return failed(
        "memory.idle_gpu",
        f"{gpus.gpu_list(unused)} hold{'s' if len(unused) == 1 else ''} no model memory",
        evidence={"idle": unused, "memory_used": {f"GPU {index}": int(value) for index, value in used.items()}},
        cause=cause,
        remedy=remedy,
        **figures,
    )


def balance(node: NodeFacts, used: dict[int, float], holding: list[int]) -> Finding:
    """Return the ``memory.balance`` finding: the difference in memory use between the fullest and the emptiest GPU.

    If the memory of other processes explains the difference, and one stream is as fast as expected, the finding is only
    a warning.
    """
    if len(holding) < 2:
        return not_tested("memory.balance", "only one GPU is in use, so there is nothing to compare")
    fullest, emptiest = max(holding, key=used.__getitem__), min(holding, key=used.__getitem__)
    difference = 100.0 * (used[fullest] - used[emptiest]) / used[fullest]
    figures = limits.BALANCE.compared(difference, "at most")
    if difference <= limits.BALANCE.value:
        return passed("memory.balance", f"{gpus.gpu_list(holding)} differ by {difference:.1f} %", **figures)
    summary = f"GPU {emptiest} holds {used[emptiest] / GIB:.1f} GiB, GPU {fullest} {used[fullest] / GIB:.1f} GiB"
    others = gpus.other_processes(node)
    own = {index: used[index] - sum(entry["memory_used"] for gpu, entry in others if gpu == index) for index in holding}
    most, least = max(own.values()), min(own.values())
    if others and most - least <= most * limits.BALANCE.value / 100 and performance.fast(node):
        return warned(
            "memory.balance",
            f"{summary}, because another process holds memory; vLLM's shares are equal",
            evidence={"memory_of_vllm": {f"GPU {index}": int(value) for index, value in own.items()}},
            cause=FAULTS["gpu_memory_busy"].cause,
            remedy=FAULTS["gpu_memory_busy"].remedy,
            **figures,
        )
    return failed(
        "memory.balance",
        summary,
        evidence={"memory_used": {f"GPU {index}": int(used[index]) for index in holding}},
        cause="A worker is only partly initialised, or another process uses one of the GPUs.",
        remedy="Stop other processes on the GPUs (nvidia-smi lists them), and restart vLLM so that all ranks load "
        "again. If the difference recurs, look for errors of that rank in the vLLM log.",
        **figures,
    )


def headroom(node: NodeFacts, used: dict[int, float], holding: list[int]) -> Finding:
    """Return the ``memory.headroom`` finding: the free memory of the fullest GPU in use."""
    totals = {device["index"]: device["memory_total"] for device in node.devices if device.get("memory_total")}
    free = {index: 100.0 * (totals[index] - used[index]) / totals[index] for index in holding if index in totals}
    if not free:
        return not_tested("memory.headroom", "the GPUs do not report their total memory")
    fullest = min(free, key=free.__getitem__)
    figures = limits.HEADROOM.compared(free[fullest], "at least")
    if free[fullest] >= limits.HEADROOM.value:
        return passed("memory.headroom", "every GPU in use has memory left", **figures)
    return warned(
        "memory.headroom",
        f"GPU {fullest} has {free[fullest]:.1f} % of its memory left",
        cause="vLLM is configured to use nearly all of the memory, or another process uses a part of it, so a burst of "
        "requests can use up the rest.",
        remedy="Lower --gpu-memory-utilization (vllm_gpu_memory_utilization) to 0.90 and restart vLLM, or stop the "
        "other process.",
        **figures,
    )
