# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose tensor-, pipeline- and data-parallel sizes for a model on the GPUs of one node or of a group of nodes."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape, fits, neighbours

#: Duration of one all-reduce of a token's hidden state between nodes over TCP, in seconds, from good to usual. It takes
#: two round trips of 30 to 100 us in one data centre, and copies between GPU and host. Estimated, not measured.
_ALL_REDUCE_OVER_TCP: t.Final = (100e-6, 300e-6)
#: All-reduces of each layer: after attention and after the MLP. Source: Megatron-LM, arXiv 1909.08053, section 3.
_ALL_REDUCES_PER_LAYER: t.Final = 2


@dataclass(frozen=True)
class Parallel:
    """The tensor-, pipeline- and data-parallel sizes of a server that spans ``nodes`` nodes.

    ``why``: reason for the tensor-parallel size; ``refused``: error if the sizes cannot work, else None; ``offer``:
    message with the number of idle GPUs and the settings that would use them, or None if no GPU is idle.
    """

    tensor: int
    pipeline: int
    data: int
    why: str
    refused: str | None = None
    offer: str | None = None
    nodes: int = 1

    @property
    def gpus(self) -> int:
        """Number of ranks on all nodes, each of which needs a GPU."""
        return self.tensor * self.pipeline * self.data

    @property
    def gpus_per_node(self) -> int:
        return self.gpus // self.nodes

    @property
    def ranks_per_node(self) -> int:
        """Number of GPUs of one replica on each node, which exchange data."""
        return self.tensor * self.pipeline // self.nodes


def choose_parallel(
    shape: ModelShape,
    gpus: int,
    tensor: int | None = None,
    pipeline: int | None = None,
    data: int | None = None,
    nodes: int = 1,
    rdma: bool = False,
) -> Parallel:
    """Return tensor-, pipeline- and data-parallel sizes for ``gpus`` GPUs. Keep sizes that the user has set.

    The default tensor-parallel size is the largest one that the model's attention heads allow, up to the number of GPUs
    in one pipeline stage of one replica. If ``gpus`` is 0, the server runs on the CPU, with one rank by default.

    :param gpus: number of GPUs of all nodes together.
    :param nodes: number of nodes. By default, each node has one pipeline stage.
    :param rdma: whether the network between the nodes supports RDMA. Without it, all ranks of a stage must be on one
        node.
    """
    stages, replicas = pipeline or nodes, data or 1
    if tensor is None:
        size, why = _largest_size(shape, gpus, stages * replicas)
        sizes = Parallel(size, stages, replicas, why, nodes=nodes)
        refused = _too_many(sizes, gpus)
    else:
        sizes = Parallel(tensor, stages, replicas, "vllm_tensor_parallel_size is set", nodes=nodes)
        refused = _indivisible(sizes, shape) or _too_many(sizes, gpus)
    refused = refused or (_split(sizes, shape, rdma) if nodes > 1 else None)
    if tensor is not None:
        refused = refused or _wasteful(sizes, shape, gpus)
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
    owner = "the node has" if sizes.nodes == 1 else f"the {sizes.nodes} nodes have"
    return f"{product} needs {sizes.gpus} GPUs, {owner} {gpus}"


def _indivisible(sizes: Parallel, shape: ModelShape) -> str | None:
    if fits(shape, sizes.tensor):
        return None
    valid = " or ".join(str(size) for size in neighbours(shape, sizes.tensor) if size)
    return f"tensor parallel size {sizes.tensor} does not divide {_heads(shape)}; {valid} would"


def _too_many(sizes: Parallel, gpus: int) -> str | None:
    return _product(sizes, gpus) if gpus and sizes.gpus > gpus else None


def _split(sizes: Parallel, shape: ModelShape, rdma: bool) -> str | None:
    """Return an error message if the ranks cannot be split between the nodes of ``sizes``.

    vLLM numbers the ranks stage by stage and gives each node the same number of consecutive ranks
    (multiproc_executor.py of vLLM 0.32). Tensor parallelism stays inside the nodes if each node has complete stages.
    """
    nodes, stages = sizes.nodes, sizes.pipeline
    if sizes.data > 1:
        return (
            f"a group of nodes serves one replica, so vllm_data_parallel_size must be 1, got {sizes.data}; "
            "set another vllm_group for each replica"
        )
    if shape.num_layers and stages > shape.num_layers:
        return f"pipeline parallel size {stages} is larger than the model's {shape.num_layers} layers"
    if stages % nodes == 0 or (rdma and sizes.gpus % nodes == 0):
        return None
    choices = [str(size) for size in (stages // nodes * nodes, (stages // nodes + 1) * nodes) if size]
    refused = f"pipeline parallel size {stages} is not divisible by {nodes} nodes; {' or '.join(choices)} would be"
    return refused if rdma or sizes.tensor == 1 else f"{refused}. {_across_nodes(shape)}"


def _across_nodes(shape: ModelShape) -> str:
    """Return the reason why tensor parallelism between nodes is too slow without RDMA, with the time for a token."""
    layers = shape.num_layers or 1
    best, usual = (1e3 * _ALL_REDUCES_PER_LAYER * layers * seconds for seconds in _ALL_REDUCE_OVER_TCP)
    of = f"{shape.num_layers} layers" if shape.num_layers else "one layer"
    return (
        f"Tensor parallelism between nodes needs RDMA: {_ALL_REDUCES_PER_LAYER} all-reduces per layer take "
        f"100 to 300 us each over TCP, which is {best:.3g} to {usual:.3g} ms per token for {of}"
    )


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
        offer += "; set "
        # A group of nodes serves one replica.
        if sizes.nodes == 1:
            offer += f"vllm_data_parallel_size: {sizes.data * copies} to run more replicas, or "
        offer += f"vllm_pipeline_parallel_size: {sizes.pipeline * copies} for a model that does not fit otherwise"
    return offer
