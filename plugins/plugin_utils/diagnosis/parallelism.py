# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Diagnose idle GPUs: tensor parallelism is off or has no effect, or a worker is missing.

Source: multi-GPU guide, issue 1.
"""

from __future__ import annotations

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.module_utils.units import GIB
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import model_fit
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import (
    DiagnosisContext,
    conclude_from_log,
    figures,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis, conclude, flag
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import expectation, gpus, limits

#: Checks that fail if vLLM does not use all GPUs.
_IDLE = ("tensor_parallel.size", "memory.idle_gpu", "utilisation.active")


def off(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose tensor-, pipeline- and data-parallel sizes that leave some of the node's GPUs unused."""
    node, size, total = context.node, context.node.group_size, context.gpu_count
    holding = gpus.holders(gpus.memory_used(node))
    explained = context.wrong(*_IDLE)
    if size is None or not 0 < size < total or len(holding) > size or not explained:
        return None
    if context.has_diagnosis("tensor_parallel.model_does_not_fit"):
        return None
    # If GPUs are missing, recommend parallel sizes that use all GPUs of the Linode plan.
    # The user must restore the missing GPUs before applying these sizes.
    promised = node.gpu_facts.get("expected_count") if context.has_diagnosis("gpu.missing") else None
    tensor, data = model_fit.best_layout(context.shape, max(total, promised or 0))
    settings = [flag("tensor_parallel_size", tensor), *([flag("data_parallel_size", data)] if data > 1 else [])]
    hides = 0 < (context.visible_gpus or 0) < total
    remedy = f"{'Once the missing GPUs are restored, serve' if promised else 'Serve'} with {' and '.join(settings)}"
    if hides:
        remedy += f", and make all {total} GPUs visible to vLLM (unset CUDA_VISIBLE_DEVICES; vllm_gpus: all)"
    ignored = node.variable("VLLM_TENSOR_PARALLEL_SIZE") is not None
    return conclude(
        "tensor_parallel.off",
        confidence="high",
        evidence=_idle_evidence(context),
        gain=_gain(context, tensor),
        findings=(*explained, *(context.wrong("configuration.environment") if ignored else ())),
        used=size,
        total=total,
        cause=" ".join(_reasons(context, hides, ignored)),
        remedy=f"{remedy}, then restart vLLM. {expectation.ONE_SERVER_PER_GPU}",
    )


def _reasons(context: DiagnosisContext, hides: bool, ignored: bool) -> list[str]:
    size = context.node.argument("tensor_parallel_size")
    reasons = [
        f"It was started with --tensor-parallel-size {size}."
        if size is not None
        else "It was started without --tensor-parallel-size, which defaults to 1."
    ]
    if ignored:
        reasons.append("VLLM_TENSOR_PARALLEL_SIZE is set, but vLLM does not read it.")
    if hides:
        reasons.append(f"CUDA_VISIBLE_DEVICES={context.node.variable('CUDA_VISIBLE_DEVICES')} hides the other GPUs.")
    return reasons


def _idle_evidence(context: DiagnosisContext) -> tuple[str, ...]:
    memory = {index: value / GIB for index, value in gpus.memory_used(context.node).items()}
    return (
        f"memory in use: {figures(memory, 'GiB')}" if memory else "",
        f"utilisation: {figures(context.utilisation, '%')}" if context.utilisation else "",
    )


def _gain(context: DiagnosisContext, tensor: int) -> str | None:
    roofline, step = context.roofline, context.step
    if roofline is None or step is None or not context.shape.num_layers or tensor <= roofline.tensor_parallel_size:
        return None
    now, gain = expectation.decode_rate(step), roofline.token_time / roofline.at(tensor).token_time
    return (
        f"one stream from {now:.0f} to about {gain * now:.0f} tok/s"
        f" ({gain:.1f}x with {tensor} GPUs, {context.uncertainty})"
    )


def not_at_work(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose tensor parallelism that has no effect, because one GPU does all the work."""
    size, scaling = context.node.group_size, context.worst_finding("performance.scaling")
    if size is None or size < 2 or scaling is None or scaling.status is not Status.FAIL:
        return None
    busy = [index for index, value in context.utilisation.items() if value >= limits.BUSY.value]
    if len(busy) != 1:
        return None
    return conclude(
        "tensor_parallel.not_at_work",
        confidence="high" if context.wrong("memory.idle_gpu") else "medium",
        evidence=(f"utilisation: {figures(context.utilisation, '%')}", *context.speed_evidence()),
        gain=context.recovery(),
        findings=(*context.wrong(*_IDLE, "tensor_parallel.ranks", "utilisation.synchronised"), *context.slow),
        size=size,
        flag=flag("tensor_parallel_size", size),
    )


def rank_missing(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose missing workers: fewer workers run than the parallel sizes require, although there are enough GPUs."""
    size = context.node.group_size
    if size is None or not 2 <= size <= context.gpu_count:
        return None
    if context.has_diagnosis("tensor_parallel.not_at_work", "tensor_parallel.off"):
        return None
    explained = context.wrong("tensor_parallel.ranks", "memory.idle_gpu")
    if not explained or (context.down and "memory.idle_gpu" not in explained):
        return None
    summaries = [item.summary for item in context.worst_findings(*explained)]
    return conclude(
        "tensor_parallel.rank_missing",
        confidence="medium",
        evidence=(*summaries, *_idle_evidence(context)),
        gain=context.recovery(),
        findings=(
            *explained,
            *context.wrong("utilisation.active", "utilisation.synchronised"),
            *context.outage_checks,
            *context.slow,
        ),
        size=size,
    )


def model_does_not_fit(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a tensor-parallel size that does not divide the number of attention heads.

    vLLM cannot start with such a size.
    """
    node, model_fits = context.node, context.worst_finding("tensor_parallel.model_fit")
    if model_fits is None:
        return None
    size = node.argument("tensor_parallel_size") or node.tensor_parallel_size
    sizes = [number for number in model_fit.neighbours(context.shape, int(size or 1)) if number is not None]
    allowed = [number for number in sizes if number <= max(context.gpu_count, 1)] or sizes
    choice = " or ".join(flag("tensor_parallel_size", number) for number in allowed)
    return conclude(
        "tensor_parallel.model_does_not_fit",
        confidence="high",
        evidence=(model_fits.summary,),
        findings=(
            "tensor_parallel.model_fit",
            *context.wrong("tensor_parallel.size", "configuration.arguments", "nccl.errors"),
            *context.outage_checks,
        ),
        size=size,
        remedy=f"Serve with {choice}." if choice else str(model_fits.remedy),
    )


def gpu_twice(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose two ranks that use the same GPU."""
    visible = context.node.variable("CUDA_VISIBLE_DEVICES")
    evidence = [f"CUDA_VISIBLE_DEVICES={visible}"] if visible else []
    cause = "tensor_parallel.gpu_twice"
    return conclude_from_log(context, "nccl_duplicate_gpu", cause, "nccl.errors", evidence=evidence)
