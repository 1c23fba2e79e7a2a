# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Model the speed of a server by a formula, so that tests know its best settings.

The formula includes what makes tuning hard on real nodes:

- With too large a memory share, the server runs out of memory at its start.
- With a context that does not fit into the KV cache, it does not start.
- With more sequences than the cache holds, it preempts requests.
- With small chunks, it reads the weights for few tokens.
- With large chunks, activations take memory from the cache and every running stream waits.

The model is shaped like a roofline; it is not a measurement. It uses only the standard library, because a
container image also runs it.
"""

from __future__ import annotations

import itertools
import math
import random
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

Settings = dict[str, t.Any]
GIB: t.Final = 2**30

SPACE: t.Final[dict[str, list[t.Any]]] = {
    "max_num_seqs": [8, 16, 32, 64, 128, 256],
    "max_num_batched_tokens": [1024, 2048, 4096, 8192, 16384],
    "gpu_memory_utilization": [0.85, 0.9, 0.95],
    "NCCL_P2P_LEVEL": [None, "SYS"],
}
CONTEXT_SPACE: t.Final[dict[str, list[t.Any]]] = {
    "max_model_len": [4096, 8192, 16384, 24576, 32768, 49152, 65536, 98304, 131072],
    "gpu_memory_utilization": [0.85, 0.9, 0.95],
    "kv_cache_dtype": ["auto", "fp8_e4m3"],
    "max_num_seqs": [8, 32, 128],
}
#: Settings of a server without arguments.
DEFAULTS: t.Final[Settings] = {
    "max_num_seqs": 256,
    "max_num_batched_tokens": 2048,
    "gpu_memory_utilization": 0.9,
    "max_model_len": 4096,
    "kv_cache_dtype": "auto",
    "NCCL_P2P_LEVEL": None,
}


class StartFails(RuntimeError):
    """The server does not start with these settings; the message is the log's last line."""


@dataclass(frozen=True)
class Truth:
    """True figures of a server: tokens/s, seconds, seconds, tokens."""

    output_throughput: float
    ttft: float
    itl: float
    max_model_len: int


@dataclass(frozen=True)
class Surface:
    """One node under one load; bytes, B/s and FLOP/s are totals of all GPUs."""

    memory: float = 20 * GIB
    outside: float = 0.9 * GIB
    weights: float = 9 * GIB
    parameters: float = 14e9
    kv_bytes: float = 96 * 1024
    bandwidth: float = 300e9
    flops: float = 120e12
    reduce_latency: float = 0.004
    #: Factor on the all-reduce for each choice of ``NCCL_P2P_LEVEL``.
    p2p: Mapping[str | None, float] = field(default_factory=lambda: {None: 1.6, "SYS": 1.0})
    prompt: int = 512
    output: int = 128
    concurrency: int = 96

    def truth(self, settings: Mapping[str, t.Any]) -> Truth:
        """Return the true figures with ``settings``.

        :raises StartFails: if the server does not start with them.
        """
        chosen = {**DEFAULTS, **settings}
        streams, chunk = chosen["max_num_seqs"], chosen["max_num_batched_tokens"]
        kv_tokens = self._kv_tokens(chosen)
        active = min(streams, self.concurrency)
        held = min(active, kv_tokens / (self.prompt + self.output))
        decode = self.weights / self.bandwidth + held * (self.prompt + self.output / 2) * self.kv_bytes / self.bandwidth
        decode += self.reduce_latency * self.p2p[chosen["NCCL_P2P_LEVEL"]] + 2e-5 * streams
        # Each generated token comes with its share of a prompt, limited by the part of a chunk that decoding leaves.
        share = held * self.prompt / self.output
        read = max(1.0, chunk - held)
        compute = 2 * self.parameters / self.flops
        prefill = share * compute * (1 + 700 / chunk + chunk / 40000)
        step = max(decode, 0.25 * decode + prefill) + 0.35 * min(decode, prefill)
        step *= max(1.0, share / read)
        again = 1 - 0.5 * (1 - held / active)
        throughput = held / step * again
        rate = throughput / self.output
        queue = max(0.0, self.concurrency - held) / rate
        first = math.ceil(self.prompt / read) * (decode + min(chunk, 2.5 * self.prompt) * compute * (1 + 700 / chunk))
        return Truth(throughput, queue + 1.5 * first, step / again, chosen["max_model_len"])

    def _kv_tokens(self, chosen: Settings) -> float:
        budget = chosen["gpu_memory_utilization"] * self.memory
        graphs = self.outside + 2**20 * chosen["max_num_seqs"] * 1.5
        if budget + graphs > self.memory:
            raise StartFails(
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate "
                f"{(budget + graphs - self.memory) / 2**20:.0f}.00 MiB."
            )
        per_token = self.kv_bytes / (2 if chosen["kv_cache_dtype"].startswith("fp8") else 1)
        kv_tokens = (budget - self.weights - 0.3 * GIB - chosen["max_num_batched_tokens"] * 150e3) / per_token
        if kv_tokens < chosen["max_model_len"]:
            raise StartFails(
                f"ValueError: To serve at least one request with the model's max seq len ({chosen['max_model_len']}), "
                f"more KV cache memory is needed than there is ({max(0.0, kv_tokens):.0f} tokens)."
            )
        return kv_tokens


#: Nodes with their best settings in different places.
NODES: t.Final[dict[str, Surface]] = {
    "roomy": Surface(),
    "tight": Surface(weights=13.5 * GIB, kv_bytes=160 * 1024, outside=1.3 * GIB),
    "short": Surface(prompt=128, output=256, concurrency=256, kv_bytes=48 * 1024),
    "long": Surface(prompt=4096, output=128, concurrency=24, memory=44 * GIB, flops=200e12),
    "linked": Surface(memory=80 * GIB, weights=30 * GIB, bandwidth=2e12, flops=600e12, p2p={None: 1.0, "SYS": 1.5}),
}


def everything(space: Mapping[str, Sequence[t.Any]]) -> Iterator[Settings]:
    """Yield every combination of settings in a space."""
    for values in itertools.product(*space.values()):
        yield dict(zip(space, values, strict=True))


def known(surface: Surface, space: Mapping[str, Sequence[t.Any]]) -> list[tuple[Settings, Truth]]:
    """Return all settings with which the server starts, with their true figures."""
    results = []
    for settings in everything(space):
        try:
            results.append((settings, surface.truth(settings)))
        except StartFails:
            pass
    return results


class Node:
    """A node whose measurements have noise: ``noise`` is the relative standard deviation of each figure."""

    def __init__(self, surface: Surface, seed: int, noise: float = 0.03) -> None:
        self.surface, self.noise = surface, noise
        self._random = random.Random(seed)
        self.measured: list[Settings] = []

    def probe(self, settings: Settings, steps: int = 1) -> dict[str, t.Any]:
        """Return a result of ``throughput_probe``.

        :raises StartFails: if the server does not start with ``settings``.
        """
        self.measured.append(settings)
        truth = self.surface.truth(settings)
        results = [
            {
                "output_throughput": truth.output_throughput * self._noisy(),
                "ttft": {"p95": truth.ttft * self._noisy()},
                "itl": {"p95": truth.itl * self._noisy()},
                "requests": {"completed": 50, "failed": 0, "cancelled": 0},
                "void": False,
                "skipped": None,
            }
            for _step in range(steps)
        ]
        return {"results": results, "server": {"max_model_len": truth.max_model_len}}

    def _noisy(self) -> float:
        return max(0.5, self._random.gauss(1.0, self.noise))
