# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory: too little of it, unevenly used (guide issue 3), or taken by somebody else."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.module_utils.units import GIB
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import Case, figures
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.remedies import flag
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import gpus

#: Less than this is a desktop or a monitoring tool, which troubles nobody.
_NOTICEABLE: t.Final = GIB // 2

#: GPUs whose attention kernels have no 8-bit floating point. Source: CUDA, compute capability 8.9 and later have it.
_FP8_CAPABILITY: t.Final = (8, 9)

#: Where vLLM is usually left some room. Source: --gpu-memory-utilization, default 0.92 (0.9 before 0.20.0).
_DEFAULT_SHARE: t.Final = 0.92


def strangers(case: Case) -> dict[int, list[Mapping[str, t.Any]]]:
    """GPU index -> processes that are not of vLLM and hold memory. Empty where it cannot be told who is who."""
    table = {item["index"]: item.get("processes") or () for item in case.node.raw_devices}
    names = [str(process.get("name") or "") for processes in table.values() for process in processes]
    if not any(_is_vllm(name) for name in names):
        return {}
    found = {
        index: [
            process
            for process in processes
            if not _is_vllm(str(process.get("name") or "")) and (process.get("memory_used") or 0) >= _NOTICEABLE
        ]
        for index, processes in table.items()
    }
    return {index: processes for index, processes in found.items() if processes}


def _is_vllm(name: str) -> bool:
    return "vllm" in name.lower()


def other_process(case: Case) -> Diagnosis | None:
    """Another program on the GPUs, where that shows as a fault."""
    guests = strangers(case)
    busy = "gpu_memory_busy" in case.faults
    explained = case.wrong("memory.balance", "memory.headroom", *(("memory.oom",) if guests or busy else ()))
    if not busy and not (guests and (explained or case.slow)):
        return None
    words = [
        f"GPU {index}: {process.get('name') or 'process'} (pid {process.get('pid')}) holds "
        f"{(process.get('memory_used') or 0) / GIB:.1f} GiB"
        for index, processes in guests.items()
        for process in processes
    ]
    return Diagnosis(
        id="memory.other_process",
        title="Another process uses the GPUs",
        cause="A program beside vLLM holds GPU memory, and its work takes time from vLLM's.",
        confidence="high" if explained or busy else "medium",
        evidence=(*words, *([case.quote("gpu_memory_busy")] if busy else ())),
        remedy="Stop the other program or move it to another node. To live with it, lower "
        "--gpu-memory-utilization (vllm_gpu_memory_utilization) by its share, then restart vLLM.",
        expected_gain=case.recovery(),
        findings=(*explained, *case.slow, *(case.silence if busy or "memory.oom" in explained else ())),
    )


def unbalanced(case: Case) -> Diagnosis | None:
    """Shards of different size without a guest: a rank that has not initialised completely."""
    found = case.first("memory.balance")
    if found is None or "memory.balance" in case.explained:
        return None
    used = {index: value / GIB for index, value in gpus.memory_used(case.node).items()}
    stages = int(case.node.tensor_parallel.data.get("pipeline_parallel_size") or 1)
    evidence = (f"memory in use: {figures(used, 'GiB')}", f"{found.measured} % apart, up to 15 % is harmless")
    if stages > 1:
        return Diagnosis(
            id="memory.uneven_stages",
            title="Pipeline stages hold different parts of the model",
            cause=f"With {stages} pipeline stages the first and last also hold the embeddings: no fault.",
            confidence="medium",
            evidence=evidence,
            remedy="None needed. VLLM_PP_LAYER_PARTITION (in vllm_environment) moves layers between the stages.",
            findings=("memory.balance",),
        )
    return Diagnosis(
        id="memory.unbalanced",
        title="The ranks hold different amounts of memory",
        cause="Ranks of one tensor-parallel group hold equal shards, so a worker has initialised only partly.",
        confidence="medium",
        evidence=evidence,
        remedy="Restart vLLM, so that all ranks load anew; if it comes back, look for that rank's errors in the log.",
        findings=("memory.balance", *case.wrong("utilisation.synchronised"), *case.slow),
    )


def gpu_memory(case: Case) -> Diagnosis | None:
    """A GPU ran out of memory."""
    if "cuda_oom" not in case.faults or case.has("memory.other_process"):
        return None
    share = case.node.engine.get("gpu_memory_utilization") or case.arguments.get("gpu_memory_utilization")
    loaded = case.node.engine.get("model_memory")
    total = min((device.memory_total for device in case.node.devices if device.memory_total), default=None)
    evidence = [case.quote("cuda_oom")]
    if loaded:
        evidence.append(f"weights per GPU: {loaded / GIB:.1f} GiB" + (f" of {total / GIB:.1f}" if total else ""))
    if not loaded and not case.node.engine.get("kv_cache_tokens"):
        cause = "It ran out while the weights were loading: the model is too large for these GPUs."
        remedy = "Serve a quantized or smaller model, or take a plan with more GPU memory."
        if 2 * (case.size or 1) <= case.gpus:
            remedy = f"Split it over more GPUs: {flag('tensor_parallel_size', 2 * (case.size or 1))}."
    elif share is not None and float(share) > _DEFAULT_SHARE:
        cause = f"--gpu-memory-utilization {share} leaves too little for activations, sampling and NCCL."
        evidence.append(f"--gpu-memory-utilization {share}")
        remedy = f"Set {flag('gpu_memory_utilization', 0.9)}"
        remedy += f" and {flag('max_num_seqs', 256)}." if int(case.arguments.get("max_num_seqs") or 0) > 256 else "."
    else:
        cause = "Activations, sampling or CUDA graphs need more than what is left beside weights and KV cache."
        remedy = "Lower --max-num-seqs or --max-model-len (vllm_max_num_seqs, vllm_max_model_len), or set "
        remedy += f"{flag('gpu_memory_utilization', 0.85)}."
    return Diagnosis(
        id="memory.gpu_out_of_memory",
        title="A GPU ran out of memory",
        cause=cause,
        confidence="high",
        evidence=tuple(evidence),
        remedy=remedy,
        findings=(*case.wrong("memory.oom", "memory.headroom", "nccl.errors"), *case.silence),
    )


def host_memory(case: Case) -> Diagnosis | None:
    """The kernel killed a process for memory."""
    if "host_oom" not in case.faults:
        return None
    return Diagnosis(
        id="memory.host_out_of_memory",
        title="The host ran out of memory",
        cause="The kernel or the container's limit ended a process; GPU memory has nothing to do with it.",
        confidence="high",
        evidence=(case.quote("host_oom"),),
        remedy="Take a plan with more memory, raise the container's limit, or load the model with fewer workers at a "
        "time (--max-parallel-loading-workers, in vllm_extra_args).",
        findings=(*case.wrong("memory.oom", "nccl.errors"), *case.silence),
    )


def cache_too_small(case: Case) -> Diagnosis | None:
    """No room for the KV cache of one request: vLLM refuses to start."""
    if "kv_cache_too_small" not in case.faults:
        return None
    remedy = "Lower --max-model-len (vllm_max_model_len) to what the log names"
    options = ["use more GPUs (vllm_tensor_parallel_size)"]
    share = case.node.engine.get("gpu_memory_utilization") or case.arguments.get("gpu_memory_utilization")
    if share is None or float(share) < _DEFAULT_SHARE:
        options.insert(0, f"set {flag('gpu_memory_utilization', 0.95)}")
    if can_halve_cache(case):
        options.append(f"halve the cache with {flag('kv_cache_dtype', 'fp8')}")
    return Diagnosis(
        id="memory.kv_cache_too_small",
        title="The KV cache does not hold one request of full length",
        cause="After the weights, too little GPU memory is left for the context length that was asked for.",
        confidence="high",
        evidence=(case.quote("kv_cache_too_small"),),
        remedy=f"{remedy}, or {', or '.join(options)}.",
        findings=(*case.wrong("memory.headroom", "nccl.errors", "configuration.arguments"), *case.silence),
    )


def preemption(case: Case) -> Diagnosis | None:
    """The KV cache fills up under load, so requests are put back and computed again."""
    found = case.faults.get("kv_preemption")
    if found is None:
        return None
    evidence = [case.quote("kv_preemption")]
    tokens = case.node.engine.get("kv_cache_tokens")
    evidence += [f"KV cache: {tokens:,} tokens"] if tokens else []
    sequences = case.arguments.get("max_num_seqs")
    fewer = flag("max_num_seqs", max(int(sequences) // 2, 1)) if sequences else "a lower --max-num-seqs"
    cache = f", or {flag('kv_cache_dtype', 'fp8')}, which doubles the cache" if can_halve_cache(case) else ""
    return Diagnosis(
        id="memory.preemption",
        title="Requests are preempted because the KV cache is full",
        cause="More streams run than the KV cache holds: some are thrown out and their work is done twice.",
        confidence="high",
        evidence=tuple(evidence),
        remedy=f"Admit fewer streams, {fewer}; or give the cache more room: "
        f"{flag('gpu_memory_utilization', 0.95)}{cache}.",
        expected_gain="no work done twice: steadier latency, more tokens per second under load",
        findings=(*case.wrong("memory.headroom", "performance.ttft", "performance.itl"), *case.slow),
    )


def tight_cache(case: Case) -> Diagnosis | None:
    """A cache that cannot hold the load of this very run, without a line in the log that says so."""
    found = next((item for item in case.all("memory.headroom") if item.unit == "tokens"), None)
    if found is None or "memory.headroom" in case.explained:
        return None
    halve = f", or {flag('kv_cache_dtype', 'fp8')}, which doubles it" if can_halve_cache(case) else ""
    return Diagnosis(
        id="memory.kv_cache_tight",
        title="The KV cache is smaller than the load needs",
        cause="Requests that find no room wait until others have ended, so more streams bring no more speed.",
        confidence="medium",
        evidence=(found.summary,),
        remedy=f"Give the cache more room: {flag('gpu_memory_utilization', 0.95)}{halve}; or send fewer streams to "
        "this node.",
        findings=("memory.headroom",),
    )


def can_halve_cache(case: Case) -> bool:
    """Whether an 8-bit KV cache is possible and not there yet; a GPU that does not tell its capability is no."""
    dtype = case.arguments.get("kv_cache_dtype") or case.node.engine.get("kv_cache_dtype") or "auto"
    if str(dtype).startswith("fp8"):
        return False
    known = [str(item.get("compute_capability") or "0.0").split(".") for item in case.node.raw_devices]
    return bool(known) and all((int(major), int(minor)) >= _FP8_CAPABILITY for major, minor in known)


def little_headroom(case: Case) -> Diagnosis | None:
    """Memory of a GPU nearly full, with nobody else on it."""
    found = next(
        (item for item in case.all("memory.headroom") if item.status is Status.WARN and item.unit == "%"), None
    )
    if found is None or "memory.headroom" in case.explained:
        return None
    share = case.node.engine.get("gpu_memory_utilization") or case.arguments.get("gpu_memory_utilization")
    return Diagnosis(
        id="memory.little_headroom",
        title="vLLM was given nearly all GPU memory",
        cause=f"--gpu-memory-utilization {share} leaves no room for a burst."
        if share
        else "Weights and KV cache fill the GPU, so that a burst has no room.",
        confidence="medium",
        evidence=(found.summary,),
        remedy=f"Set {flag('gpu_memory_utilization', 0.9)}, then restart vLLM.",
        findings=("memory.headroom",),
    )
