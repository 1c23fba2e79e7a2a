# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUs that are paid for and do not work: tensor parallelism off, not at work, or short of a rank."""

from __future__ import annotations

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import model_fit
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import Case, figures
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.remedies import flag
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import expectation, gpus, limits

#: Checks that GPUs outside the group fail.
_IDLE = ("tensor_parallel.size", "memory.idle_gpu", "utilisation.active")


def off(case: Case) -> Diagnosis | None:
    """The parallel sizes ask for fewer GPUs than the node has (guide issue 1)."""
    holding = gpus.holders(gpus.memory_used(case.node))
    if case.size is None or not 0 < case.size < case.gpus or len(holding) > case.size:
        return None
    if case.has("tensor_parallel.model_does_not_fit"):
        return None
    explained = case.wrong(*_IDLE)
    if not explained:
        return None
    # What is missing comes back first: the layout is for the plan's GPUs.
    promised = case.node.gpu_facts.get("expected_count") if case.has("gpu.missing") else None
    tensor, data = model_fit.best_layout(case.shape, max(case.gpus, promised or 0))
    settings = [flag("tensor_parallel_size", tensor), *([flag("data_parallel_size", data)] if data > 1 else [])]
    hidden = _hidden(case)
    remedy = f"{'Once the missing GPUs are back, serve' if promised else 'Serve'} with {' and '.join(settings)}"
    if hidden:
        remedy += f", and let vLLM see all {case.gpus} GPUs (unset CUDA_VISIBLE_DEVICES; vllm_gpus: all)"
    unread = "VLLM_TENSOR_PARALLEL_SIZE" in case.environment
    return Diagnosis(
        id="tensor_parallel.off",
        title=f"vLLM uses {case.size} of {case.gpus} GPUs",
        cause=" ".join(_why(case, hidden, unread)),
        confidence="high",
        evidence=_idle_evidence(case),
        remedy=f"{remedy}, then restart vLLM. If the model fits on one GPU, one server per GPU serves more users.",
        expected_gain=_gain(case, tensor),
        findings=(*explained, *(case.wrong("configuration.environment") if unread else ())),
    )


def _why(case: Case, hidden: str | None, unread: bool) -> list[str]:
    asked = case.arguments.get("tensor_parallel_size")
    words = [
        f"It was started with --tensor-parallel-size {asked}."
        if asked is not None
        else "It was started without --tensor-parallel-size, which means 1."
    ]
    if unread:
        words.append("VLLM_TENSOR_PARALLEL_SIZE is set, but vLLM does not read it.")
    if hidden:
        words.append(f"CUDA_VISIBLE_DEVICES={hidden} hides the other GPUs.")
    return words


def _hidden(case: Case) -> str | None:
    """CUDA_VISIBLE_DEVICES where it names fewer GPUs than the node has."""
    value = case.environment.get("CUDA_VISIBLE_DEVICES")
    if value is None or str(value) == "all":
        return None
    named = [part for part in str(value).split(",") if part.strip()]
    return str(value) if len(named) < case.gpus else None


def _idle_evidence(case: Case) -> tuple[str, ...]:
    memory = {index: value / 2**30 for index, value in gpus.memory_used(case.node).items()}
    words = [f"memory in use: {figures(memory, 'GiB')}"] if memory else []
    words += [f"utilisation: {figures(case.utilisation, '%')}"] if case.utilisation else []
    return tuple(words)


def _gain(case: Case, tensor: int) -> str | None:
    if (
        case.bound is None
        or case.step is None
        or not case.shape.num_layers
        or tensor <= case.bound.tensor_parallel_size
    ):
        return None
    now, then = expectation.decode_rate(case.step), case.bound.at(tensor).tokens_per_second
    return f"one stream from {now:.0f} to about {then:.0f} tok/s ({then / now:.1f}x, roofline with {tensor} GPUs)"


def not_at_work(case: Case) -> Diagnosis | None:
    """Tensor parallelism is set, yet one GPU does all the work at the speed of one."""
    scaling = case.first("performance.scaling")
    if case.size is None or case.size < 2 or scaling is None or scaling.status is not Status.FAIL:
        return None
    busy = [index for index, value in case.utilisation.items() if value >= limits.BUSY.value]
    if len(busy) != 1:
        return None
    return Diagnosis(
        id="tensor_parallel.not_at_work",
        title=f"Tensor parallelism is set to {case.size}, but one GPU does the work",
        cause="Requests are answered by a server with one GPU: an older or second one on this port, or one that "
        "splits the model by layers.",
        confidence="high" if case.wrong("memory.idle_gpu") else "medium",
        evidence=(f"utilisation: {figures(case.utilisation, '%')}", *case.speed_words()),
        remedy=f"Stop every vLLM process on the node, then start one server with "
        f"{flag('tensor_parallel_size', case.size)}; check that nothing else listens on the port.",
        expected_gain=case.recovery(),
        findings=(*case.wrong(*_IDLE, "tensor_parallel.ranks", "utilisation.synchronised"), *case.slow),
    )


def rank_missing(case: Case) -> Diagnosis | None:
    """Fewer workers than the parallel sizes ask for, on GPUs that are there."""
    if case.size is None or case.size < 2 or case.size > case.gpus or case.has("tensor_parallel.not_at_work"):
        return None
    explained = case.wrong("tensor_parallel.ranks", "memory.idle_gpu")
    if not explained or case.has("tensor_parallel.off"):
        return None
    if case.down and not case.wrong("memory.idle_gpu"):
        return None
    words = [found.summary for check in explained if (found := case.first(check)) is not None]
    return Diagnosis(
        id="tensor_parallel.rank_missing",
        title=f"Not all {case.size} ranks are at work",
        cause="A worker died, never started, or shares a GPU with another one.",
        confidence="medium",
        evidence=(*words, *_idle_evidence(case)),
        remedy="Look for the missing rank in the vLLM log, free the GPUs of left-over processes (nvidia-smi), then "
        "restart vLLM: all ranks load anew.",
        expected_gain=case.recovery(),
        findings=(*explained, *case.wrong("utilisation.active", "utilisation.synchronised"), *case.silence, *case.slow),
    )


def model_does_not_fit(case: Case) -> Diagnosis | None:
    """The model's heads cannot be divided by the tensor-parallel size, so vLLM refuses to start."""
    found = case.first("tensor_parallel.model_fit")
    if found is None:
        return None
    asked = case.arguments.get("tensor_parallel_size") or case.node.tensor_parallel.data.get("tensor_parallel_size")
    sizes = [size for size in model_fit.neighbours(case.shape, int(asked or 1)) if size is not None]
    allowed = [size for size in sizes if size <= max(case.gpus, 1)] or sizes
    choice = " or ".join(flag("tensor_parallel_size", size) for size in allowed)
    return Diagnosis(
        id="tensor_parallel.model_does_not_fit",
        title=f"The model cannot be split over {asked} GPUs",
        cause="Every rank gets the same number of attention heads, and they do not divide; vLLM refuses to start.",
        confidence="high",
        evidence=(found.summary,),
        remedy=f"Serve with {choice}." if choice else str(found.remedy),
        findings=(
            "tensor_parallel.model_fit",
            *case.wrong("tensor_parallel.size", "configuration.arguments", "nccl.errors"),
            *case.silence,
        ),
    )


def gpu_twice(case: Case) -> Diagnosis | None:
    """Two ranks on one GPU."""
    if "nccl_duplicate_gpu" not in case.faults:
        return None
    shown = case.environment.get("CUDA_VISIBLE_DEVICES")
    return Diagnosis(
        id="tensor_parallel.gpu_twice",
        title="Two ranks were given the same GPU",
        cause="CUDA_VISIBLE_DEVICES names a GPU twice, or several data-parallel servers start on the same GPUs.",
        confidence="high",
        evidence=(case.quote("nccl_duplicate_gpu"), *([f"CUDA_VISIBLE_DEVICES={shown}"] if shown else [])),
        remedy="Give each rank a GPU of its own: unset CUDA_VISIBLE_DEVICES, or name as many GPUs as ranks.",
        findings=(*case.wrong("nccl.errors"), *case.silence),
    )
