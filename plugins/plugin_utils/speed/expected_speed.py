# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Determine the expected speed of one stream on the node's hardware, and the source of this value.

The first available source is used: a table row for this GPU and model (``reference_speeds``), the roofline of the
node's hardware (``roofline``), or earlier runs of this node.
"""

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.datasheet import published_bandwidth
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed import roofline
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.reference_speeds import reference_speed

#: Minimum number of earlier runs for an expected speed, because one or two runs could have been unusually slow.
MINIMUM_HISTORY: t.Final = 3


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Properties of the node and the model that determine the speed of one stream; ``None`` means unknown.

    ``weight_bytes``: weights read per token over all GPUs (for a mixture of experts: the active weights). ``mixture``:
    whether the model is a mixture of experts, whose size does not determine ``weight_bytes``. ``kv_bytes``: KV cache
    read per token on one GPU, at the given context length. ``bandwidth``: bytes/s of one GPU, from
    ``bandwidth_source``. ``all_reduce_latency``: seconds, by default that of ``all_reduce_path``. ``network_time``:
    seconds in which a token travels between nodes. ``history``: tokens/s of earlier runs of this node.
    """

    gpu_name: str | None = None
    tensor_parallel_size: int | None = None
    gpus: int | None = None
    model: str | None = None
    weight_bytes: float | None = None
    mixture: bool = False
    layers: int | None = None
    kv_heads: int | None = None
    kv_bytes: float = 0.0
    bandwidth: float | None = None
    bandwidth_source: str | None = None
    all_reduce_path: str = "pcie"
    all_reduce_latency: float | None = None
    stages: int = 1
    network_time: float = 0.0
    history: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The expected speed of one stream, in output tokens/s.

    ``kind`` is the kind of source from which the speed was taken: ``table``, ``roofline`` or ``history``.
    """

    speed: float
    kind: str
    source: str
    text: str
    terms: Mapping[str, t.Any] = field(default_factory=dict)


class Unknown(Exception):
    """The expected speed is unknown; the message names the missing value and the option that sets it."""


def expected_speed(setup: Setup) -> Expected:
    """Return the expected speed of one stream from the best available source.

    :raises Unknown: if there is no table row, a term of the roofline is missing, and there are too few earlier runs.
    """
    try:
        bound = from_roofline(setup)
    except Unknown:
        expectation = from_table(setup) or from_history(setup)
        if expectation is None:
            raise
        return expectation
    return from_table(setup, bound) or bound


def from_table(setup: Setup, bound: Expected | None = None) -> Expected | None:
    """Return the lowest published speed for the GPUs and model in ``setup``, or None if no speed is published.

    :param bound: the expected speed from the roofline, which is reported along with the table row.
    """
    if not (setup.gpu_name and setup.model and setup.gpus):
        return None
    row = reference_speed(setup.gpu_name, setup.gpus, setup.model)
    if row is None:
        return None
    return Expected(
        speed=row.low,
        kind="table",
        source=row.source,
        text=f"{row.low:g} to {row.high:g}",
        terms={"roofline": round(bound.speed, 1), **bound.terms} if bound else {},
    )


def from_roofline(setup: Setup) -> Expected:
    """Return the expected speed according to the roofline model.

    :raises Unknown: if a term is unknown.
    """
    bound = model_bound(setup)
    eta, eta_source = roofline.efficiency(setup.gpu_name or "")
    return Expected(
        speed=bound.tokens_per_second,
        kind="roofline",
        source=f"roofline {roofline.FORMULA}; eta: {eta_source}",
        text=f"{bound.tokens_per_second:.1f}",
        terms={
            "formula": roofline.FORMULA,
            "W": int(bound.weight_bytes),
            "KV": int(bound.kv_bytes),
            "TP": bound.tensor_parallel_size,
            "eta": eta,
            "BW": bound.bandwidth,
            "BW_source": setup.bandwidth_source if setup.bandwidth else "datasheet",
            "L": bound.layers,
            "t_layer": roofline.LAYER_TIME,
            "t_AR": bound.all_reduce_time,
            "PP": bound.stages,
            "t_net": bound.network_time,
            "uncertainty_percent": round(100 * roofline.uncertainty(setup.gpu_name)),
        },
    )


def model_bound(setup: Setup) -> roofline.Roofline:
    """Return the roofline for ``setup``. Its ``at`` method returns the roofline for another tensor-parallel size.

    :raises Unknown: if a term is unknown.
    """
    tensor = setup.tensor_parallel_size
    if not tensor:
        raise Unknown("the tensor-parallel size is unknown")
    if not setup.weight_bytes and setup.mixture:
        raise Unknown(
            "the size of the active experts is unknown; set validate_model_weight_bytes to the bytes of the shared"
            " and active weights"
        )
    if not setup.weight_bytes:
        raise Unknown("the model's size is unknown: no log line contains it; set validate_model_weight_bytes")
    bandwidth = setup.bandwidth or published_bandwidth(setup.gpu_name)
    if not bandwidth:
        raise Unknown("the memory bandwidth is unknown: the GPUs do not report it; set validate_memory_bandwidth")
    if tensor > 1 and not setup.layers:
        raise Unknown("the number of layers is unknown: no config.json contains it; set validate_model_layers")
    shared = min(tensor, setup.kv_heads) if setup.kv_heads else tensor
    return roofline.Roofline(
        weight_bytes=setup.weight_bytes,
        bandwidth=bandwidth,
        efficiency=roofline.efficiency(setup.gpu_name or "")[0],
        layers=setup.layers or roofline.TYPICAL_LAYERS,
        tensor_parallel_size=tensor,
        kv_bytes=setup.kv_bytes * shared,
        kv_heads=setup.kv_heads,
        all_reduce_path=setup.all_reduce_path,
        all_reduce_latency=setup.all_reduce_latency,
        stages=setup.stages,
        network_time=setup.network_time,
    )


def from_history(setup: Setup) -> Expected | None:
    """Return the median speed of this node's earlier runs, or ``None`` if there are too few runs."""
    if len(setup.history) < MINIMUM_HISTORY:
        return None
    median = statistics.median(setup.history)
    return Expected(
        speed=median,
        kind="history",
        source=f"median of {len(setup.history)} earlier runs of this node",
        text=f"{median:.1f}",
    )
