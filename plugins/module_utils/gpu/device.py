# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the facts about a GPU and the values in a GPU sample. Convert values from NVML and nvidia-smi to facts."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.datasheet import VARIANT, published_bandwidth

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

#: Groups of facts to select with ``gather_subset``. Identity, memory, utilisation, power and clocks are always read.
SUBSETS: t.Final[tuple[str, ...]] = ("health", "pcie", "processes", "topology")

#: Minimum utilisation in percent of a GPU under load. Below it, the driver may lower the clocks and the PCIe speed.
LOADED: t.Final[int] = 10

ECC_COUNTERS: t.Final = ("corrected_volatile", "uncorrected_volatile", "corrected_aggregate", "uncorrected_aggregate")

#: Facts about a GPU that are single values, in addition to ``index``.
_VALUES: t.Final = """
    uuid name pci_bus_id compute_capability memory_total memory_used memory_free memory_bandwidth
    memory_bandwidth_source utilization_gpu utilization_memory temperature power_draw power_limit throttle_reasons
    processes mig_mode error
    """.split()

#: Facts about a GPU that are groups of values -> names of the values.
_GROUPS: t.Final[dict[str, tuple[str, ...]]] = {
    "temperature_limits": ("slowdown", "gpu_max", "margin", "margin_slowdown"),
    "clocks": ("sm", "memory"),
    "clocks_max": ("sm", "memory"),
    "pcie": ("generation", "generation_max", "width", "width_max", "replay_counter"),
    "ecc": ("enabled", *ECC_COUNTERS),
    "remapped_rows": ("correctable", "uncorrectable", "pending", "failure"),
    "retired_pages": ("correctable", "uncorrectable", "pending"),
}

Device = dict[str, t.Any]


def empty_device(index: int) -> Device:
    """Return a dictionary for the facts about a GPU, in which all values except ``index`` are None."""
    groups = {name: dict.fromkeys(values) for name, values in _GROUPS.items()}
    return {"index": index, **dict.fromkeys(_VALUES), **groups}


#: Values of a device that a sample contains under the same name.
SAMPLED: t.Final = ("utilization_gpu", "utilization_memory", "memory_used", "power_draw", "temperature")


def sample_of(device: Device) -> dict[str, t.Any]:
    """Return the values of ``device`` that change over time. A sample contains one such dictionary per GPU."""
    return {
        **{key: device[key] for key in ("index", *SAMPLED)},
        "clocks": dict(device["clocks"]),
        "pcie": {key: device["pcie"][key] for key in ("generation", "width")},
        "throttle_reasons": device["throttle_reasons"],
    }


def throttle_reasons(mask: int | None) -> list[str] | None:
    """Return the names of the throttle reasons whose bits are set in ``mask``.

    Unknown bits are named ``unknown_0x...``.
    """
    if mask is None:
        return None
    names = [name for bit, name in THROTTLE_BITS.items() if mask & bit]
    unknown = mask & ~sum(THROTTLE_BITS)
    return [*names, f"unknown_{unknown:#x}"] if unknown else names


def memory_bandwidth(memory_clock: int | None, bus_width: int | None) -> int | None:
    """Return the theoretical memory bandwidth of a GPU in bytes per second.

    ``clock x 2 x width / 8``: the clock that NVML reports is half the data rate per pin for GDDR5, GDDR6, GDDR6X, GDDR7
    and HBM, so the factor is always 2. Source: CUDA samples, deviceQuery, "Theoretical memory bandwidth". The result
    equals the published values: Quadro RTX 6000 7001 MHz x 384 bit = 672 GB/s, RTX 4000 Ada 9001 x 160 = 360, RTX 6000
    Ada 10001 x 384 = 960, H100 SXM 2619 x 5120 = 3352 (a copy on such a card reached 90 % of it).

    :param memory_clock: *maximum* memory clock in MHz; an idle card lowers its current clock.
    :param bus_width: width of the memory bus in bits.
    """
    if not memory_clock or not bus_width:
        return None
    return memory_clock * 1_000_000 * 2 * bus_width // 8


def with_bandwidth(device: Device) -> Device:
    """Return a copy of ``device`` in which ``memory_bandwidth`` and ``memory_bandwidth_source`` are filled in.

    The source is ``clock`` (memory clock x bus width), or ``datasheet`` if one of both is unknown or if the product
    differs from the published value by more than ``VARIANT``, because NVML then reports a wrong clock. Both are None if
    the bandwidth is unknown.
    """
    computed, published = device["memory_bandwidth"], published_bandwidth(device["name"])
    if published is not None and (computed is None or abs(computed / published - 1) > VARIANT):
        return {**device, "memory_bandwidth": published, "memory_bandwidth_source": "datasheet"}
    return {**device, "memory_bandwidth_source": None if computed is None else "clock"}


def cuda_version(number: int | None) -> str | None:
    """Convert a CUDA version from the number that NVML reports to text, for example from 13000 to ``13.0``.

    Source: nvml.h, NVML_CUDA_DRIVER_VERSION_MAJOR and _MINOR.
    """
    return None if not number else f"{number // 1000}.{number % 1000 // 10}"
