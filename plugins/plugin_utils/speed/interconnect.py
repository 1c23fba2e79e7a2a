# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look up the latency and bandwidth of an all-reduce by GPU, number of GPUs and path in ``data/interconnect.yml``."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.datasheet import normalise
from ansible_collections.multigpu.vllm.plugins.module_utils.units import gb_per_second
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tables import load_table

_TABLE: t.Final = load_table("interconnect")


def all_reduce_latency(path: str, gpus: int) -> float:
    """Return the latency of a small all-reduce between ``gpus`` GPUs over ``path``, in seconds.

    :param path: ``nvlink``, ``pcie`` or ``shm``.
    """
    row = _row([row for row in _TABLE["all_reduce_latency"] if row["path"] == path], gpus)
    return float(row["microseconds"]) / 1e6


def bus_bandwidth(path: str, gpus: int, gpu_name: str | None, link_rate: float) -> tuple[float, str]:
    """Return the bus bandwidth of all-reduce that a healthy node reaches in bytes per second, and its source.

    :param path: ``nvlink``, ``pcie`` or ``shm``.
    :param link_rate: bytes per second of one GPU's links in one direction, from ``pcie_rate`` or ``nvlink_rate``.
    """
    rows = [row for row in _TABLE["bus_bandwidth"] if row["path"] == path]
    own = [row for row in rows if row.get("gpu") == normalise(gpu_name or "")]
    row = _row(own or [row for row in rows if "gpu" not in row], gpus)
    rate = f"{row['percent']:g} % of the {gb_per_second(link_rate)} of {_TABLE['links'][path]}"
    source = f"{rate}; {_TABLE['sources'][row['source']]}"
    return row["percent"] / 100 * link_rate, source


def pcie_rate(link: Mapping[str, t.Any]) -> float | None:
    """Return the bytes per second of a PCIe link in one direction at its maximum generation and width, or None.

    :param link: the ``pcie`` fact of a GPU.
    """
    lane, width = _TABLE["pcie_lane"].get(link.get("generation_max")), link.get("width_max")
    return lane * 1e9 * width if lane and width else None


def nvlink_rate(gpu_name: str | None, links: int) -> float:
    """Return the bytes per second of ``links`` NVLinks in one direction."""
    rates = _TABLE["nvlink"]
    return links * 1e9 * float(rates.get(normalise(gpu_name or ""), rates["default"]))


def _row(rows: Sequence[Mapping[str, t.Any]], gpus: int) -> Mapping[str, t.Any]:
    """Return the row for ``gpus`` GPUs, or else that of the next larger number, or else that of the largest number."""
    return next((row for row in rows if row["gpus"] >= gpus), rows[-1])
