# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast one stream should be on this hardware, and who says so.

The first of these that can be had decides: a measured row for this GPU and model (``reference_speeds``), the roofline
from the node's own figures (``roofline``), the node's own past.
"""

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.datasheet import published_bandwidth
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed import roofline
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.reference_speeds import reference_speed

#: Runs below which a node's past says nothing: one or two could have been bad ones.
MINIMUM_HISTORY: t.Final = 3


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What decides the speed of one stream; ``None`` is unknown.

    ``weight_bytes``: weights read per token over all GPUs (of a mixture of experts: the active part), ``mixture``: that
    it is one, whose size tells nothing about them. ``kv_bytes``: KV
    cache read per token on one GPU, at the context length in question. ``bandwidth``: bytes/s of one GPU,
    ``bandwidth_source``: who says so. ``all_reduce_latency``: seconds.
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
    all_reduce_latency: float = roofline.ALL_REDUCE_LATENCY["pcie"]
    history: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Expected:
    """``speed`` in output tokens/s of one stream; ``kind`` is ``table``, ``roofline`` or ``history``."""

    speed: float
    kind: str
    source: str
    text: str
    terms: Mapping[str, t.Any] = field(default_factory=dict)


class Unknown(Exception):
    """No expectation can be had; the message says what is missing and how to give it."""


def expected_speed(setup: Setup) -> Expected:
    """The expectation with the best provenance.

    :raises Unknown: where neither a table row, the roofline, nor the past gives one.
    """
    bound: Expected | None = None
    missing = ""
    try:
        bound = from_roofline(setup)
    except Unknown as problem:
        missing = str(problem)
    return from_table(setup, bound) or bound or from_history(setup) or _give_up(missing)


def _give_up(missing: str) -> t.NoReturn:
    raise Unknown(missing)


def from_table(setup: Setup, bound: Expected | None = None) -> Expected | None:
    """The row of the reference table; its lower end is what a healthy node reaches. ``bound`` is told beside it."""
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
    """The bound that memory bandwidth sets.

    :raises Unknown: for a term that nobody knows.
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
            "L": bound.layers if bound.tensor_parallel_size > 1 else None,
            "t_AR": bound.all_reduce_latency if bound.tensor_parallel_size > 1 else None,
        },
    )


def model_bound(setup: Setup) -> roofline.Roofline:
    """The roofline of ``setup``, to ask it also about other numbers of GPUs.

    :raises Unknown: for a term that nobody knows.
    """
    tensor = setup.tensor_parallel_size
    if not tensor:
        raise Unknown("the tensor-parallel size is unknown")
    if not setup.weight_bytes and setup.mixture:
        raise Unknown(
            "a token reads only some experts of this model, and nothing tells how much that is; give the shared and"
            " active part as validate_model_weight_bytes"
        )
    if not setup.weight_bytes:
        raise Unknown("the model's size is unknown: no log line tells it; give validate_model_weight_bytes")
    bandwidth = setup.bandwidth or published_bandwidth(setup.gpu_name)
    if not bandwidth:
        raise Unknown("the GPUs do not report their memory bandwidth; give validate_memory_bandwidth")
    if tensor > 1 and not setup.layers:
        raise Unknown("the model's number of layers is unknown: no config.json tells it; give validate_model_layers")
    shared = min(tensor, setup.kv_heads) if setup.kv_heads else tensor
    return roofline.Roofline(
        weight_bytes=setup.weight_bytes,
        bandwidth=bandwidth,
        efficiency=roofline.efficiency(setup.gpu_name or "")[0],
        layers=setup.layers or 1,
        tensor_parallel_size=tensor,
        kv_bytes=setup.kv_bytes * shared,
        kv_heads=setup.kv_heads,
        all_reduce_latency=setup.all_reduce_latency,
    )


def from_history(setup: Setup) -> Expected | None:
    """The median of this node's earlier runs."""
    if len(setup.history) < MINIMUM_HISTORY:
        return None
    median = statistics.median(setup.history)
    return Expected(
        speed=median,
        kind="history",
        source=f"median of {len(setup.history)} earlier runs of this node",
        text=f"{median:.1f}",
    )
