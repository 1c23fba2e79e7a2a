# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One rank of a transformer with random weights and a KV cache that decodes a batch as one CUDA graph.

It has the dimensions of a common model, so the bytes and operations per token are realistic. Heads and feed-forward
layers are sharded over the ranks, with two all-reduces per layer (as in Megatron-LM and vLLM). Weights are random,
positions are not encoded and nothing is sampled, so the output has no meaning.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional


@dataclasses.dataclass(frozen=True)
class Shape:
    """Dimensions of a transformer."""

    layers: int = 28
    hidden: int = 3584
    heads: int = 28
    kv_heads: int = 4
    head_dim: int = 128
    intermediate: int = 18944
    vocabulary: int = 152064


#: Qwen/Qwen2.5-7B-Instruct, and a small shape for the CPU that only tests the code.
REAL = Shape()
SMALL = Shape(layers=2, hidden=256, heads=4, kv_heads=2, head_dim=64, intermediate=512, vocabulary=32000)


class Decoder:
    """One of ``ranks`` ranks that decode up to ``slots`` sequences of at most ``context`` tokens in lockstep."""

    def __init__(self, shape: Shape, slots: int, context: int, device: torch.device, ranks: int = 1) -> None:
        shape = dataclasses.replace(
            shape,
            heads=shape.heads // ranks,
            kv_heads=shape.kv_heads // ranks,
            intermediate=shape.intermediate // ranks,
        )
        self.shape, self.slots, self.context, self.device, self.ranks = shape, slots, context, device, ranks
        self.gpu = device.type == "cuda"
        self.dtype = torch.bfloat16 if self.gpu else torch.float32
        width = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
        sizes = {
            "qkv": (width, shape.hidden),
            "out": (shape.hidden, shape.heads * shape.head_dim),
            "gate_up": (2 * shape.intermediate, shape.hidden),
            "down": (shape.hidden, shape.intermediate),
        }
        self.weights = [{name: self._random(*size) for name, size in sizes.items()} for _layer in range(shape.layers)]
        # This rank's part of the vocabulary.
        self.rank, self.rows = dist.get_rank() if ranks > 1 else 0, shape.vocabulary // ranks
        self.embedding = self._random(self.rows, shape.hidden)
        self.head = self._random(self.rows, shape.hidden)
        # One extra slot, for padding rows of a batch.
        cache = (shape.layers, slots + 1, shape.kv_heads, context, shape.head_dim)
        self.keys = torch.zeros(cache, device=device, dtype=self.dtype)
        self.values = torch.zeros(cache, device=device, dtype=self.dtype)
        self.places = torch.arange(context, device=device)
        self.batches = [size for size in (1, 2, 4, 8, 16, 32, 64) if size <= slots]
        self.inputs = torch.zeros((3, slots), device=device, dtype=torch.long)
        self.next = torch.zeros(slots, device=device, dtype=torch.long)
        self.graphs = {size: self._captured(size) for size in self.batches} if self.gpu else {}

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of all weights on this rank, including its part of the embedding."""
        matrices = [matrix for layer in self.weights for matrix in layer.values()]
        return sum(matrix.nbytes for matrix in (*matrices, self.embedding, self.head))

    @torch.no_grad()
    def prefill(self, slot: int, tokens: int, start: int) -> None:
        """Compute the next ``tokens`` of a prompt after the first ``start``, and wait for the GPU."""
        ids = torch.randint(self.shape.vocabulary, (tokens,), device=self.device)
        state = self._embedded(ids)
        mask = self.places[None, : start + tokens] <= torch.arange(start, start + tokens, device=self.device)[:, None]
        for number, layer in enumerate(self.weights):
            query, key, value = self._projected(layer, state)
            self.keys[number, slot, :, start : start + tokens] = key.transpose(0, 1)
            self.values[number, slot, :, start : start + tokens] = value.transpose(0, 1)
            groups = self.shape.heads // self.shape.kv_heads
            cached = [
                cache[number, slot, :, : start + tokens].repeat_interleave(groups, 0)
                for cache in (self.keys, self.values)
            ]
            mixed = functional.scaled_dot_product_attention(query.transpose(0, 1), *cached, attn_mask=mask)
            state = self._rest(layer, state, mixed.transpose(0, 1).reshape(tokens, -1))
        self._wait()

    def decode(self, slots: Sequence[int], positions: Sequence[int]) -> float:
        """Decode one token for each sequence; return the seconds until the GPU finished."""
        begun = time.perf_counter()
        count = len(slots)
        size = next((size for size in self.batches if size >= count), self.slots)
        rows = [[*slots, *[self.slots] * (size - count)], [*positions, *[0] * (size - count)]]
        self.inputs[:2, :size] = torch.tensor(rows, device=self.device)
        self.inputs[2, :size] = self.next[:size]
        if self.gpu:
            self.graphs[size].replay()
        else:
            self._step(size)
        self._wait()
        return time.perf_counter() - begun

    def _random(self, *size: int) -> Tensor:
        return torch.randn(*size, device=self.device, dtype=self.dtype) * size[-1] ** -0.5

    def _wait(self) -> None:
        if self.gpu:
            torch.cuda.synchronize()

    def _captured(self, size: int) -> torch.cuda.CUDAGraph:
        self._step(size)
        self._wait()
        graph = torch.cuda.CUDAGraph()
        # Other threads (NCCL's watchdog) may query the GPU during the capture.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._step(size)
        return graph

    @torch.no_grad()
    def _step(self, size: int) -> None:
        shape = self.shape
        slots, positions, tokens = self.inputs[0, :size], self.inputs[1, :size], self.inputs[2, :size]
        mask = torch.where(self.places[None] <= positions[:, None], 0.0, -math.inf).to(self.dtype)
        state = self._embedded(tokens)
        for number, layer in enumerate(self.weights):
            query, key, value = self._projected(layer, state)
            self.keys[number, slots, :, positions] = key
            self.values[number, slots, :, positions] = value
            cached = self.keys[number, slots], self.values[number, slots]
            grouped = query.reshape(size, shape.kv_heads, -1, shape.head_dim)
            scores = grouped @ cached[0].transpose(-1, -2) * shape.head_dim**-0.5 + mask[:, None, None]
            mixed = torch.softmax(scores, -1) @ cached[1]
            state = self._rest(layer, state, mixed.reshape(size, -1))
        best, row = (functional.rms_norm(state, state.shape[-1:]) @ self.head.t()).max(-1)
        self.next[:size] = self._chosen(best, row + self.rank * self.rows)

    def _projected(self, layer: dict[str, Tensor], state: Tensor) -> tuple[Tensor, ...]:
        shape = self.shape
        mixed = functional.rms_norm(state, state.shape[-1:]) @ layer["qkv"].t()
        heads = mixed.reshape(len(state), -1, shape.head_dim)
        return heads.split((shape.heads, shape.kv_heads, shape.kv_heads), dim=1)

    def _rest(self, layer: dict[str, Tensor], state: Tensor, mixed: Tensor) -> Tensor:
        state = state + self._summed(mixed @ layer["out"].t())
        gate, up = (functional.rms_norm(state, state.shape[-1:]) @ layer["gate_up"].t()).chunk(2, -1)
        return state + self._summed((functional.silu(gate) * up) @ layer["down"].t())

    def _embedded(self, tokens: Tensor) -> Tensor:
        row = tokens - self.rank * self.rows
        in_range = (row >= 0) & (row < self.rows)
        return self._summed(self.embedding[row.clamp(0, self.rows - 1)] * in_range[:, None])

    def _chosen(self, best: Tensor, token: Tensor) -> Tensor:
        """Return the token with the highest value over all ranks."""
        if self.ranks == 1:
            return token
        candidates = torch.stack([best.double(), token.double()])
        gathered = candidates.new_empty((2 * self.ranks, len(token)))
        dist.all_gather_into_tensor(gathered, candidates)
        gathered = gathered.view(self.ranks, 2, -1)
        winner = gathered[:, 0].argmax(0)
        return gathered[:, 1].gather(0, winner[None])[0].long()

    def _summed(self, part: Tensor) -> Tensor:
        if self.ranks > 1:
            dist.all_reduce(part)
        return part
