# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast a tensor-parallel model decodes and prefills: a roofline with all-reduce, for one step of the engine.

A step takes the longer of memory time and compute time, plus the time of its all-reduces (two a layer). Memory time
is weights and KV cache, divided by the ranks, over the bandwidth that a GPU reaches; compute time is two operations
a parameter and token. The all-reduce is a latency plus the bytes over the ring's bus bandwidth.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

#: Scheduling, sampling and launching outside the GPUs' own work, per step.
HOST_OVERHEAD: t.Final = 0.0008
#: FP16.
ACTIVATION_BYTES: t.Final = 2


@dataclass(frozen=True)
class Interconnect:
    """How NCCL moves data between the ranks: its log name, all-reduce latency in s, bus bandwidth in B/s."""

    transport: str
    latency: float
    bandwidth: float


@dataclass(frozen=True)
class Model:
    """What the speed depends on. ``weights`` are bytes read per token, ``parameters`` operations / 2 per token."""

    id: str
    weights: int
    parameters: float
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    max_position: int

    def kv_bytes(self, tensor_parallel: int) -> int:
        """Bytes of KV cache per token on one rank; KV heads are replicated beyond their number."""
        return 2 * self.layers * max(1, self.kv_heads // tensor_parallel) * self.head_dim * ACTIVATION_BYTES


@dataclass(frozen=True)
class Step:
    """Duration of one engine step in s, and what share of it the GPUs move memory, compute and wait for each other."""

    duration: float
    memory: float
    compute: float
    waiting: float


@dataclass(frozen=True)
class Speed:
    model: Model
    tensor_parallel: int
    #: Reached, not theoretical: B/s and FLOP/s of one GPU.
    bandwidth: float
    flops: float
    interconnect: Interconnect
    #: A rank that others wait for makes every step longer by this factor.
    drag: float = 1.0

    def step(self, decoding: int, context: int, prefill: int) -> Step:
        """One step that decodes a token for ``decoding`` sequences holding ``context`` tokens, and prefills others."""
        model, ranks = self.model, self.tensor_parallel
        memory = (model.weights / ranks + context * model.kv_bytes(ranks)) / self.bandwidth
        compute = 2 * model.parameters * (decoding + prefill) / (ranks * self.flops)
        work = max(memory, compute) * self.drag
        waiting = self._all_reduce(decoding + prefill) * 2 * model.layers
        total = work + waiting + HOST_OVERHEAD
        return Step(total, min(1.0, memory / total), min(1.0, compute / total), waiting / total)

    def _all_reduce(self, tokens: int) -> float:
        ranks = self.tensor_parallel
        if ranks == 1:
            return 0.0
        size = tokens * self.model.hidden * ACTIVATION_BYTES
        return self.interconnect.latency + size * 2 * (ranks - 1) / ranks / self.interconnect.bandwidth
