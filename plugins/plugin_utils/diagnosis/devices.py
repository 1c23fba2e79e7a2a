# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Diagnose GPUs that are missing, lost, broken, too hot or slowed down."""

from __future__ import annotations

import itertools
import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import DiagnosisContext
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis, conclude

#: Xid numbers of GPU memory errors: 48 double-bit error, 63 and 64 row remapping, 92 high single-bit rate, 94 and
#: 95 contained and uncontained errors. Source: NVIDIA Xid catalogue.
MEMORY_XIDS: t.Final[frozenset[int]] = frozenset({48, 63, 64, 92, 94, 95})

#: Xid of a GPU that fell off the bus. Source: NVIDIA Xid catalogue.
LOST_XID: t.Final = 79

#: Xid numbers of errors that are usually caused by applications. Source: NVIDIA Xid catalogue.
APPLICATION_XIDS: t.Final[frozenset[int]] = frozenset({13, 31, 43, 45})

#: Levels between the Linode plan and vLLM at which GPUs can be missing, each with its name in the diagnosis title.
_LEVELS: t.Final = {
    "PCI bus": "the machine itself (PCI bus)",
    "driver": "the driver",
    "driver or PCI bus": "the machine or its driver",
    "responding": "the GPU (listed by the driver, but not responding)",
    "visible to vLLM": "the container or CUDA_VISIBLE_DEVICES",
}

#: Diagnosis for each set of throttle reasons; the first match applies.
_SLOWED: t.Final[dict[str, tuple[str, ...]]] = {
    "gpu.too_hot": ("hw_thermal_slowdown", "sw_thermal_slowdown"),
    "gpu.power_brake": ("hw_power_brake_slowdown",),
    "gpu.slowed_by_hardware": ("hw_slowdown",),
    "gpu.clocks_fixed": ("applications_clocks_setting", "sync_boost", "display_clock_setting"),
}

Level = tuple[str, int]


def levels(context: DiagnosisContext) -> list[Level]:
    """Return the number of GPUs according to the Linode plan, PCI bus, driver and vLLM. Leave out unknown numbers."""
    facts, devices = context.node.gpu_facts, context.node.devices
    counted = next(iter(context.all("hardware.gpu_count")), None)
    evidence = counted.evidence if counted is not None else {}
    on_bus = evidence.get("gpus_on_pci_bus")
    counts: list[tuple[str, int | None]] = [
        ("plan", facts.get("expected_count")),
        # If the driver lists GPUs but none were found on the PCI bus, the bus could not be read.
        ("PCI bus", on_bus if on_bus or not facts.get("count") else None),
        ("driver", facts.get("count") if facts.get("count") is not None else (0 if on_bus else None)),
        ("responding", sum(device.get("error") is None for device in devices) if devices else None),
        ("visible to vLLM", context.visible_gpus),
        ("used by vLLM", context.node.group_size),
    ]
    return [(name, int(count)) for name, count in counts if count is not None]


def missing(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose missing GPUs.

    Compare the GPU counts of the Linode plan, the PCI bus, the driver and vLLM to find out where GPUs get lost.
    """
    counted, node = levels(context), context.node
    if context.wrong("hardware.driver") and node.gpu_facts.get("count") is None:
        return None
    explained = context.wrong("hardware.gpu_count", "hardware.driver")
    ordinal = "invalid_device_ordinal" in context.faults
    short = next((name for (_above, before), (name, count) in itertools.pairwise(counted) if count < before), None)
    if short == "driver" and not any(name == "PCI bus" for name, _count in counted):
        short = "driver or PCI bus"
    if ordinal and short not in ("PCI bus", "driver", "driver or PCI bus", "responding"):
        short = "visible to vLLM"
    if short not in _LEVELS or not (explained or ordinal):
        return None
    lost = [item for item in context.all("hardware.xid") if xid_number(item) == LOST_XID]
    return conclude(
        "gpu.missing",
        short,
        confidence="high",
        evidence=(
            "; ".join(f"{name} {count}" for name, count in counted),
            *(item.summary for item in lost),
            context.quote("invalid_device_ordinal") if ordinal else "",
        ),
        findings=(
            *explained,
            *(["hardware.xid"] if lost else []),
            *(context.wrong("tensor_parallel.size") if (node.group_size or 0) > context.gpu_count else ()),
            *(context.wrong("nccl.errors") if ordinal else ()),
            *context.outage_checks,
        ),
        layer=_LEVELS[short],
    )


def no_driver(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a GPU driver that reports an error instead of listing the GPUs."""
    driver = context.worst_finding("hardware.driver")
    if driver is None or context.node.gpu_facts.get("count") is not None:
        return None
    on_bus = driver.evidence.get("gpus_on_pci_bus")
    # A lack of permission to read the GPUs does not explain why the server is down.
    unreadable = driver.evidence.get("reason") == "no_permission"
    return conclude(
        "gpu.no_driver",
        confidence="high",
        evidence=(str(driver.evidence.get("detail") or ""), f"GPUs on the PCI bus: {on_bus}" if on_bus else ""),
        findings=(
            "hardware.driver",
            *context.wrong("hardware.gpu_count"),
            *(() if unreadable else context.outage_checks),
        ),
        finding=driver,
    )


def xid_number(finding: Finding) -> int | None:
    """Return the Xid number of a kernel log finding, or None if the finding has no Xid number."""
    number = str(finding.evidence.get("code") or "")
    return int(number) if number.isdigit() else None


def memory_errors(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose GPU memory errors that the ECC counters or Xid messages report."""
    xids = [item for item in context.all("hardware.xid") if xid_number(item) in MEMORY_XIDS]
    ecc = context.worst_finding("hardware.ecc")
    if ecc is None and not xids:
        return None
    return conclude(
        "gpu.memory_errors",
        confidence="high" if ecc is not None else "medium",
        evidence=(item.summary for item in (*([ecc] if ecc else ()), *xids)),
        findings=(*context.wrong("hardware.ecc"), *(["hardware.xid"] if xids else [])),
    )


def xid(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose Xid errors that are not explained by a GPU memory error or a missing GPU."""
    explained = MEMORY_XIDS | ({LOST_XID} if context.has_diagnosis("gpu.missing") else frozenset())
    numbers = [(item, number) for item in context.all("hardware.xid") if (number := xid_number(item)) is not None]
    others = {number: item for item, number in reversed(numbers) if number not in explained}
    if not others:
        return None
    return conclude(
        "gpu.application_error" if APPLICATION_XIDS.issuperset(others) else "gpu.xid",
        confidence="medium",
        evidence=(item.summary for item, number in numbers if number in others),
        findings=("hardware.xid", *context.outage_checks),
        codes=", ".join(map(str, sorted(others))),
        finding=next(item for item, number in numbers if number in others),
    )


def slowed_down(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose GPU clocks that are reduced under load because of heat, power or a setting."""
    throttle = context.worst_finding("hardware.throttle")
    if throttle is None:
        return None
    reasons = f"{throttle.summary} {throttle.measured}"
    identity = next(
        (key for key, names in _SLOWED.items() if any(name in reasons for name in names)), "gpu.slowed_down"
    )
    hot = context.wrong("hardware.temperature") if identity in ("gpu.too_hot", "gpu.slowed_by_hardware") else ()
    return conclude(
        identity,
        confidence="high" if context.slow or hot else "medium",
        evidence=(
            throttle.summary,
            *(item.summary for item in context.worst_findings(*hot)),
            *context.speed_evidence(),
        ),
        gain=context.recovery(),
        findings=("hardware.throttle", *hot, *context.wrong("utilisation.synchronised"), *context.slow),
        finding=throttle,
    )
