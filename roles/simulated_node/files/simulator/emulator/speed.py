# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roofline model of an engine step for a tensor-parallel model, including all-reduces.

A step takes the longer of memory time and compute time, plus the time of its all-reduces (two per layer). Memory time
is the weights and KV cache of a rank divided by the achievable memory bandwidth. Compute time is two operations per
parameter and token. An all-reduce takes a latency plus its bytes divided by the ring's bus bandwidth.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

#: Seconds per step for scheduling, sampling and kernel launches on the host.
HOST_OVERHEAD: t.Final = 0.0008
#: Bytes per activation in FP16.
ACTIVATION_BYTES: t.Final = 2


@dataclass(frozen=True)
class Interconnect:
    """NCCL transport between ranks: its name in the log, all-reduce latency in s, bus bandwidth in B/s."""

    transport: str
    latency: float
    bandwidth: float


@dataclass(frozen=True)
class Model:
    """Model dimensions. ``weights`` are the bytes read per token, ``parameters`` half the operations per token."""

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
        """Return the KV cache bytes per token on one rank. With more ranks than KV heads, heads are replicated."""
        return 2 * self.layers * max(1, self.kv_heads // tensor_parallel) * self.head_dim * ACTIVATION_BYTES


@dataclass(frozen=True)
class Step:
    """Duration of an engine step in s, and the shares of it for memory traffic, compute and waiting for other ranks."""

    duration: float
    memory: float
    compute: float
    waiting: float


@dataclass(frozen=True)
class Speed:
    """Speed of a model on a group of GPUs."""

    model: Model
    tensor_parallel: int
    #: Achievable (not theoretical) B/s and FLOP/s of one GPU.
    bandwidth: float
    flops: float
    interconnect: Interconnect
    #: Factor by which the slowest rank lengthens every step.
    drag: float = 1.0

    def step(self, decoding: int, context: int, prefill: int) -> Step:
        """Return a step that decodes ``decoding`` sequences of ``context`` tokens in all and prefills ``prefill``."""
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
