# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the duration of an engine step with a roofline model that includes tensor-parallel all-reduces.

A step takes the longer of memory time and compute time, plus the time of its all-reduces (two per layer) and a
constant time per layer, as measured with a real vLLM (plugins/plugin_utils/speed/roofline.py). Memory time is the
size of a rank's weights and KV cache divided by the achievable memory bandwidth. Compute time is two operations per
parameter and token divided by the achievable FLOP/s. An all-reduce takes a fixed latency plus the bytes that its ring
transfers divided by the bus bandwidth.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

#: Seconds per layer for gaps between kernels, norms and attention.
LAYER_TIME: t.Final = 36e-6
#: Bytes per activation in FP16.
ACTIVATION_BYTES: t.Final = 2


@dataclass(frozen=True)
class Interconnect:
    """NCCL transport between ranks: name in NCCL's log, all-reduce latency in seconds, bus bandwidth in bytes/s."""

    transport: str
    latency: float
    bandwidth: float


@dataclass(frozen=True)
class Model:
    """Dimensions of a model. ``parameters`` is the number of weights, and ``weights`` is their total size in bytes."""

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
        """Return the size of the KV cache per token on one GPU, in bytes. Each GPU stores at least one KV head."""
        return 2 * self.layers * max(1, self.kv_heads // tensor_parallel) * self.head_dim * ACTIVATION_BYTES


@dataclass(frozen=True)
class Step:
    """Duration of an engine step in seconds.

    ``memory``, ``compute`` and ``waiting`` are the fractions of this time that the GPUs spend on memory traffic, on
    compute, and waiting for each other.
    """

    duration: float
    memory: float
    compute: float
    waiting: float


@dataclass(frozen=True)
class Speed:
    """Estimate how long an engine step takes for a model on a tensor-parallel group of GPUs."""

    model: Model
    tensor_parallel: int
    #: Achievable (not theoretical) B/s and FLOP/s of one GPU.
    bandwidth: float
    flops: float
    interconnect: Interconnect
    #: Factor by which the slowest rank lengthens every step.
    drag: float = 1.0

    def step(self, decoding: int, context: int, prefill: int) -> Step:
        """Estimate the time for a step that decodes one token for each sequence and processes new prompt tokens.

        :param decoding: number of sequences to decode.
        :param context: total length of these sequences in tokens.
        :param prefill: number of prompt tokens to process.
        """
        model, ranks = self.model, self.tensor_parallel
        memory = (model.weights / ranks + context * model.kv_bytes(ranks)) / self.bandwidth
        compute = 2 * model.parameters * (decoding + prefill) / (ranks * self.flops)
        work = max(memory, compute) * self.drag
        waiting = self._all_reduce(decoding + prefill) * 2 * model.layers
        total = work + waiting + model.layers * LAYER_TIME
        return Step(total, min(1.0, memory / total), min(1.0, compute / total), waiting / total)

    def _all_reduce(self, tokens: int) -> float:
        ranks = self.tensor_parallel
        if ranks == 1:
            return 0.0
        size = tokens * self.model.hidden * ACTIVATION_BYTES
        return self.interconnect.latency + size * 2 * (ranks - 1) / ranks / self.interconnect.bandwidth
