# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calculate how fast one stream of tokens can be if the GPUs must read all weights from memory for every token.

::

    t_token = (W / TP + KV / TP_kv) / (eta * BW)  +  2 * L * t_AR

- ``W``: bytes of weights read per token (for a mixture of experts: shared and active experts only)
- ``KV``: bytes of KV cache read per token (context length times bytes per token)
- ``TP_kv``: min(TP, KV heads), because KV heads are replicated if there are more GPUs than KV heads
- ``BW``: memory bandwidth of one GPU in bytes/s
- ``eta``: fraction of ``BW`` that single-stream decoding reaches
- ``L``: layers, with two all-reduces each
- ``t_AR``: latency of a small all-reduce in seconds (0 without tensor parallelism)

Sources: the memory-bound decode model is Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009, applied to
one-token batches as in Pope et al., "Efficiently Scaling Transformer Inference", MLSys 2023. Two all-reduces per layer:
Shoeybi et al., "Megatron-LM", 2019.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.datasheet import normalise
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.reference_speeds import DECODE_EFFICIENCY

#: Efficiency of GPUs without a table row: the typical value of workstation and inference cards, rounded down.
DEFAULT_EFFICIENCY: t.Final = 0.80
#: Efficiency of HBM accelerators without a table row: the mean of those in the table. One stream reads too little at a
#: time to use the full width of this memory: on an H200, a bfloat16 7B transformer in CUDA graphs reached 0.53.
HBM_EFFICIENCY: t.Final = 0.49
#: Pattern for the start of the normalised product names of accelerators with HBM.
_HBM: t.Final = re.compile(r"(?:tesla )?(?:v100|a30|a100|a800|h20|h100|h200|h800|gh200|g?b[123]00)\b")

#: Latency of a small all-reduce in seconds. PCIe: measured 20 to 25 us; NVLink: NCCL's LL protocol, about 10 us.
ALL_REDUCE_LATENCY: t.Final[dict[str, float]] = {"pcie": 22.5e-6, "nvlink": 10e-6}

FORMULA: t.Final = "1 / ((W/TP + KV/min(TP, KV heads)) / (eta * BW) + 2 * L * t_AR)"


def efficiency(gpu_name: str) -> tuple[float, str]:
    """Return ``eta``, the fraction of its memory bandwidth that a GPU reaches, and the source of this value."""
    name = normalise(gpu_name)
    if name in DECODE_EFFICIENCY:
        return DECODE_EFFICIENCY[name], f"llama.cpp tables, {gpu_name}"
    if _HBM.match(name):
        return HBM_EFFICIENCY, "no reference row for this GPU: a typical value of accelerators with HBM"
    return DEFAULT_EFFICIENCY, "no reference row for this GPU: a typical value"


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """A roofline model: it calculates the speed of one stream from properties of the LLM and the node.

    ``weight_bytes``: bytes of weights read per token over all GPUs; ``kv_bytes``: bytes of KV cache read per token at
    the given context length; ``bandwidth``: bytes/s of one GPU; ``all_reduce_latency``: seconds.

    :raises ValueError: if a value is out of range (not positive, negative, or an efficiency above 1).
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
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.efficiency > 1:
            raise ValueError(f"efficiency must be a fraction of the bandwidth, at most 1, got {self.efficiency}")
        for name in ("kv_bytes", "all_reduce_latency"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")

    @property
    def memory_time(self) -> float:
        """Seconds per token that the GPUs spend on reading weights and KV cache."""
        tp = self.tensor_parallel_size
        kv_split = min(tp, self.kv_heads) if self.kv_heads else tp
        return (self.weight_bytes / tp + self.kv_bytes / kv_split) / (self.efficiency * self.bandwidth)

    @property
    def ceiling(self) -> float:
        """Upper limit for the tokens/s of one stream: the speed if the GPUs read at full bandwidth and never wait.

        No server that reads all of these bytes for each token is faster.
        """
        return 1.0 / (self.memory_time * self.efficiency)

    @property
    def communication_time(self) -> float:
        """Seconds per token that the GPUs spend on all-reduces."""
        return 2 * self.layers * self.all_reduce_latency if self.tensor_parallel_size > 1 else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Expected speed of one stream in tokens/s."""
        return 1.0 / (self.memory_time + self.communication_time)

    def at(self, tensor_parallel_size: int) -> Roofline:
        """Return a copy of this roofline model with a different tensor-parallel size."""
        return replace(self, tensor_parallel_size=tensor_parallel_size)

    @property
    def scaling(self) -> float:
        """Expected speed-up of one stream, compared with a single GPU."""
        return self.tokens_per_second / self.at(1).tokens_per_second
