# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory: does every GPU hold its part, alike, with room left?"""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.units import GIB
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import gpus, limits
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: Check -> the measurements it needs.
CHECKS: t.Final[dict[str, tuple[str, ...]]] = {
    "memory.idle_gpu": ("gpu",),
    "memory.balance": ("gpu",),
    "memory.headroom": ("gpu",),
    "memory.oom": ("logs",),
}


def evaluate(node: NodeFacts) -> list[Finding]:
    """Findings of area ``memory``: the logs' own (OOM, KV cache), and the comparison of the GPUs."""
    return [*node.findings("memory"), *compare(node), *cache(node), *out_of_memory(node)]


def cache(node: NodeFacts) -> list[Finding]:
    """A warning where the KV cache does not hold the tokens of a load step at once; else nothing."""
    fits = node.engine.get("kv_cache_tokens")
    if not fits:
        return []
    fits *= int(node.tensor_parallel.data.get("data_parallel_size") or 1)
    sizes = {str(step.get("name")): _tokens_at_once(step) for step in node.steps}
    largest = max(sizes, key=sizes.__getitem__, default=None)
    if largest is None or sizes[largest] <= fits:
        return []
    return [
        warned(
            "memory.headroom",
            f"{largest} needs {sizes[largest]:,} tokens of KV cache at once, {fits:,} fit",
            expected=sizes[largest],
            measured=fits,
            unit="tokens",
            cause="The KV cache is smaller than the load: requests wait for each other or are preempted.",
            remedy="Raise --gpu-memory-utilization (vllm_gpu_memory_utilization), or send fewer streams.",
            source="streams x (prompt + output tokens), against the size that vLLM logs",
        )
    ]


def _tokens_at_once(step: t.Mapping[str, t.Any]) -> int:
    return int(step.get("concurrency") or 0) * int((step.get("prompt_tokens") or 0) + (step.get("output_tokens") or 0))


def out_of_memory(node: NodeFacts) -> list[Finding]:
    """Logs that were read and show no fault answer the question; a fault found there outranks this."""
    sources = node.logs.data.get("sources") or ()
    return [passed("memory.oom", "no out-of-memory in the logs", evidence={"logs": list(sources)})] if sources else []


def compare(node: NodeFacts) -> list[Finding]:
    """Idle GPUs, balance and headroom from bytes in use per GPU; empty where the GPUs were not looked at."""
    used = gpus.memory_used(node)
    if not used:
        return _open(_no_reading(node)) if node.gpu.taken else []
    holding = gpus.holders(used)
    if not holding:
        return _open("no GPU holds a model: vLLM is not running, or runs elsewhere")
    # A second server on the node has memory of its own to hold.
    group = [index for index in holding if index in node.own_gpus] or holding
    return [idle(node, used, holding), balance(used, group), headroom(node, used, holding)]


def _open(reason: str) -> list[Finding]:
    return [not_tested(check, reason) for check in ("memory.idle_gpu", "memory.balance", "memory.headroom")]


def _no_reading(node: NodeFacts) -> str:
    """What the driver check says, because that is why there is nothing to compare."""
    said = (item.summary for item in node.findings("hardware") if item.check == "hardware.driver")
    return "no GPU reports its memory" if node.devices else next(said, "no GPU was found")


def idle(node: NodeFacts, used: dict[int, float], holding: list[int]) -> Finding:
    """GPUs that hold no part of the model."""
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
        cause = f"vLLM runs on {group} of {len(used)} GPUs: that is all its parallel sizes ask for."
        remedy = (
            f"Serve with --tensor-parallel-size {len(used)} (vllm_tensor_parallel_size: {len(used)}), or start one "
            "server per GPU if the model fits on one."
        )
    else:
        cause = "Workers for these GPUs did not start, died, or cannot see them (CUDA_VISIBLE_DEVICES, container)."
        remedy = (
            "Look for the missing ranks in the vLLM log; give the container all GPUs (--gpus all), then restart it."
        )
    return failed(
        "memory.idle_gpu",
        f"{gpus.gpu_list(unused)} hold{'s' if len(unused) == 1 else ''} no model memory",
        evidence={"idle": unused, "memory_used": {f"GPU {index}": int(value) for index, value in used.items()}},
        cause=cause,
        remedy=remedy,
        **figures,
    )


def balance(used: dict[int, float], holding: list[int]) -> Finding:
    """Difference between fullest and emptiest of the GPUs in use, in per cent of the fullest."""
    if len(holding) < 2:
        return not_tested("memory.balance", "one GPU in use: nothing to compare it with")
    fullest, emptiest = max(holding, key=used.__getitem__), min(holding, key=used.__getitem__)
    difference = 100.0 * (used[fullest] - used[emptiest]) / used[fullest]
    figures = {
        "expected": f"at most {limits.BALANCE.value:g} %",
        "measured": round(difference, 1),
        "unit": "%",
        "source": limits.BALANCE.source,
    }
    if difference <= limits.BALANCE.value:
        return passed("memory.balance", f"{gpus.gpu_list(holding)} alike: {difference:.1f} % apart", **figures)
    return failed(
        "memory.balance",
        f"GPU {emptiest} holds {used[emptiest] / GIB:.1f} GiB, GPU {fullest} {used[fullest] / GIB:.1f} GiB",
        evidence={"memory_used": {f"GPU {index}": int(used[index]) for index in holding}},
        cause="A worker did not initialise completely, or another process shares one of the GPUs.",
        remedy="Stop other processes on the GPUs (nvidia-smi lists them), then restart vLLM: all ranks load anew.",
        **figures,
    )


def headroom(node: NodeFacts, used: dict[int, float], holding: list[int]) -> Finding:
    """Free memory of the fullest GPU in use."""
    totals = {device.index: device.memory_total for device in node.devices if device.memory_total}
    free = {index: 100.0 * (totals[index] - used[index]) / totals[index] for index in holding if index in totals}
    if not free:
        return not_tested("memory.headroom", "the GPUs do not report their total memory")
    tightest = min(free, key=free.__getitem__)
    figures = {
        "expected": f"at least {limits.HEADROOM.value:g} %",
        "measured": round(free[tightest], 1),
        "unit": "%",
        "source": limits.HEADROOM.source,
    }
    if free[tightest] >= limits.HEADROOM.value:
        return passed("memory.headroom", "memory left on every GPU in use", **figures)
    return warned(
        "memory.headroom",
        f"GPU {tightest} has {free[tightest]:.1f} % of its memory left",
        cause="vLLM was given nearly all memory, or another process takes part of it; a burst can run out of it.",
        remedy="Lower --gpu-memory-utilization (vllm_gpu_memory_utilization) to 0.90, or stop the other process.",
        **figures,
    )
