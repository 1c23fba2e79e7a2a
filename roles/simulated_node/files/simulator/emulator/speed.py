# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the duration of an engine step with a roofline model that includes tensor-parallel all-reduces.

A step takes the longer of memory time and compute time, plus the time of its all-reduces (two per layer), a constant
time per layer, and the time to pass activations between pipeline stages. The constants were measured with a real vLLM:
plugins/plugin_utils/speed/roofline.py has their sources, and a test checks that the values are the same here. Memory
time is the size of the weights and KV cache that a tensor-parallel rank reads, divided by the achievable memory
bandwidth. Compute time is two operations per parameter and token divided by the achievable FLOP/s. An all-reduce takes
a latency, which depends on the number of GPUs, plus the bytes that its ring transfers divided by the bus bandwidth.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

#: Seconds per layer for gaps between kernels, norms and attention.
LAYER_TIME: t.Final = 36e-6
#: Seconds to pass activations from one pipeline stage to the next.
HOP_TIME: t.Final = 0.3e-3
#: Bytes per activation in FP16.
ACTIVATION_BYTES: t.Final = 2
#: Bytes of the largest message that vLLM's own all-reduce handles (vllm/distributed/.../custom_all_reduce.py).
CUSTOM_LIMIT: t.Final = 8 * 2**20


@dataclass(frozen=True)
class Interconnect:
    """Path between GPUs.

    ``transport``: its name in NCCL's log. ``latency``: seconds of a small all-reduce by number of GPUs. ``bandwidth``:
    bus bandwidth in bytes/s.
    """

    transport: str
    latency: t.Mapping[str, float]
    bandwidth: float

    def latency_of(self, gpus: int) -> float:
        """Return the latency of a small all-reduce; a larger group has that of the largest number in the table."""
        sizes = sorted(map(int, self.latency))
        return self.latency[str(next((size for size in sizes if size >= gpus), sizes[-1]))]


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
    dtype: str = "float16"
    awq: bool = True

    @property
    def read_bytes(self) -> int:
        """Bytes of weights that a step reads: all but the input embedding, of which a token reads one row."""
        return self.weights - self.hidden * self.vocabulary * ACTIVATION_BYTES

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
    """Estimate how long an engine step takes for a model on the GPUs of one engine."""

    model: Model
    tensor_parallel: int
    #: Achievable (not theoretical) B/s and FLOP/s of one GPU.
    bandwidth: float
    flops: float
    interconnect: Interconnect
    #: Path of small all-reduces if it is not NCCL's: that of vLLM's own all-reduce.
    custom: Interconnect | None = None
    stages: int = 1
    #: Number of nodes; between two of them, activations travel over the network, in half a round trip (seconds) and at
    #: this rate (bytes/s).
    nodes: int = 1
    round_trip: float = 0.2e-3
    rate: float = 1.25e9
    #: Factor by which the slowest rank lengthens every step.
    drag: float = 1.0

    def step(self, decoding: int, context: int, prefill: int) -> Step:
        """Estimate the time for a step that decodes one token for each sequence and processes new prompt tokens.

        :param decoding: number of sequences to decode.
        :param context: total length of these sequences in tokens.
        :param prefill: number of prompt tokens to process.
        """
        model, ranks = self.model, self.tensor_parallel
        memory = (model.read_bytes / ranks + context * model.kv_bytes(ranks)) / self.bandwidth
        compute = 2 * model.parameters * (decoding + prefill) / (ranks * self.flops)
        work = max(memory, compute) * self.drag
        waiting = self._all_reduce(decoding + prefill) * 2 * model.layers
        # A stage passes on the hidden states and the residual of each token.
        size = 2 * (decoding + prefill) * model.hidden * ACTIVATION_BYTES
        hops = (self.stages - 1) * HOP_TIME + (self.nodes - 1) * (self.round_trip / 2 + size / self.rate)
        total = work + waiting + model.layers * LAYER_TIME + hops
        return Step(total, min(1.0, memory / total), min(1.0, compute / total), waiting / total)

    def _all_reduce(self, tokens: int) -> float:
        ranks = self.tensor_parallel
        if ranks == 1:
            return 0.0
        size = tokens * self.model.hidden * ACTIVATION_BYTES
        path = self.custom if self.custom and size <= CUSTOM_LIMIT else self.interconnect
        return path.latency_of(ranks) + size * 2 * (ranks - 1) / ranks / path.bandwidth
