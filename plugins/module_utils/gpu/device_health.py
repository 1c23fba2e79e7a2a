# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the health of each GPU, based on its facts. This module does no I/O. Comments cite the source of each limit."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.faults import NEW_HOST
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status, passed, worst
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import LOADED, Device

#: PCIe replays above which a link is suspicious. Source: DCGM diagnostics, pcie.max_pcie_replays, default 80.
PCIE_REPLAYS: t.Final[int] = 80

#: Uncorrectable row remaps above which a GPU is worn out. Source: NVIDIA row-remapping guide, RMA criteria (512 rows).
ROW_REMAPS: t.Final[int] = 512

#: Number of pages that a GPU older than Ampere can retire. Source: NVIDIA dynamic page retirement guide (at most 64);
#: the same as DCGM's DCGM_LIMIT_MAX_RETIRED_PAGES.
RETIRED_PAGES: t.Final[int] = 64

#: Throttle reasons that are harmless. Source: nvml.h. sw_power_cap means that a GPU is at its power limit, which is
#: normal under full load.
HARMLESS_REASONS: t.Final[frozenset[str]] = frozenset({"gpu_idle", "sw_power_cap"})

#: Throttle reasons that halve the clock or lower it further. Source: nvml.h, HwSlowdown and its two parts.
HARDWARE_REASONS: t.Final[frozenset[str]] = frozenset({"hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"})

#: Part of a throttle reason's name -> cause and remedy; the first match applies.
_THROTTLE_ADVICE: t.Final[dict[str, tuple[str, str]]] = {
    "thermal": (
        "The GPU is too hot, so its clocks are lowered.",
        f"{NEW_HOST} On your own hardware, check the cooling.",
    ),
    "power_brake": (
        "The power supply signals the GPU to draw less power.",
        f"{NEW_HOST} On your own hardware, check the power supply.",
    ),
    "hw_slowdown": (
        "The hardware lowers the clocks by half or more because of heat or power supply.",
        f"{NEW_HOST} On your own hardware, check temperature and power supply.",
    ),
    "clock": (
        "The clocks were limited to less than their maximum.",
        "Reset them: nvidia-smi -rgc, nvidia-smi -rmc and nvidia-smi -rac.",
    ),
    "sync_boost": (
        "The GPU is in a sync boost group and waits for a slower member.",
        "Remove the group if this is not intended.",
    ),
    "unknown": (
        "The driver reports a reason that is newer than this collection.",
        "Look it up with nvidia-smi -q -d PERFORMANCE.",
    ),
}


@dataclass(frozen=True)
class DeviceVerdict:
    """The result of a check for one GPU. Summaries show ``note`` after the GPU's number, as in "GPU 3: note"."""

    status: Status
    note: str
    cause: str | None = None
    remedy: str | None = None


def pcie_link(devices: Sequence[Device]) -> Finding:
    """Compare the generation and width of each GPU's PCIe link with the maximum. Idle GPUs may slow down the link."""

    def judge(device: Device) -> DeviceVerdict:
        link = device["pcie"]
        if None in (link["generation"], link["generation_max"], link["width"], link["width_max"]):
            return DeviceVerdict(Status.NOT_TESTED, "does not report its PCIe link")
        now = f"gen {link['generation']} x{link['width']} of gen {link['generation_max']} x{link['width_max']}"
        loaded = (device["utilization_gpu"] or 0) >= LOADED
        narrow, slow = link["width"] < link["width_max"], link["generation"] < link["generation_max"]
        cause = "The PCIe link was trained below the maximum of card and slot."
        remedy = "Stop and start the node so that it moves to another host, or have the card reseated."
        if loaded and (narrow or slow):
            return DeviceVerdict(Status.FAIL, f"PCIe {now} under load", cause, remedy)
        if narrow:
            return DeviceVerdict(Status.WARN, f"PCIe {now}", cause, "Measure again under load. " + remedy)
        if (link["replay_counter"] or 0) > PCIE_REPLAYS:
            return DeviceVerdict(
                Status.WARN,
                f"{link['replay_counter']} PCIe replays",
                "The link repeats packets because of a bad contact, cable or riser.",
                "Check whether the counter grows under load; if it does, have the card reseated.",
            )
        if slow:
            return DeviceVerdict(
                Status.NOT_TESTED, f"PCIe {now}, but the GPU is idle, which lowers the speed of its link"
            )
        return DeviceVerdict(Status.PASS, now)

    reported = [d["pcie"] for d in devices if d["pcie"]["generation"] is not None and d["pcie"]["width"] is not None]
    links = {f"gen {link['generation']} x{link['width']}" for link in reported}
    best = {f"gen {link['generation_max']} x{link['width_max']}" for link in reported}
    return _combine(
        "hardware.pcie_link",
        judge,
        devices,
        f"PCIe {' and '.join(sorted(links))} on all GPUs",
        expected=", ".join(sorted(best)) or None,
        measured=", ".join(sorted(links)) or None,
        source="NVML, maximum link of card and slot; replays: DCGM default 80",
    )


def ecc(devices: Sequence[Device]) -> Finding:
    """Check each GPU for uncorrectable memory errors since its last reset, and for faulty or worn-out memory."""
    errors = [d["ecc"]["uncorrected_volatile"] for d in devices if d["ecc"]["uncorrected_volatile"] is not None]
    return _combine(
        "hardware.ecc",
        _memory_verdict,
        devices,
        "no uncorrectable memory error, no failed or pending row remap",
        expected=0,
        measured=sum(errors) if errors else None,
        unit="uncorrectable errors",
        evidence={
            str(d["index"]): {**d["ecc"], "remapped_rows": d["remapped_rows"], "retired_pages": d["retired_pages"]}
            for d in devices
        },
        source="NVIDIA row-remapping guide: pending or failed remap, more than 512 uncorrectable remaps; before Ampere "
        "NVIDIA page-retirement guide: pending retirement, 64 retired pages",
    )


def _memory_verdict(device: Device) -> DeviceVerdict:
    """Return the result of the ``hardware.ecc`` check for one GPU. If it has several faults, report only the first."""
    counters, rows, pages = device["ecc"], device["remapped_rows"], device["retired_pages"]
    retired = (pages["correctable"] or 0) + (pages["uncorrectable"] or 0)
    replace = "Move the workload, stop and start the node, and report the host: the GPU must be replaced."
    worn = "The GPU's memory is worn out."
    again = "Stop vLLM and reboot the node, then check whether errors return."
    faults = (
        (rows["failure"], "row remapping failed", "The GPU has no spare memory rows left.", replace),
        ((rows["uncorrectable"] or 0) > ROW_REMAPS, f"{rows['uncorrectable']} rows remapped", worn, replace),
        (retired >= RETIRED_PAGES, f"{retired} memory pages retired", worn, replace),
        (
            rows["pending"],
            "row remapping pending",
            "A memory row is faulty; it is replaced at the next GPU reset.",
            again,
        ),
        (
            pages["pending"],
            "page retirement pending",
            "A memory page is faulty; it is retired at the next reboot.",
            again,
        ),
        (
            counters["uncorrected_volatile"],
            f"{counters['uncorrected_volatile']} uncorrectable memory errors since the last reset",
            "Data in memory could not be corrected; results may be wrong, or a process was terminated.",
            "Stop vLLM and reboot the node; if errors return, report the host.",
        ),
    )
    for is_faulty, note, cause, remedy in faults:
        if is_faulty:
            return DeviceVerdict(Status.FAIL, note, cause, remedy)
    if counters["uncorrected_volatile"] is not None:
        return DeviceVerdict(Status.PASS, "no uncorrectable error")
    spares = {"row remapping": rows["failure"], "page retirement": pages["pending"]}
    clean = [name for name, state in spares.items() if state is not None]
    if not clean:
        return DeviceVerdict(Status.NOT_TESTED, "reports no ECC counters, no row remapping and no page retirement")
    return DeviceVerdict(Status.NOT_TESTED, f"ECC is off or not supported; {' and '.join(clean)} is clean")


def throttle(devices: Sequence[Device]) -> Finding:
    """Check whether the driver or the hardware is lowering the clock speeds of any GPU, and report the reasons."""

    def judge(device: Device) -> DeviceVerdict:
        reasons = device["throttle_reasons"]
        if reasons is None:
            return DeviceVerdict(Status.NOT_TESTED, "does not report throttle reasons")
        bad = [reason for reason in reasons if reason not in HARMLESS_REASONS]
        if not bad:
            return DeviceVerdict(Status.PASS, "not throttled")
        status = Status.FAIL if HARDWARE_REASONS.intersection(bad) else Status.WARN
        kind = next((kind for kind in _THROTTLE_ADVICE if any(kind in reason for reason in bad)), "unknown")
        return DeviceVerdict(status, ", ".join(bad), *_THROTTLE_ADVICE[kind])

    reasons = sorted({reason for device in devices for reason in device["throttle_reasons"] or []})
    return _combine(
        "hardware.throttle",
        judge,
        devices,
        "no GPU is throttled",
        expected="none",
        measured=", ".join(reason for reason in reasons if reason not in HARMLESS_REASONS) or "none",
        evidence={str(device["index"]): device["throttle_reasons"] for device in devices},
        source="NVML clocks event reasons; gpu_idle and sw_power_cap are normal",
    )


def temperature(devices: Sequence[Device]) -> Finding:
    """Check that each GPU is cooler than its slowdown temperature. If that temperature is unknown, skip the GPU."""

    def judge(device: Device) -> DeviceVerdict:
        limits, now = device["temperature_limits"], device["temperature"]
        hot = ("The GPU has reached the temperature at which it slows down.", _THROTTLE_ADVICE["thermal"][1])
        if limits["margin"] is not None and limits["margin_slowdown"] is not None:
            # The margin is the maximum temperature of the GPU minus its current temperature. A negative margin means
            # that the GPU is hotter than the maximum. The GPU slows down when the margin falls to margin_slowdown.
            text = f"{limits['margin']} degrees below its maximum"
            if limits["margin"] <= limits["margin_slowdown"]:
                return DeviceVerdict(Status.FAIL, f"{-limits['margin']} degrees above its maximum: slowdown", *hot)
            if limits["margin"] <= 0:
                return DeviceVerdict(Status.WARN, "at its maximum temperature", *hot)
            return DeviceVerdict(Status.PASS, text)
        if now is None or limits["slowdown"] is None:
            return DeviceVerdict(Status.NOT_TESTED, "does not report its slowdown temperature")
        if now >= limits["slowdown"]:
            return DeviceVerdict(Status.FAIL, f"{now} °C, slowdown at {limits['slowdown']} °C", *hot)
        if limits["gpu_max"] is not None and now >= limits["gpu_max"]:
            return DeviceVerdict(Status.WARN, f"{now} °C, maximum {limits['gpu_max']} °C", *hot)
        return DeviceVerdict(Status.PASS, f"{now} °C")

    temperatures = [device["temperature"] for device in devices if device["temperature"] is not None]
    limits = [device["temperature_limits"]["slowdown"] for device in devices]
    slowdowns = [limit for limit in limits if limit is not None]
    return _combine(
        "hardware.temperature",
        judge,
        devices,
        f"at most {max(temperatures)} °C" if temperatures else "below the slowdown temperature",
        expected=f"below {min(slowdowns)} °C" if slowdowns else None,
        measured=max(temperatures) if temperatures else None,
        unit="°C",
        evidence={str(d["index"]): {"temperature": d["temperature"], **d["temperature_limits"]} for d in devices},
        source="NVML: the GPU's own T.Limit margin or slowdown threshold",
    )


def _combine(
    check: str, judge: Callable[[Device], DeviceVerdict], devices: Sequence[Device], good: str, **details: t.Any
) -> Finding:
    """Check each GPU and return one finding, with the worst status and the GPUs that have this status.

    A GPU that does not respond is not tested.

    :param judge: function that checks one GPU.
    :param good: summary of the finding if all GPUs pass.
    """
    lost = DeviceVerdict(Status.NOT_TESTED, "does not respond")
    verdicts = {device["index"]: lost if device["error"] else judge(device) for device in devices}
    status = worst(verdict.status for verdict in verdicts.values())
    if status is Status.PASS:
        return passed(check, good, **details)
    bad = {index: verdict for index, verdict in sorted(verdicts.items()) if verdict.status is status}
    notes: dict[str, list[str]] = {}
    for index, verdict in bad.items():
        notes.setdefault(verdict.note, []).append(str(index))
    if len(notes) == 1 and len(bad) == len(devices) > 1:
        summary = f"all GPUs: {next(iter(notes))}"
    else:
        summary = "; ".join(f"GPU {', '.join(indexes)}: {note}" for note, indexes in notes.items())
    first = next(iter(bad.values()))
    return Finding(check=check, status=status, summary=summary, cause=first.cause, remedy=first.remedy, **details)


#: ID of a check -> function that carries it out, in the order of the report.
JUDGES: t.Final[dict[str, Callable[[Sequence[Device]], Finding]]] = {
    "hardware.pcie_link": pcie_link,
    "hardware.ecc": ecc,
    "hardware.throttle": throttle,
    "hardware.temperature": temperature,
}
