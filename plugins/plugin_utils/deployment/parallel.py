# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose tensor-, pipeline- and data-parallel sizes for a model on the GPUs of one node."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape, fits, neighbours


@dataclass(frozen=True)
class Parallel:
    """The tensor-, pipeline- and data-parallel sizes of a server.

    ``why``: reason for the tensor-parallel size; ``refused``: error if the sizes cannot work, else None; ``offer``:
    message with the number of idle GPUs and the settings that would use them, or None if no GPU is idle.
    """

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
    """Return tensor-, pipeline- and data-parallel sizes for ``gpus`` GPUs. Keep sizes that the user has set.

    The default tensor-parallel size is the largest one that the model's attention heads allow, up to the number of GPUs
    in one pipeline stage of one replica. If ``gpus`` is 0, the server runs on the CPU, with one rank by default.
    """
    stages, replicas = pipeline or 1, data or 1
    if tensor is None:
        size, why = _largest_size(shape, gpus, stages * replicas)
        sizes = Parallel(size, stages, replicas, why)
        refused = _too_many(sizes, gpus)
    else:
        sizes = Parallel(tensor, stages, replicas, "vllm_tensor_parallel_size is set")
        refused = _indivisible(sizes, shape) or _too_many(sizes, gpus) or _wasteful(sizes, shape, gpus)
    return replace(sizes, refused=refused) if refused else replace(sizes, offer=_offer(sizes, gpus))


def _largest_size(shape: ModelShape, gpus: int, groups: int) -> tuple[int, str]:
    """Return the largest tensor-parallel size that is possible, and the reason for this size.

    The ``gpus`` GPUs are divided into ``groups`` equal groups, one for each pipeline stage of each replica.
    """
    available = max(gpus // groups, 1)
    size = next(size for size in range(available, 0, -1) if size == 1 or fits(shape, size))
    why = f"{size} of {gpus} GPUs, {_heads(shape)}" if gpus else "no GPU: one rank"
    return size, why if size == available else f"{why} ({available} does not divide them)"


def _heads(shape: ModelShape) -> str:
    return f"{shape.attention_heads} attention heads" if shape.attention_heads else "heads unknown"


def _product(sizes: Parallel, gpus: int) -> str:
    product = f"tensor {sizes.tensor} x pipeline {sizes.pipeline} x data {sizes.data}"
    return f"{product} needs {sizes.gpus} GPUs, the node has {gpus}"


def _indivisible(sizes: Parallel, shape: ModelShape) -> str | None:
    if fits(shape, sizes.tensor):
        return None
    valid = " or ".join(str(size) for size in neighbours(shape, sizes.tensor) if size)
    return f"tensor parallel size {sizes.tensor} does not divide {_heads(shape)}; {valid} would"


def _too_many(sizes: Parallel, gpus: int) -> str | None:
    return _product(sizes, gpus) if gpus and sizes.gpus > gpus else None


def _wasteful(sizes: Parallel, shape: ModelShape, gpus: int) -> str | None:
    """Return an error message if these ``sizes`` leave GPUs unused, but a larger tensor-parallel size would use all.

    Return None if more replicas of the same size can use the remaining GPUs, or if no larger tensor-parallel size would
    use all GPUs.
    """
    if gpus % sizes.gpus == 0:
        return None
    for size in range(sizes.tensor + 1, gpus + 1):
        if gpus % (size * sizes.pipeline * sizes.data) == 0 and fits(shape, size):
            return (
                f"{_product(sizes, gpus)}, and the remaining GPUs are too few for another replica. "
                f"Set vllm_tensor_parallel_size: {size} to use all GPUs, or select the GPUs to use, for example "
                f"vllm_gpus: {','.join(map(str, range(sizes.gpus)))}"
            )
    return None


def _offer(sizes: Parallel, gpus: int) -> str | None:
    if sizes.gpus >= gpus:
        return None
    offer = f"{gpus - sizes.gpus} of {gpus} GPUs stay idle"
    copies = gpus // sizes.gpus
    if copies > 1:
        offer += (
            f"; set vllm_data_parallel_size: {sizes.data * copies} to run more replicas, or "
            f"vllm_pipeline_parallel_size: {sizes.pipeline * copies} for a model that does not fit otherwise"
        )
    return offer
