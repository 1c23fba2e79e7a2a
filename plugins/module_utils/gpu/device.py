# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of one GPU's facts and of one sample, and the arithmetic on them that both backends share."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.datasheet import published_bandwidth

#: Bit of NVML's clocks event reasons -> name. Source: nvml.h, nvmlClocksEventReasons (formerly ThrottleReasons).
THROTTLE_BITS: t.Final[dict[int, str]] = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}

#: What ``gather_subset`` can name. Identity, memory, utilisation, power and clocks are always read.
SUBSETS: t.Final[tuple[str, ...]] = ("health", "pcie", "processes", "topology")

#: Utilisation in percent from which a GPU counts as loaded. Below it the driver may slow clocks and PCIe to save power.
LOADED: t.Final[int] = 10

ECC_COUNTERS: t.Final[tuple[str, ...]] = (
    "corrected_volatile",
    "uncorrected_volatile",
    "corrected_aggregate",
    "uncorrected_aggregate",
)

Device = dict[str, t.Any]


def empty_device(index: int) -> Device:
    """Facts of a GPU about which nothing is known: every key of a device, all null but ``index``."""
    return {
        "index": index,
        "uuid": None,
        "name": None,
        "pci_bus_id": None,
        "compute_capability": None,
        "memory_total": None,
        "memory_used": None,
        "memory_free": None,
        "memory_bandwidth": None,
        "memory_bandwidth_source": None,
        "utilization_gpu": None,
        "utilization_memory": None,
        "temperature": None,
        "temperature_limits": {"slowdown": None, "gpu_max": None, "margin": None, "margin_slowdown": None},
        "power_draw": None,
        "power_limit": None,
        "clocks": {"sm": None, "memory": None},
        "clocks_max": {"sm": None, "memory": None},
        "pcie": {
            "generation": None,
            "generation_max": None,
            "width": None,
            "width_max": None,
            "replay_counter": None,
        },
        "ecc": {"enabled": None, **dict.fromkeys(ECC_COUNTERS)},
        "remapped_rows": {"correctable": None, "uncorrectable": None, "pending": None, "failure": None},
        "retired_pages": {"correctable": None, "uncorrectable": None, "pending": None},
        "throttle_reasons": None,
        "processes": None,
        "mig_mode": None,
        "error": None,
    }


def sample_of(device: Device) -> dict[str, t.Any]:
    """The part of ``device`` that changes from moment to moment, as one GPU's entry of a sample."""
    keys = ("index", "utilization_gpu", "utilization_memory", "memory_used", "power_draw", "temperature")
    return {
        **{key: device[key] for key in keys},
        "clocks": dict(device["clocks"]),
        "pcie": {key: device["pcie"][key] for key in ("generation", "width")},
        "throttle_reasons": device["throttle_reasons"],
    }


def throttle_reasons(mask: int | None) -> list[str] | None:
    """Names of the bits set in ``mask``; bits that this collection does not know are given as ``unknown_0x…``."""
    if mask is None:
        return None
    known = [name for bit, name in THROTTLE_BITS.items() if mask & bit]
    rest = mask & ~sum(THROTTLE_BITS)
    return [*known, f"unknown_{rest:#x}"] if rest else known


def memory_bandwidth(memory_clock: int | None, bus_width: int | None) -> int | None:
    """Theoretical memory bandwidth in bytes per second, from the *maximum* memory clock in MHz and the width in bits.

    ``clock x 2 x width / 8``: the clock that NVML reports is half the data rate per pin for GDDR5, GDDR6, GDDR6X,
    GDDR7 and HBM alike, so the factor is 2 for all of them. Source: CUDA samples, deviceQuery, "Theoretical memory
    bandwidth"; it gives the makers' figures: Quadro RTX 6000 7001 MHz x 384 bit = 672 GB/s, RTX 4000 Ada 9001 x 160
    = 360, RTX 6000 Ada 10001 x 384 = 960, H100 SXM 2619 x 5120 = 3352 (a copy on such a card reached 90 % of it).
    An idle card lowers its memory clock, which is why the current clock must not be used.
    """
    if not memory_clock or not bus_width:
        return None
    return memory_clock * 1_000_000 * 2 * bus_width // 8


def with_bandwidth(device: Device) -> Device:
    """``device`` with ``memory_bandwidth_source``: ``clock`` where clock and bus width told the bandwidth, else
    ``datasheet`` where its name does, else null."""
    told = device["memory_bandwidth"]
    bandwidth = published_bandwidth(device["name"]) if told is None else told
    source = None if bandwidth is None else "datasheet" if told is None else "clock"
    return {**device, "memory_bandwidth": bandwidth, "memory_bandwidth_source": source}


def cuda_version(number: int | None) -> str | None:
    """``13000`` -> ``13.0``. Source: nvml.h, NVML_CUDA_DRIVER_VERSION_MAJOR and _MINOR."""
    return None if not number else f"{number // 1000}.{number % 1000 // 10}"
