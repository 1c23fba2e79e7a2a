# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calculate how long a server needs for one token of one stream, from the model and the hardware.

::

    t_token = (W / TP + KV / TP_kv) / (eta * BW)  +  L * t_layer  +  2 * L * t_AR  +  (PP - 1) * t_hop  +  t_net

- ``W``: bytes of weights read per token: without the input embedding, and for a mixture of experts only the shared and
  active experts
- ``KV``: bytes of KV cache read per token (context length times bytes per token)
- ``TP_kv``: min(TP, KV heads), because KV heads are replicated if there are more GPUs than KV heads
- ``BW``: memory bandwidth of one GPU in bytes/s
- ``eta``: fraction of ``BW`` that the matrix products of one stream reach
- ``L``: layers
- ``t_layer``: time per layer in which the GPUs do not read weights: gaps between kernels, norms, attention
- ``t_AR``: latency of a small all-reduce, two per layer (0 without tensor parallelism)
- ``t_hop``: time to pass the activations on to the next pipeline stage. All stages work in turns on a token, so PP does
  not divide the other terms.
- ``t_net``: time on the network between nodes: ``(nodes - 1) * (RTT / 2 + 4 * hidden size / rate)``. A stage passes on
  the hidden states and the residual of a token, of 2 bytes each (0 on a single node)

Sources: the memory-bound decode model is Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009, applied to
one-token batches as in Pope et al., "Efficiently Scaling Transformer Inference", MLSys 2023. Two all-reduces per layer:
Shoeybi et al., "Megatron-LM", 2019. The constants were fitted to vLLM 0.26 on two H200 (tests/fixtures/speeds): every
server whose step takes more than 3 ms is within 6 % of the prediction.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.datasheet import normalise
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.interconnect import all_reduce_latency
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.reference_speeds import DECODE_EFFICIENCY

#: Efficiency of GPUs without a table row: a typical value of those in the table.
DEFAULT_EFFICIENCY: t.Final = 0.85
#: Seconds per layer besides reading weights. Source: fit, see above.
LAYER_TIME: t.Final = 36e-6
#: Number of layers to assume if it is unknown: that of models with 7 to 9 billion parameters.
TYPICAL_LAYERS: t.Final = 32
#: Seconds to pass activations between pipeline stages. Source: two H200, 0.12 ms with 28 layers and 0.44 ms with 48.
HOP_TIME: t.Final = 0.3e-3

#: Seconds of a round trip and bytes/s between nodes to assume if they were not measured: the limit of a healthy private
#: network, and 10 Gbit/s.
ROUND_TRIP: t.Final = 0.5e-3
NETWORK_RATE: t.Final = 1.25e9

#: Relative error of a predicted speed or gain if ``efficiency`` finds a table row for the GPU.
UNCERTAINTY: t.Final = 0.10
#: The same if the efficiency is a typical value.
UNCERTAINTY_WITHOUT_ROW: t.Final = 0.20

FORMULA: t.Final = (
    "1 / ((W/TP + KV/min(TP, KV heads)) / (eta * BW) + L * t_layer + 2 * L * t_AR + (PP - 1) * t_hop + t_net)"
)


def efficiency(gpu_name: str) -> tuple[float, str]:
    """Return ``eta``, the fraction of its memory bandwidth that a GPU reaches, and the source of this value."""
    row = DECODE_EFFICIENCY.get(normalise(gpu_name))
    return row or (DEFAULT_EFFICIENCY, "no reference row for this GPU: a typical value")


def network_time(nodes: int, hidden_size: int | None, links: Sequence[Mapping[str, t.Any]] = ()) -> float:
    """Return the seconds that the network adds to each token if the pipeline stages of a server are on several nodes.

    :param hidden_size: values that describe a token between two layers; None if it is unknown.
    :param links: measured links with ``round_trip`` (``p50`` in seconds) and ``goodput`` in bytes/s.
    """
    trips = [link["round_trip"]["p50"] for link in links if link.get("round_trip")]
    rates = [link["goodput"] for link in links if link.get("goodput")]
    size = 4 * (hidden_size or 0)
    return (nodes - 1) * (max(trips, default=ROUND_TRIP) / 2 + size / min(rates, default=NETWORK_RATE))


def uncertainty(gpu_name: str | None) -> float:
    """Return the relative error to expect of a prediction for this GPU."""
    return UNCERTAINTY if normalise(gpu_name or "") in DECODE_EFFICIENCY else UNCERTAINTY_WITHOUT_ROW


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """A roofline model: it calculates the speed of one stream from properties of the LLM and the node.

    ``weight_bytes``: bytes of weights read per token over all GPUs; ``kv_bytes``: bytes of KV cache read per token at
    the given context length; ``bandwidth``: bytes/s of one GPU. ``all_reduce_path`` is
    ``nvlink``, ``pcie`` or ``shm``; ``all_reduce_latency``, in seconds, takes precedence. ``network_time``: seconds in
    which a token travels between nodes.

    :raises ValueError: if a value is out of range (not positive, negative, or an efficiency above 1).
    """

    weight_bytes: float
    bandwidth: float
    efficiency: float
    layers: int
    tensor_parallel_size: int = 1
    kv_bytes: float = 0.0
    kv_heads: int | None = None
    all_reduce_path: str = "pcie"
    all_reduce_latency: float | None = None
    stages: int = 1
    network_time: float = 0.0

    def __post_init__(self) -> None:
        for name in ("weight_bytes", "bandwidth", "efficiency", "layers", "tensor_parallel_size", "stages"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.efficiency > 1:
            raise ValueError(f"efficiency must be a fraction of the bandwidth, at most 1, got {self.efficiency}")
        for name in ("kv_bytes", "all_reduce_latency", "network_time"):
            if (getattr(self, name) or 0) < 0:
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
    def all_reduce_time(self) -> float | None:
        """Seconds of one all-reduce, or None without tensor parallelism."""
        if self.tensor_parallel_size == 1:
            return None
        if self.all_reduce_latency is not None:
            return self.all_reduce_latency
        return all_reduce_latency(self.all_reduce_path, self.tensor_parallel_size)

    @property
    def token_time(self) -> float:
        """Expected seconds per token of one stream."""
        layer = LAYER_TIME + 2 * (self.all_reduce_time or 0.0)
        return self.memory_time + self.layers * layer + (self.stages - 1) * HOP_TIME + self.network_time

    @property
    def tokens_per_second(self) -> float:
        """Expected speed of one stream in tokens/s."""
        return 1.0 / self.token_time

    def at(self, tensor_parallel_size: int) -> Roofline:
        """Return a copy of this roofline model with a different tensor-parallel size, and without pipeline stages."""
        return replace(self, tensor_parallel_size=tensor_parallel_size, stages=1, network_time=0.0)

    @property
    def scaling(self) -> float:
        """Expected speed-up of one stream, compared with a single GPU; never more than the tensor-parallel size."""
        return self.tokens_per_second / self.at(1).tokens_per_second
