# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast one stream can be at best: decoding reads all weights for every token, so memory bandwidth sets the pace.

::

    t_token = (W / TP + KV / TP_kv) / (eta * BW)  +  2 * L * t_AR

with ``W`` bytes of weights read per token (for a mixture of experts: shared and active experts only), ``KV`` bytes of
KV cache read per token (context length times bytes per token), ``TP_kv`` = min(TP, KV heads), because KV heads are
replicated and not divided beyond their number, ``BW`` memory bandwidth of one GPU in bytes/s, ``eta`` the part of it
that single-stream decoding reaches, ``L`` layers with two all-reduces each, and ``t_AR`` the latency of a small
all-reduce in seconds (0 without tensor parallelism).

Sources: the memory-bound decode model is Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009, applied to
one-token batches as in Pope et al., "Efficiently Scaling Transformer Inference", MLSys 2023; two all-reduces per layer:
Shoeybi et al., "Megatron-LM", 2019.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.reference_speeds import normalise

#: Part of the memory bandwidth that single-stream decoding of an 8B F16 model reaches, by normalised product name.
#: Source: llama.cpp benchmark tables (see docs/checks.md).
DECODE_EFFICIENCY: t.Final[dict[str, float]] = {
    "rtx 4000 ada": 0.93,
    "rtx 6000 ada": 0.87,
    "l40s": 0.81,
    "a100 80gb pcie": 0.45,
    "h100 pcie": 0.53,
}

#: For GPUs without a row: the middle of the rows of workstation and inference cards, rounded down.
DEFAULT_EFFICIENCY: t.Final = 0.80
#: For accelerators with HBM without a row: the middle of those that have one. One stream has too little to read at a
#: time to keep so wide a memory busy: on an H200 a bfloat16 transformer of 7B in CUDA graphs reached 0.53.
HBM_EFFICIENCY: t.Final = 0.49
#: How their normalised product names begin.
_HBM: t.Final = re.compile(r"(?:tesla )?(?:v100|a30|a100|a800|h20|h100|h200|h800|gh200|g?b[123]00)\b")

#: Small-message all-reduce latency in seconds. PCIe: measured 20 to 25 us; NVLink: NCCL's LL protocol, about 10 us.
ALL_REDUCE_LATENCY: t.Final[dict[str, float]] = {"pcie": 22.5e-6, "nvlink": 10e-6}

FORMULA: t.Final = "1 / ((W/TP + KV/min(TP, KV heads)) / (eta * BW) + 2 * L * t_AR)"


def efficiency(gpu_name: str) -> tuple[float, str]:
    """The ``eta`` for an NVML product name and where it comes from."""
    wanted = normalise(gpu_name)
    for name, eta in DECODE_EFFICIENCY.items():
        if wanted == name:
            return eta, f"llama.cpp tables, {gpu_name}"
    if _HBM.match(wanted):
        return HBM_EFFICIENCY, "no reference row for this GPU: a typical value of accelerators with HBM"
    return DEFAULT_EFFICIENCY, "no reference row for this GPU: a typical value"


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """The terms of the bound for one model on one node.

    ``weight_bytes``: bytes of weights read per token over all GPUs; ``kv_bytes``: bytes of KV cache read per token at
    the context length in question; ``bandwidth``: bytes/s of one GPU; ``all_reduce_latency``: seconds.

    :raises ValueError: for a term that cannot be (zero or negative weights, bandwidth, layers, efficiency over 1).
    """

    weight_bytes: float
    bandwidth: float
    efficiency: float
    layers: int
    tensor_parallel_size: int = 1
    kv_bytes: float = 0.0
    kv_heads: int | None = None
    all_reduce_latency: float = ALL_REDUCE_LATENCY["pcie"]

    def __post_init__(self) -> None:
        for name in ("weight_bytes", "bandwidth", "efficiency", "layers", "tensor_parallel_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        if self.efficiency > 1:
            raise ValueError(f"efficiency is a fraction of the bandwidth, at most 1, not {self.efficiency}")
        if self.kv_bytes < 0 or self.all_reduce_latency < 0:
            raise ValueError("kv_bytes and all_reduce_latency must not be negative")

    @property
    def memory_time(self) -> float:
        """Seconds per token spent on reading weights and KV cache."""
        tp = self.tensor_parallel_size
        kv_split = min(tp, self.kv_heads) if self.kv_heads else tp
        return (self.weight_bytes / tp + self.kv_bytes / kv_split) / (self.efficiency * self.bandwidth)

    @property
    def ceiling(self) -> float:
        """Tokens/s of one stream where the GPUs read at their full bandwidth and wait for nothing: no server is faster
        that reads all of this for every single token."""
        return 1.0 / (self.memory_time * self.efficiency)

    @property
    def communication_time(self) -> float:
        """Seconds per token spent on all-reduces."""
        return 2 * self.layers * self.all_reduce_latency if self.tensor_parallel_size > 1 else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Upper bound for one stream."""
        return 1.0 / (self.memory_time + self.communication_time)

    def at(self, tensor_parallel_size: int) -> Roofline:
        """The same model and GPUs at another tensor-parallel size."""
        return Roofline(**{**self.__dict__, "tensor_parallel_size": tensor_parallel_size})

    @property
    def scaling(self) -> float:
        """Expected speed-up over one GPU."""
        return self.tokens_per_second / self.at(1).tokens_per_second


def kv_bytes_per_token(layers: int, kv_heads: int, head_dim: int, element_size: float) -> float:
    """Bytes of KV cache that one token of context adds: keys and values, per layer and KV head."""
    return 2.0 * layers * kv_heads * head_dim * element_size
