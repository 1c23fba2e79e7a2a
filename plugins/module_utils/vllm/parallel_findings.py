# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check tensor parallelism: the server uses every GPU, every rank runs, and the tensor-parallel size fits the model."""

from __future__ import annotations

import typing as t
from dataclasses import asdict

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.units import GIB, counted
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import model_fit, parallel_signals
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.parallel_signals import Layout, Observations

SIZE: t.Final = "tensor_parallel.size"
RANKS: t.Final = "tensor_parallel.ranks"
MODEL_FIT: t.Final = "tensor_parallel.model_fit"

HEADS_SOURCE: t.Final = "vLLM: total number of attention heads must be divisible by tensor parallel size"


def review(observed: Observations, agreement: parallel_signals.SignalAgreement) -> list[Finding]:
    """Run all checks of tensor parallelism, and return one finding per check."""
    return [size(observed, agreement), ranks(observed, agreement), fit(observed, agreement.layout)]


def layout_text(layout: Layout) -> str:
    """Format parallel sizes as ``TP 2``, or as ``TP 2 x PP 2 x DP 1`` if PP or DP is greater than 1."""
    if (layout.pipeline or 1) == 1 and (layout.data or 1) == 1:
        return f"TP {layout.tensor}"
    return f"TP {layout.tensor} x PP {layout.pipeline or 1} x DP {layout.data or 1}"


def size(observed: Observations, agreement: parallel_signals.SignalAgreement) -> Finding:
    """Run the ``tensor_parallel.size`` check: compare TP x PP x DP with the number of GPUs on the node."""
    layout, count = agreement.layout, observed.gpu_count
    values = {signal.name: signal.value for signal in agreement.signals}
    evidence = {"signals": values, "agreement": agreement.counts}
    if layout.gpus is None:
        return not_tested(SIZE, f"The tensor-parallel size is unknown: {_reason_unknown(observed)}", evidence=evidence)
    text = layout_text(layout)
    if count is None:
        reason = f"vLLM runs with {text}, but the number of GPUs is unknown: {observed.gpus.reason}"
        return not_tested(SIZE, reason, measured=layout.gpus, unit="GPUs", evidence=evidence)
    details: dict[str, t.Any] = {
        "expected": count,
        "measured": layout.gpus,
        "unit": "GPUs",
        "evidence": evidence,
        "source": "GPUs expected on this node" if observed.expected_gpu_count is not None else "GPUs present",
    }
    if layout.gpus < count and any(gpu.get("mig_mode") == "enabled" for gpu in observed.gpus.value or ()):
        return not_tested(SIZE, f"vLLM runs with {text} on an instance of a GPU in MIG mode", **details)
    unlisted = _held_by_others(observed, layout.gpus)
    if layout.gpus < count:
        summary = f"vLLM uses {layout.gpus} of {count} GPUs ({text})"
        taken = parallel_signals.foreign_gpus(observed)
        if layout.gpus + len(taken or unlisted) == count:
            if taken:
                summary += f"; other processes run on GPU {', '.join(map(str, taken))}"
                cause = "The node is shared, for example by two vLLM servers."
            else:
                held = ", ".join(f"GPU {index} ({used / GIB:.1f} GiB)" for index, used in unlisted.items())
                summary += f"; another server or process holds {held}"
                cause = (
                    "The node is shared, or processes of an earlier start still run. The driver lists no processes to "
                    "this module, as in a container."
                )
            remedy = (
                f"If this is intended, set expected_gpu_count: {layout.gpus} (validate_server_gpu_count); otherwise "
                "stop the other processes."
            )
            return warned(SIZE, summary, cause=cause, remedy=remedy, **details)
        remedy = _options(observed, layout, count)
        if _limiting_variable(observed) is not None:
            remedy += f", and let vLLM see all {count} GPUs (CUDA_VISIBLE_DEVICES, or --gpus of the container)"
        return failed(SIZE, summary, cause=_cause(observed), remedy=f"{remedy}; then restart vLLM.", **details)
    if layout.gpus > count:
        cause = f"{text} needs {layout.gpus} GPUs and the node has {count}."
        remedy = f"Restore the missing GPUs, or s{_options(observed, layout, count)[1:]}."
        summary = f"vLLM needs {layout.gpus} GPUs, but the node has {count}"
        return failed(SIZE, summary, cause=cause, remedy=remedy, **details)
    # The user stated that the server does not use the GPUs of the others.
    stated = unlisted and observed.expected_gpu_count is not None
    dissenting = [name for name in agreement.counts["dissenting"] if not (stated and name == "gpu_memory")]
    if dissenting:
        others = ", ".join(f"{name} shows {agreement.signal(name).value}" for name in dissenting)
        cause = "A log of an earlier start, a second server on the node, or a start that ignored its options."
        remedy = "Restart vLLM and run the check again; look at the signals that disagree."
        return warned(SIZE, f"{text}, but not all signals agree: {others}", cause=cause, remedy=remedy, **details)
    if _nothing_runs(observed, agreement):
        reason = f"The last start used {text}, but the server does not answer: {_reason_unknown(observed)}"
        return not_tested(SIZE, reason, **details)
    node = f" of this node, one of {layout.nodes}" if layout.nodes > 1 else ""
    return passed(SIZE, f"{text} uses all {count} GPUs{node}" if count > 1 else f"{text} on the only GPU", **details)


def _held_by_others(observed: Observations, size: int) -> dict[int, int]:
    """Return the bytes in use on GPUs that hold a model but are not among the ``size`` GPUs of the server.

    The result is empty unless more than ``size`` GPUs hold a model while the driver lists no process on any GPU, as in
    a container. The server is assumed to use the first GPUs that its environment lists, as vLLM does.
    """
    gpus = {gpu["index"]: gpu for gpu in observed.gpus.value or ()}
    memory = {index: gpu["memory_used"] for index, gpu in gpus.items() if parallel_signals.holds_model(gpu)}
    if len(memory) <= size or any(gpu["processes"] for gpu in gpus.values()):
        return {}
    visible = (observed.environment or {}).get("CUDA_VISIBLE_DEVICES", "").split(",")
    listed = [int(item) for item in visible if item.strip().isdecimal()] or list(gpus)
    return {index: used for index, used in memory.items() if index not in listed[:size]}


def ranks(observed: Observations, agreement: parallel_signals.SignalAgreement) -> Finding:
    """Run the ``tensor_parallel.ranks`` check: compare the running workers and their GPUs with the parallel sizes."""
    needed = agreement.layout.gpus
    on_gpus, workers = agreement.signal("gpu_processes"), agreement.signal("worker_processes")
    if _nothing_runs(observed, agreement):
        return not_tested(RANKS, f"The server does not answer: {_reason_unknown(observed)}")
    if needed is None:
        return not_tested(RANKS, f"The number of ranks is unknown: {_reason_unknown(observed)}")
    details: dict[str, t.Any] = {"expected": needed, "unit": "ranks"}
    if on_gpus.value is not None:
        details |= {"measured": on_gpus.value, "evidence": {"gpus": on_gpus.source}, "source": "GPU process table"}
        if on_gpus.value == needed:
            summary = "1 rank on its own GPU" if needed == 1 else f"{needed} ranks, each on its own GPU"
            return passed(RANKS, summary, **details)
        if on_gpus.value < needed:
            cause = "A worker is missing, or two workers share a GPU (CUDA_VISIBLE_DEVICES lists one twice)."
            remedy = "Look for the missing rank in the vLLM log, then restart vLLM."
            summary = f"{needed} ranks, but workers on only {counted(on_gpus.value, 'GPU')}"
            return failed(RANKS, summary, cause=cause, remedy=remedy, **details)
        cause = "Processes of an earlier start or of a second engine still run on the other GPUs."
        remedy = "Stop every vLLM process and start the server again."
        summary = f"{counted(needed, 'rank')}, but server processes on {counted(on_gpus.value, 'GPU')}"
        return warned(RANKS, summary, cause=cause, remedy=remedy, **details)
    if workers.value is not None and workers.value < (agreement.layout.tensor or 0):
        cause = "A worker has died or was never started."
        remedy = "Look for the missing rank in the vLLM log, then restart vLLM."
        details |= {"measured": workers.value, "evidence": {"workers": workers.source}, "source": "process titles"}
        return failed(RANKS, f"{workers.value} of {needed} ranks run", cause=cause, remedy=remedy, **details)
    unknown = f"which GPU each rank uses is unknown: {on_gpus.reason}"
    if workers.value is None:
        return not_tested(RANKS, unknown[0].upper() + unknown[1:], **details)
    return not_tested(RANKS, f"Workers run for TP {workers.value}, but {unknown}", **details)


def _nothing_runs(observed: Observations, agreement: parallel_signals.SignalAgreement) -> bool:
    """Return whether the server does not respond and none of its processes is visible."""
    server = observed.server.value
    is_down = server is not None and server.failure is not None
    return is_down and observed.process.value is None and agreement.signal("gpu_processes").value is None


def fit(observed: Observations, layout: Layout) -> Finding:
    """Run the ``tensor_parallel.model_fit`` check: the tensor-parallel size must divide the model's heads evenly."""
    shape = observed.shape.value
    if shape is None or shape.attention_heads is None:
        return not_tested(MODEL_FIT, f"The model's number of attention heads is unknown: {observed.shape.reason}")
    evidence = {**asdict(shape), "read_from": observed.shape.source}
    if layout.tensor is None:
        reason = f"The tensor-parallel size is unknown: {_reason_unknown(observed)}"
        return not_tested(MODEL_FIT, reason, evidence=evidence)
    details: dict[str, t.Any] = {"measured": layout.tensor, "evidence": evidence, "source": HEADS_SOURCE}
    if not model_fit.fits(shape, layout.tensor):
        allowed = [size for size in model_fit.neighbours(shape, layout.tensor) if size is not None]
        choice = " or ".join(f"--tensor-parallel-size {size}" for size in allowed)
        return failed(
            MODEL_FIT,
            f"{_heads(shape)} cannot be divided by TP {layout.tensor}",
            expected=" or ".join(map(str, allowed)),
            cause="vLLM must assign the same number of heads to every rank; otherwise, it refuses to start.",
            remedy=f"Set {choice}.",
            **details,
        )
    copies = model_fit.kv_copies(shape.kv_heads, layout.tensor)
    replicated = f"; each of the {shape.kv_heads} KV heads is stored {copies} times" if copies and copies > 1 else ""
    share = f"divided by TP {layout.tensor}: {shape.attention_heads // layout.tensor} each"
    summary = f"{counted(shape.attention_heads, 'attention head')} {share}{replicated}"
    return passed(MODEL_FIT, summary, expected=layout.tensor, **details)


def _heads(shape: ModelShape) -> str:
    kv_heads = "" if shape.kv_heads in (None, shape.attention_heads) else f" and {shape.kv_heads} KV heads"
    return f"{counted(shape.attention_heads or 0, 'attention head')}{kv_heads}"


def _reason_unknown(observed: Observations) -> str:
    """Return a message that explains why the parallel sizes are unknown.

    If the server did not respond, the message is the server's failure. Otherwise, the message explains why other
    sources are missing.
    """
    server = observed.server.value
    if server is not None and server.failure is not None:
        return str(server.failure)
    reasons = (server and server.missing.get("fingerprint"), observed.engine.reason, observed.process.reason)
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason)) or "no signal shows it"


def _options(observed: Observations, layout: Layout, gpus: int) -> str:
    """Return a remedy: the vLLM options with which this model uses ``gpus`` GPUs. The text has no final full stop."""
    shape = observed.shape.value or ModelShape()
    pipeline, replicas = layout.pipeline or 1, layout.data or 1
    keep_pipeline = gpus % pipeline == 0
    gpus_per_stage = gpus // pipeline if keep_pipeline else gpus
    if gpus_per_stage % replicas == 0 and model_fit.fits(shape, gpus_per_stage // replicas):
        tensor, data = gpus_per_stage // replicas, replicas
    else:
        tensor, data = model_fit.best_layout(shape, gpus_per_stage)
    text = f"Set --tensor-parallel-size {tensor}"
    if not keep_pipeline:
        text += " and --pipeline-parallel-size 1"
    if data > 1 or replicas > 1:
        text += f" and --data-parallel-size {data}"
    return f"{text} ({_heads(shape)} allow it)" if shape.attention_heads else text


def _cause(observed: Observations) -> str:
    arguments = observed.arguments
    if arguments is not None and "tensor_parallel_size" in arguments:
        causes = [f"vLLM was started with --tensor-parallel-size {arguments['tensor_parallel_size']}."]
    elif arguments is not None and not arguments.get("config"):
        causes = ["vLLM was started without --tensor-parallel-size, whose default is 1."]
    else:
        causes = ["vLLM was started with fewer ranks than the node has GPUs."]
    if "VLLM_TENSOR_PARALLEL_SIZE" in (observed.environment or {}):
        causes.append("VLLM_TENSOR_PARALLEL_SIZE is set, but vLLM does not read it.")
    variable = _limiting_variable(observed)
    if variable is not None:
        causes.append(f"{variable} hides the other GPUs from vLLM.")
    return " ".join(causes)


def _limiting_variable(observed: Observations) -> str | None:
    """Return the environment variable that hides GPUs from the server, or None if no GPU is hidden.

    The result has the form ``NAME=value``.
    """
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        value = (observed.environment or {}).get(name, "all")
        visible = sum(1 for item in value.split(",") if item.strip())
        if value not in ("all", "void") and visible < (observed.gpu_count or 0):
            return f"{name}={value}"
    return None
