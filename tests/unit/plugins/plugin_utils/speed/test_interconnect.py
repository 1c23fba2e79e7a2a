# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.datasheet import normalise
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.interconnect import (
    all_reduce_latency,
    bus_bandwidth,
    nvlink_rate,
    pcie_rate,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tables import load_table

TABLE = load_table("interconnect")


@pytest.mark.parametrize(
    ("path", "gpus", "latency"),
    [("nvlink", 2, 6.4e-6), ("pcie", 3, 14e-6), ("pcie", 16, 28e-6), ("shm", 4, 22.5e-6), ("shm", 8, 42e-6)],
)
def test_all_reduce_latency_by_path_and_group(path: str, gpus: int, latency: float) -> None:
    assert all_reduce_latency(path, gpus) == pytest.approx(latency)


@pytest.mark.parametrize(
    ("path", "gpus", "gpu", "percent"),
    [
        ("pcie", 4, "NVIDIA RTX PRO 6000 Blackwell Server Edition", 41),
        ("pcie", 4, "NVIDIA L40S", 18.5),
        ("pcie", 3, None, 41),
        ("shm", 16, None, 6.5),
        ("nvlink", 8, None, 59),
    ],
)
def test_bus_bandwidth_prefers_the_row_of_the_gpu(path: str, gpus: int, gpu: str | None, percent: float) -> None:
    limit, source = bus_bandwidth(path, gpus, gpu, 100e9)
    assert limit == pytest.approx(percent * 1e9)
    assert source.startswith(f"{percent:g} % of the 100.0 GB/s of {TABLE['links'][path]}; ")


@pytest.mark.parametrize(
    ("gpu", "link", "gpus", "measured"),
    [
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", (5, 16), (2, 4, 8), (38.6, 26.4, 24.7)),
        ("NVIDIA L40S", (4, 16), (2, 4, 8), (20.1, 5.9, 2.1)),
    ],
)
def test_bus_bandwidth_is_just_below_nvidias_tables(
    gpu: str, link: tuple[int, int], gpus: tuple[int, ...], measured: tuple[float, ...]
) -> None:
    rate = pcie_rate({"generation_max": link[0], "width_max": link[1]})
    assert rate is not None
    limits = [bus_bandwidth("pcie", count, gpu, rate)[0] / 1e9 for count in gpus]
    assert all(0.95 * speed < limit <= speed for limit, speed in zip(limits, measured, strict=True))


@pytest.mark.parametrize("link", [{}, {"generation_max": 4, "width_max": None}, {"generation_max": 9, "width_max": 16}])
def test_pcie_rate_of_an_unknown_link_is_none(link: dict) -> None:
    assert pcie_rate(link) is None


def test_nvlink_rate_by_gpu() -> None:
    assert nvlink_rate("NVIDIA H100 80GB HBM3", 18) == 450e9
    assert nvlink_rate("NVIDIA RTX A6000", 4) == 56e9


def test_rows_have_sources_and_ascending_numbers_of_gpus() -> None:
    for section in ("all_reduce_latency", "bus_bandwidth"):
        groups: dict[tuple, list[int]] = {}
        for row in TABLE[section]:
            assert row["source"] in TABLE["sources"]
            assert row.get("gpu") in (None, normalise(row.get("gpu") or ""))
            groups.setdefault((row["path"], row.get("gpu")), []).append(row["gpus"])
        assert all(numbers == sorted(numbers) for numbers in groups.values())
