# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings about tensor parallelism: does the server use every GPU, does every rank run, does the model fit."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import model_fit, parallel_signals
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.parallel_signals import (
    Layout,
    Observations,
    SignalAgreement,
)

SIZE: t.Final = "tensor_parallel.size"
RANKS: t.Final = "tensor_parallel.ranks"
MODEL_FIT: t.Final = "tensor_parallel.model_fit"

HEADS_SOURCE: t.Final = "vLLM: total number of attention heads must be divisible by tensor parallel size"


def review(seen: Observations, verdict: SignalAgreement) -> list[Finding]:
    """The findings of area ``tensor_parallel``, one for each of its checks."""
    return [size(seen, verdict), ranks(seen, verdict), fit(seen, verdict.layout)]


def layout_text(layout: Layout) -> str:
    """``TP 2``, or ``TP 2 x PP 2 x DP 1`` where more than tensor parallelism is at work."""
    if (layout.pipeline or 1) == 1 and (layout.data or 1) == 1:
        return f"TP {layout.tensor}"
    return f"TP {layout.tensor} x PP {layout.pipeline or 1} x DP {layout.data or 1}"


def size(seen: Observations, verdict: SignalAgreement) -> Finding:
    """``tensor_parallel.size``: TP x PP x DP against the GPUs of the node."""
    layout, count = verdict.layout, seen.gpu_count
    evidence = {"signals": {one.name: one.value for one in verdict.signals}, "agreement": dict(verdict.agreement)}
    if layout.gpus is None:
        return not_tested(SIZE, f"The tensor-parallel size is unknown: {_why_unknown(seen)}", evidence=evidence)
    text = layout_text(layout)
    if count is None:
        reason = f"{text} is at work, but the number of GPUs is unknown: {seen.gpus.reason}"
        return not_tested(SIZE, reason, measured=layout.gpus, unit="GPUs", evidence=evidence)
    details: dict[str, t.Any] = {
        "expected": count,
        "measured": layout.gpus,
        "unit": "GPUs",
        "evidence": evidence,
        "source": "GPUs expected of this node" if seen.expected_gpu_count is not None else "GPUs present",
    }
    if layout.gpus < count:
        summary = f"vLLM uses {layout.gpus} of {count} GPUs ({text})"
        taken = parallel_signals.foreign_gpus(seen)
        if layout.gpus + len(taken) == count:
            summary += f"; other processes run on GPU {', '.join(map(str, taken))}"
            cause = "The node is shared, for example by two vLLM servers."
            remedy = f"Where that is intended, set expected_gpu_count: {layout.gpus}; else stop the other processes."
            return warned(SIZE, summary, cause=cause, remedy=remedy, **details)
        return failed(SIZE, summary, cause=_cause(seen), remedy=_remedy(seen, layout, count), **details)
    if layout.gpus > count:
        cause = f"{text} needs {layout.gpus} GPUs and the node has {count}."
        remedy = f"Bring the missing GPUs back, or s{_options(seen, layout, count)[1:]}."
        return failed(SIZE, f"vLLM needs {layout.gpus} GPUs, {count} are there", cause=cause, remedy=remedy, **details)
    dissenting = verdict.agreement["dissenting"]
    if dissenting:
        named = ", ".join(f"{name} says {verdict.signal(name).value}" for name in dissenting)
        cause = "A log of an earlier start, a second server on the node, or a start that did not take its options."
        remedy = "Restart vLLM and run the check again; look at the signals that disagree."
        return warned(SIZE, f"{text}, but not all signals agree: {named}", cause=cause, remedy=remedy, **details)
    if _nothing_runs(seen, verdict):
        reason = f"The last start was {text}, but the server does not answer: {_why_unknown(seen)}"
        return not_tested(SIZE, reason, **details)
    here = f" of this node, one of {layout.nodes}" if layout.nodes > 1 else ""
    return passed(SIZE, f"{text} uses all {count} GPUs{here}" if count > 1 else f"{text} on the only GPU", **details)


def ranks(seen: Observations, verdict: SignalAgreement) -> Finding:
    """``tensor_parallel.ranks``: as many running workers as the layout asks for, each on its own GPU."""
    server, needed = seen.server.value, verdict.layout.gpus
    on_gpus, workers = verdict.signal("gpu_processes"), verdict.signal("worker_processes")
    if server is not None and server.failure is not None and _nothing_runs(seen, verdict):
        return not_tested(RANKS, f"The server does not answer: {server.failure}")
    if needed is None:
        return not_tested(RANKS, f"The number of ranks is unknown: {_why_unknown(seen)}")
    details: dict[str, t.Any] = {"expected": needed, "unit": "ranks"}
    if on_gpus.value is not None:
        details |= {"measured": on_gpus.value, "evidence": {"gpus": on_gpus.source}, "source": "GPU process table"}
        if on_gpus.value == needed:
            each = "1 rank on a GPU of its own" if needed == 1 else f"{needed} ranks, each on a GPU of its own"
            return passed(RANKS, each, **details)
        if on_gpus.value < needed:
            cause = "A worker is missing, or two workers share a GPU (CUDA_VISIBLE_DEVICES names one twice)."
            remedy = "Look for the missing rank in the vLLM log, then restart vLLM."
            summary = f"{needed} ranks, but workers on only {_count(on_gpus.value, 'GPU')}"
            return failed(RANKS, summary, cause=cause, remedy=remedy, **details)
        cause = "Processes of an earlier start, or of a second engine, are still on the other GPUs."
        summary = f"{_count(needed, 'rank')}, but processes of the server on {_count(on_gpus.value, 'GPU')}"
        return warned(
            RANKS, summary, cause=cause, remedy="Stop every vLLM process and start the server anew.", **details
        )
    if workers.value is not None and workers.value < (verdict.layout.tensor or 0):
        cause = "A worker has died or was never started."
        remedy = "Look for the missing rank in the vLLM log, then restart vLLM."
        details |= {"measured": workers.value, "evidence": {"workers": workers.source}, "source": "process titles"}
        return failed(RANKS, f"{workers.value} of {needed} ranks run", cause=cause, remedy=remedy, **details)
    unknown = f"which GPU each rank uses is unknown: {on_gpus.reason}"
    if workers.value is None:
        return not_tested(RANKS, unknown[0].upper() + unknown[1:], **details)
    return not_tested(RANKS, f"Workers run for TP {workers.value}, but {unknown}", **details)


def _nothing_runs(seen: Observations, verdict: SignalAgreement) -> bool:
    """Whether the server was asked and did not answer, and no process of it is seen either."""
    server = seen.server.value
    silent = server is not None and server.failure is not None
    return silent and seen.process.value is None and verdict.signal("gpu_processes").value is None


def fit(seen: Observations, layout: Layout) -> Finding:
    """``tensor_parallel.model_fit``: the model's heads against the tensor-parallel size."""
    shape = seen.shape.value
    if shape is None or shape.attention_heads is None:
        return not_tested(MODEL_FIT, f"The model's number of attention heads is unknown: {seen.shape.reason}")
    evidence = {**shape.as_dict(), "read_from": seen.shape.source}
    heads = shape.attention_heads
    if layout.tensor is None:
        return not_tested(MODEL_FIT, f"The tensor-parallel size is unknown: {_why_unknown(seen)}", evidence=evidence)
    details: dict[str, t.Any] = {"measured": layout.tensor, "evidence": evidence, "source": HEADS_SOURCE}
    if not model_fit.fits(shape, layout.tensor):
        allowed = [size for size in model_fit.neighbours(shape, layout.tensor) if size is not None]
        choice = " or ".join(f"--tensor-parallel-size {size}" for size in allowed)
        return failed(
            MODEL_FIT,
            f"{_heads(shape)} cannot be divided by TP {layout.tensor}",
            expected=" or ".join(map(str, allowed)),
            cause="vLLM gives every rank the same number of heads and refuses to start otherwise.",
            remedy=f"Set {choice}.",
            **details,
        )
    copies = model_fit.kv_copies(shape.kv_heads, layout.tensor)
    replicated = f"; each of the {shape.kv_heads} KV heads is held {copies} times" if copies and copies > 1 else ""
    summary = (
        f"{_count(heads, 'attention head')} divided by TP {layout.tensor}: {heads // layout.tensor} each{replicated}"
    )
    return passed(MODEL_FIT, summary, expected=layout.tensor, **details)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _heads(shape: ModelShape) -> str:
    kv_heads = "" if shape.kv_heads in (None, shape.attention_heads) else f" and {shape.kv_heads} KV heads"
    return f"{_count(shape.attention_heads or 0, 'attention head')}{kv_heads}"


def _why_unknown(seen: Observations) -> str:
    """The reason that helps most: the server's failure, else what else was asked and did not answer."""
    server = seen.server.value
    if server is not None and server.failure is not None:
        return str(server.failure)
    asked = (server and server.missing.get("fingerprint"), seen.engine.reason, seen.process.reason)
    reasons = list(dict.fromkeys(reason for reason in asked if reason))
    return "; ".join(reasons) or "no signal shows it"


def _options(seen: Observations, layout: Layout, gpus: int) -> str:
    """The options that put every one of ``gpus`` GPUs to use with this model."""
    shape = seen.shape.value or ModelShape()
    pipeline = layout.pipeline or 1
    keep_pipeline = gpus % pipeline == 0
    free = gpus // pipeline if keep_pipeline else gpus
    kept = layout.data or 1
    if free % kept == 0 and model_fit.fits(shape, free // kept):
        tensor, data = free // kept, kept  # the replicas that the user chose
    else:
        tensor, data = model_fit.best_layout(shape, free)
    text = f"Set --tensor-parallel-size {tensor}"
    if not keep_pipeline:
        text += " and --pipeline-parallel-size 1"
    if data > 1:
        text += f" and --data-parallel-size {data}"
    elif (layout.data or 1) > 1:
        text += " and --data-parallel-size 1"
    heads = f" ({_heads(shape)} allow it)" if shape.attention_heads else ""
    return text + heads


def _remedy(seen: Observations, layout: Layout, gpus: int) -> str:
    text = _options(seen, layout, gpus)
    if _hidden(seen) is not None:
        text += f", and let vLLM see all {gpus} GPUs (CUDA_VISIBLE_DEVICES, or --gpus of the container)"
    return f"{text}; then restart vLLM."


def _cause(seen: Observations) -> str:
    process, container = seen.process.value, seen.container.value
    arguments = process.arguments if process is not None else container.arguments if container is not None else None
    if arguments is None and seen.engine.value is not None and seen.engine.value.arguments:
        arguments = seen.engine.value.arguments
    environment = (process and process.environment) or (container and container.environment) or {}
    causes: list[str] = []
    if arguments is not None and "tensor_parallel_size" not in arguments and not arguments.get("config"):
        causes.append("vLLM was started without --tensor-parallel-size, which means 1.")
    elif arguments is not None and "tensor_parallel_size" in arguments:
        causes.append(f"vLLM was started with --tensor-parallel-size {arguments['tensor_parallel_size']}.")
    else:
        causes.append("vLLM was started with fewer ranks than the node has GPUs.")
    if "VLLM_TENSOR_PARALLEL_SIZE" in environment:
        causes.append("VLLM_TENSOR_PARALLEL_SIZE is set, but vLLM does not read it.")
    hidden = _hidden(seen)
    if hidden is not None:
        causes.append(f"{hidden} hides the other GPUs from it.")
    return " ".join(causes)


def _hidden(seen: Observations) -> str | None:
    """The variable that shows the server fewer GPUs than there are, with its value."""
    process, container = seen.process.value, seen.container.value
    environment = (process and process.environment) or (container and container.environment) or {}
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        value = environment.get(name)
        if value is None or value in ("all", "void") or seen.gpu_count is None:
            continue
        if len([item for item in value.split(",") if item.strip()]) < seen.gpu_count:
            return f"{name}={value}"
    return None
