# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Diagnose memory problems: too little memory, uneven use across GPUs, or use by another process.

Source for uneven use: multi-GPU guide, issue 3.
"""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding
from ansible_collections.multigpu.vllm.plugins.module_utils.units import GIB
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import (
    DiagnosisContext,
    conclude_from_log,
    figures,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis, conclude, flag
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import gpus, limits, performance

#: Lowest compute capability with 8-bit floating point in attention kernels. Source: CUDA.
_FP8_CAPABILITY: t.Final = (8, 9)

#: Default value of --gpu-memory-utilization since vLLM 0.20.0 (0.9 before), which leaves enough memory free.
_DEFAULT_SHARE: t.Final = 0.92


def other_process(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a process other than vLLM that causes a fault, holds memory that vLLM lacks, or may slow down the GPUs.

    The process table shows that it holds memory, but not that it computes. Computing is assumed only if one stream is
    slower than expected.
    """
    others = gpus.other_processes(context.node)
    busy = "gpu_memory_busy" in context.faults
    explained = context.wrong("memory.balance", "memory.headroom", *(("memory.oom",) if others or busy else ()))
    if not busy and not (others and (explained or context.slow)):
        return None
    processes = [
        f"GPU {index}: {process.get('name') or 'process'} (pid {process.get('pid')}) holds "
        f"{process['memory_used'] / GIB:.1f} GiB"
        for index, process in others
    ]
    case = None if busy else "slow" if context.slow else "fast" if performance.fast(context.node) else None
    return conclude(
        "memory.other_process",
        case,
        confidence="medium" if case == "slow" else "high",
        evidence=(*processes, *([context.quote("gpu_memory_busy")] if busy else ()), *context.speed_evidence()),
        gain=context.recovery(),
        findings=(*explained, *context.slow, *(context.outage_checks if busy or "memory.oom" in explained else ())),
    )


def unbalanced(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose ranks that use different amounts of GPU memory even though no other process uses the GPUs."""
    balance = context.worst_finding("memory.balance")
    if balance is None or "memory.balance" in context.explained:
        return None
    used = {index: value / GIB for index, value in gpus.memory_used(context.node).items()}
    stages = context.node.stages
    more = () if stages > 1 else (*context.wrong("utilisation.synchronised"), *context.slow)
    return conclude(
        "memory.uneven_stages" if stages > 1 else "memory.unbalanced",
        confidence="medium",
        evidence=(
            f"memory in use: {figures(used, 'GiB')}",
            f"difference: {balance.measured} % (up to {limits.BALANCE.value:g} % is normal)",
        ),
        findings=("memory.balance", *more),
        finding=balance,
        stages=stages,
    )


def gpu_memory(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a GPU that ran out of memory."""
    if "cuda_oom" not in context.faults or context.has_diagnosis("memory.other_process"):
        return None
    node, share = context.node, _memory_share(context)
    loaded = node.engine.get("model_memory")
    total = min(filter(None, (device.get("memory_total") for device in node.devices)), default=None)
    evidence = [context.quote("cuda_oom")]
    if loaded:
        evidence.append(f"weights per GPU: {loaded / GIB:.1f} GiB" + (f" of {total / GIB:.1f}" if total else ""))
    case, doubled = None, 2 * (node.group_size or 1)
    settings = [flag("gpu_memory_utilization", 0.9)]
    if not loaded and not node.engine.get("kv_cache_tokens"):
        case = "loading_on_few" if doubled <= context.gpu_count else "loading"
    elif share is not None and share > _DEFAULT_SHARE:
        case = "high_utilization"
        evidence.append(f"--gpu-memory-utilization {share:g}")
        settings += [flag("max_num_seqs", 256)] if int(node.argument("max_num_seqs") or 0) > 256 else []
    return conclude(
        "memory.gpu_out_of_memory",
        case,
        confidence="high",
        evidence=evidence,
        findings=(*context.wrong("memory.oom", "memory.headroom", "nccl.errors"), *context.outage_checks),
        more=flag("tensor_parallel_size", doubled),
        utilization=f"{share or 0:g}",
        settings=" and ".join(settings),
        share=flag("gpu_memory_utilization", 0.85),
    )


def host_memory(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a process that the kernel killed because the host ran out of memory."""
    return conclude_from_log(context, "host_oom", "memory.host_out_of_memory", "memory.oom", "nccl.errors")


def cache_too_small(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a KV cache that is too small for even one request, which prevents vLLM from starting."""
    if "kv_cache_too_small" not in context.faults:
        return None
    share = _memory_share(context)
    options = [f"set {flag('gpu_memory_utilization', 0.95)}"] if share is None or share < _DEFAULT_SHARE else []
    options.append("use more GPUs (vllm_tensor_parallel_size)")
    if can_halve_cache(context):
        options.append(f"halve the cache with {flag('kv_cache_dtype', 'fp8')}")
    return conclude(
        "memory.kv_cache_too_small",
        confidence="high",
        evidence=(context.quote("kv_cache_too_small"),),
        findings=(*context.wrong("memory.headroom", "nccl.errors", "configuration.arguments"), *context.outage_checks),
        options=", or ".join(options),
    )


def preemption(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose requests that vLLM preempts because the KV cache is full under load."""
    logged, counts = "kv_preemption" in context.faults, context.node.preemptions
    if not logged and not counts:
        return None
    tokens = context.node.engine.get("kv_cache_tokens")
    sequences = context.node.argument("max_num_seqs")
    return conclude(
        "memory.preemption",
        confidence="high",
        evidence=(
            context.quote("kv_preemption") if logged else "",
            *(f"{name}: {count} preemptions" for name, count in counts.items()),
            f"KV cache: {tokens:,} tokens" if tokens else "",
        ),
        findings=(*context.wrong("memory.headroom", "performance.ttft", "performance.itl"), *context.slow),
        fewer=flag("max_num_seqs", max(int(sequences) // 2, 1)) if sequences else "a lower --max-num-seqs",
        settings=_larger_cache(context),
    )


def tight_cache(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a KV cache that is too small for this load test when no log line reports a shortage."""
    headroom = _headroom(context, "tokens")
    if headroom is None:
        return None
    return conclude(
        "memory.kv_cache_tight",
        confidence="medium",
        evidence=(headroom.summary,),
        findings=("memory.headroom",),
        finding=headroom,
        settings=_larger_cache(context),
    )


def little_headroom(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a GPU whose memory is almost completely filled by vLLM alone."""
    headroom = _headroom(context, "%")
    if headroom is None:
        return None
    share = _memory_share(context)
    return conclude(
        "memory.little_headroom",
        confidence="medium",
        evidence=(headroom.summary, f"--gpu-memory-utilization {share:g}" if share is not None else ""),
        findings=("memory.headroom",),
        finding=headroom,
    )


def _headroom(context: DiagnosisContext, unit: str) -> Finding | None:
    """Return the ``memory.headroom`` finding if no diagnosis explains it, otherwise None.

    :param unit: unit of the finding: ``%`` selects GPU memory, and ``tokens`` selects the KV cache.
    """
    findings = context.all("memory.headroom") if context.unexplained("memory.headroom") else ()
    return next((item for item in findings if item.wrong and item.unit == unit), None)


def can_halve_cache(context: DiagnosisContext) -> bool:
    """Return whether vLLM could switch to an 8-bit KV cache; False if a GPU's compute capability is unknown."""
    node = context.node
    dtype = node.argument("kv_cache_dtype") or node.engine.get("kv_cache_dtype") or "auto"
    if str(dtype).startswith("fp8"):
        return False
    capabilities = [str(item.get("compute_capability") or "0.0").split(".") for item in node.devices]
    return bool(capabilities) and all((int(major), int(minor)) >= _FP8_CAPABILITY for major, minor in capabilities)


def _larger_cache(context: DiagnosisContext) -> str:
    """Return the settings that enlarge the KV cache, as text for a remedy."""
    doubled = f" or {flag('kv_cache_dtype', 'fp8')}, which doubles it" if can_halve_cache(context) else ""
    return f"{flag('gpu_memory_utilization', 0.95)}{doubled}"


def _memory_share(context: DiagnosisContext) -> float | None:
    """Return the value of --gpu-memory-utilization from the log or the arguments, or None if it is unknown."""
    share = context.node.engine.get("gpu_memory_utilization") or context.node.argument("gpu_memory_utilization")
    return None if share is None else float(share)
