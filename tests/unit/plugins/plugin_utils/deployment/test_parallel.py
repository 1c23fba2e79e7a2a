# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the parallel sizes chosen for a model's attention heads and a node's GPUs."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.parallel import choose_parallel


@pytest.mark.parametrize(
    ("heads", "kv", "count", "expected"),
    [(40, 8, 1, 1), (40, 8, 2, 2), (40, 8, 4, 4), (40, 8, 8, 8), (14, 2, 4, 2), (12, 4, 4, 4), (9, 3, 4, 3),
     (7, 7, 4, 1), (28, 4, 8, 4), (None, None, 4, 4), (40, 8, 0, 1)],
)  # fmt: skip
def test_choose_parallel_takes_the_largest_size_that_divides_the_heads(
    heads: int | None, kv: int | None, count: int, expected: int
) -> None:
    assert choose_parallel(ModelShape(heads, kv), count).tensor == expected


def test_choose_parallel_offers_sizes_that_use_idle_gpus() -> None:
    chosen = choose_parallel(ModelShape(14, 2), 4)
    assert chosen.refused is None
    for text in ("2 of 4 GPUs stay idle", "vllm_data_parallel_size: 2", "vllm_pipeline_parallel_size: 2"):
        assert text in (chosen.offer or "")
    assert choose_parallel(ModelShape(9, 3), 4).offer == "1 of 4 GPUs stay idle"
    assert choose_parallel(ModelShape(40, 8), 4).offer is None


def test_choose_parallel_divides_gpus_among_stages_and_replicas() -> None:
    assert choose_parallel(ModelShape(14, 2), 4, pipeline=2).tensor == 2
    assert choose_parallel(ModelShape(40, 8), 8, pipeline=2, data=2).tensor == 2


@pytest.mark.parametrize(
    ("sizes", "text"),
    [((3, None, None), "does not divide 40 attention heads; 2 or 4 would"),
     ((8, None, None), "needs 8 GPUs, the node has 4"),
     ((4, 2, None), "needs 8 GPUs, the node has 4"),
     ((2, None, 4), "needs 8 GPUs, the node has 4")],
)  # fmt: skip
def test_choose_parallel_refuses_impossible_sizes(sizes: tuple[int | None, int | None, int | None], text: str) -> None:
    assert text in (choose_parallel(ModelShape(40, 8), 4, *sizes).refused or "")


@pytest.mark.parametrize("shape", [ModelShape(12, 12), ModelShape()])
def test_choose_parallel_refuses_wasteful_size_with_solutions(shape: ModelShape) -> None:
    refused = choose_parallel(shape, 4, tensor=3).refused or ""
    for text in ("needs 3 GPUs, the node has 4", "vllm_tensor_parallel_size: 4 to use all", "vllm_gpus: 0,1,2"):
        assert text in refused


@pytest.mark.parametrize(
    ("heads", "kv", "count", "tensor"),
    [(40, 8, 3, 2), (24, 3, 3, 3), (40, 8, 4, 2), (9, 3, 4, 3)],
)  # fmt: skip
def test_choose_parallel_accepts_size_if_no_larger_one_fits(heads: int, kv: int, count: int, tensor: int) -> None:
    assert choose_parallel(ModelShape(heads, kv), count, tensor=tensor).refused is None


@pytest.mark.parametrize(
    ("gpus", "sizes", "rdma", "expected"),
    [
        # By default, tensor parallelism inside the node, and one stage on each node.
        (8, {}, False, (4, 2)),
        (8, {"pipeline": 4}, False, (2, 4)),
        (8, {"tensor": 8, "pipeline": 1}, True, (8, 1)),
        (0, {}, False, (1, 2)),
    ],
)
def test_choose_parallel_of_two_nodes_splits_the_layers_between_them(
    gpus: int, sizes: dict[str, int], rdma: bool, expected: tuple[int, int]
) -> None:
    chosen = choose_parallel(ModelShape(40, 8, 64), gpus, **sizes, nodes=2, rdma=rdma)
    assert chosen.refused is None
    assert (chosen.tensor, chosen.pipeline) == expected
    assert chosen.gpus_per_node == (chosen.gpus // 2)


@pytest.mark.parametrize(
    ("sizes", "nodes", "text"),
    [
        ({"tensor": 8, "pipeline": 1}, 2, "pipeline parallel size 1 is not divisible by 2 nodes; 2 would be. Tensor"),
        # 2 x 64 all-reduces of 100 to 300 us.
        ({"tensor": 8, "pipeline": 1}, 2, "2 all-reduces per layer take 100 to 300 us each over TCP, which is "
         "12.8 to 38.4 ms per token for 64 layers"),
        ({"tensor": 2, "pipeline": 3}, 2, "pipeline parallel size 3 is not divisible by 2 nodes; 2 or 4 would be"),
        ({"data": 2}, 2, "one replica, so vllm_data_parallel_size must be 1, got 2"),
        ({"tensor": 8}, 2, "tensor 8 x pipeline 2 x data 1 needs 16 GPUs, the 2 nodes have 8"),
        ({"tensor": 1, "pipeline": 66}, 66, "pipeline parallel size 66 is larger than the model's 64 layers"),
    ],
)  # fmt: skip
def test_choose_parallel_of_several_nodes_refuses_what_cannot_be_split(
    sizes: dict[str, int], nodes: int, text: str
) -> None:
    gpus = 8 if nodes == 2 else nodes
    assert text in (choose_parallel(ModelShape(40, 8, 64), gpus, **sizes, nodes=nodes).refused or "")


def test_choose_parallel_of_two_nodes_offers_only_stages() -> None:
    offer = choose_parallel(ModelShape(14, 2, 24), 8, nodes=2).offer or ""
    assert offer == (
        "4 of 8 GPUs stay idle; set vllm_pipeline_parallel_size: 4 for a model that does not fit otherwise"
    )
