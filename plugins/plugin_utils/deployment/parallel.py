# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which parallel sizes a model gets on the GPUs of one node, why, and why others cannot work."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape, fits, neighbours


@dataclass(frozen=True)
class Parallel:
    """Parallel sizes with the reason; ``refused`` says why they cannot work, ``offer`` what would use more GPUs."""

    tensor: int
    pipeline: int
    data: int
    why: str
    refused: str | None = None
    offer: str | None = None

    @property
    def gpus(self) -> int:
        return self.tensor * self.pipeline * self.data


def choose_parallel(
    shape: ModelShape, gpus: int, tensor: int | None = None, pipeline: int | None = None, data: int | None = None
) -> Parallel:
    """Tensor-, pipeline- and data-parallel sizes for ``gpus`` GPUs; what the user gave is kept.

    Without a tensor-parallel size it is the largest that the model's heads allow in the GPUs that are left for one
    pipeline stage of one replica. A ``gpus`` of 0 means a server on the CPU: one rank unless the user says more.
    """
    stages, replicas = pipeline or 1, data or 1
    heads = f"{shape.attention_heads} attention heads" if shape.attention_heads else "heads unknown"
    if tensor is not None:
        chosen = Parallel(tensor, stages, replicas, "vllm_tensor_parallel_size is set")
        if not fits(shape, tensor):
            below, above = neighbours(shape, tensor)
            near = " or ".join(str(size) for size in (below, above) if size)
            return _refuse(chosen, f"tensor parallel size {tensor} does not divide {heads}; {near} would")
    else:
        room = max(gpus // (stages * replicas), 1)
        size = next(size for size in range(room, 0, -1) if size == 1 or fits(shape, size))
        why = f"{size} of {gpus} GPUs, {heads}" if gpus else "no GPU: one rank"
        if room != size:
            why += f" ({room} does not divide them)"
        chosen = Parallel(size, stages, replicas, why)
    product = f"tensor {chosen.tensor} x pipeline {stages} x data {replicas} is {chosen.gpus} GPUs"
    if gpus and chosen.gpus > gpus:
        return _refuse(chosen, f"{product}, the node has {gpus}")
    if tensor is not None and gpus % chosen.gpus:
        better = [size for size in range(tensor + 1, gpus + 1) if gpus % (size * stages * replicas) == 0]
        better = [size for size in better if fits(shape, size)]
        if better:
            return _refuse(
                chosen,
                f"{product}, the node has {gpus}, and no second copy fits the rest: vllm_tensor_parallel_size: "
                f"{better[0]} uses all of them; to leave some free, say which to use, as in vllm_gpus: "
                + ",".join(map(str, range(chosen.gpus))),
            )
    spare = gpus // chosen.gpus if gpus else 1
    if spare > 1 or (gpus and chosen.gpus < gpus):
        offer = f"{gpus - chosen.gpus} of {gpus} GPUs stay idle"
        if spare > 1:
            offer += (
                f"; vllm_data_parallel_size: {replicas * spare} would use them as a copy each, or "
                f"vllm_pipeline_parallel_size: {stages * spare} to split a model that does not fit otherwise"
            )
        return Parallel(chosen.tensor, stages, replicas, chosen.why, offer=offer)
    return chosen


def _refuse(parallel: Parallel, reason: str) -> Parallel:
    return Parallel(parallel.tensor, parallel.pipeline, parallel.data, parallel.why, refused=reason)
