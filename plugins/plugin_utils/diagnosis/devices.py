# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUs themselves: missing, lost, broken, hot, slowed down."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import Case
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.remedies import NEW_HOST

#: Xid numbers that point at the memory of a GPU. Source: NVIDIA, Xid catalogue: 48 double-bit error, 63 and 64 row
#: remapping, 92 high single-bit rate, 94 and 95 contained and uncontained errors.
MEMORY_XIDS: t.Final[frozenset[int]] = frozenset({48, 63, 64, 92, 94, 95})

#: Xid of a GPU that fell off the bus. Source: NVIDIA, Xid catalogue.
LOST_XID: t.Final = 79

#: Xid numbers that the application usually causes. Source: NVIDIA, Xid catalogue.
APPLICATION_XIDS: t.Final[frozenset[int]] = frozenset({13, 31, 43, 45})

#: What a GPU that is slowed down does to the rest of its group.
_DRAGGED: t.Final = ("utilisation.synchronised",)

Layer = tuple[str, int]


def layers(case: Case) -> list[Layer]:
    """How many GPUs each layer between plan and vLLM knows, from the bottom up; silent layers are left out."""
    facts, counted = case.node.gpu_facts, (case.all("hardware.gpu_count") or [None])[0]
    evidence = counted.evidence if counted is not None else {}
    on_bus = evidence.get("gpus_on_pci_bus")
    found: list[tuple[str, int | None]] = [
        ("plan", facts.get("expected_count")),
        # A bus that shows none although the driver does is one that could not be read.
        ("PCI bus", on_bus if on_bus or not facts.get("count") else None),
        ("driver", facts.get("count") if facts.get("count") is not None else (0 if on_bus else None)),
        ("answering", _answering(case)),
        ("visible to vLLM", _visible(case)),
        ("used by vLLM", case.size),
    ]
    return [(name, int(count)) for name, count in found if count is not None]


def _answering(case: Case) -> int | None:
    if not case.node.raw_devices:
        return None
    return sum(device.get("error") is None for device in case.node.raw_devices)


def _visible(case: Case) -> int | None:
    value = case.environment.get("CUDA_VISIBLE_DEVICES")
    if value is None or str(value).lower() == "all":
        return None
    return len([part for part in str(value).split(",") if part.strip()])


#: First layer that has fewer GPUs than the one below it -> cause, remedy.
_MISSING: t.Final[dict[str, tuple[str, str]]] = {
    "PCI bus": (
        "The plan promises more GPUs than the machine has on its PCI bus: the host did not give them.",
        NEW_HOST,
    ),
    "driver": (
        "GPUs are on the PCI bus, and the driver does not show them: it failed to take them.",
        "Look for NVRM messages in the kernel log, reinstall the driver that fits this kernel and GPU, then restart.",
    ),
    "driver or PCI bus": (
        "The plan promises more GPUs than the driver shows; what is on the PCI bus could not be read.",
        f"Count them on the node with lspci -d 10de: (GPUs that are there are the driver's fault). {NEW_HOST}",
    ),
    "answering": ("A GPU has fallen off the bus: the driver shows it, and it does not answer.", NEW_HOST),
    "visible to vLLM": (
        "The driver has all GPUs, and vLLM may not see them: CUDA_VISIBLE_DEVICES or the container hides some.",
        "Unset CUDA_VISIBLE_DEVICES in the server's environment and start the container with --gpus all "
        "(vllm_gpus: all).",
    ),
}


def missing(case: Case) -> Diagnosis | None:
    """The first layer that disagrees, from the plan up to what vLLM sees; sizes that vLLM chose are another cause."""
    counted = layers(case)
    if case.wrong("hardware.driver") and case.node.gpu_facts.get("count") is None:
        return None
    explained = case.wrong("hardware.gpu_count", "hardware.driver")
    ordinal = "invalid_device_ordinal" in case.faults
    short = next(
        (name for (_below, before), (name, count) in zip(counted, counted[1:], strict=False) if count < before), None
    )
    if short == "driver" and not any(name == "PCI bus" for name, _count in counted):
        short = "driver or PCI bus"
    if ordinal and short not in ("PCI bus", "driver", "driver or PCI bus", "answering"):
        short = "visible to vLLM"
    if short not in _MISSING or not (explained or ordinal):
        return None
    cause, remedy = _MISSING[short]
    told = "; ".join(f"{name} {count}" for name, count in counted)
    lost = [item for item in case.all("hardware.xid") if code(item) == LOST_XID]
    return Diagnosis(
        id="gpu.missing",
        title=f"GPUs are missing: the first layer short of them is {_WHERE[short]}",
        cause=cause,
        confidence="high",
        evidence=(
            told,
            *(item.summary for item in lost),
            *([case.quote("invalid_device_ordinal")] if ordinal else ()),
        ),
        remedy=remedy,
        findings=(
            *explained,
            *(["hardware.xid"] if lost else []),
            *(case.wrong("tensor_parallel.size") if (case.size or 0) > (case.gpus or 0) else ()),
            *(case.wrong("nccl.errors") if ordinal else ()),
            *case.silence,
        ),
    )


_WHERE: t.Final = {
    "PCI bus": "the machine itself (PCI bus)",
    "driver": "the driver",
    "driver or PCI bus": "the machine or its driver",
    "answering": "the GPU (driver shows it, no answer)",
    "visible to vLLM": "the container or CUDA_VISIBLE_DEVICES",
}


def no_driver(case: Case) -> Diagnosis | None:
    """The driver as a whole does not answer."""
    found = case.first("hardware.driver")
    if found is None or case.node.gpu_facts.get("count") is not None:
        return None
    refused = found.evidence.get("reason") == "no_permission"
    return Diagnosis(
        id="gpu.no_driver",
        title=found.summary,
        cause=str(found.cause or "The NVIDIA driver does not answer."),
        confidence="high",
        evidence=tuple(
            str(words)
            for words in (
                found.evidence.get("detail"),
                f"GPUs on the PCI bus: {found.evidence['gpus_on_pci_bus']}"
                if found.evidence.get("gpus_on_pci_bus")
                else "",
            )
            if words
        ),
        remedy=str(found.remedy or "Install the driver that fits this kernel and GPU."),
        # Who may not look at the GPUs says nothing about the server.
        findings=("hardware.driver", *case.wrong("hardware.gpu_count"), *(() if refused else case.silence)),
    )


def code(finding: Finding) -> int | None:
    """The number of an Xid."""
    number = str(finding.evidence.get("code") or "")
    return int(number) if number.isdigit() else None


def memory_errors(case: Case) -> Diagnosis | None:
    """Uncorrectable errors in the memory of a GPU."""
    xids = [item for item in case.all("hardware.xid") if code(item) in MEMORY_XIDS]
    broken = case.first("hardware.ecc")
    if broken is None and not xids:
        return None
    both = broken is not None and bool(xids)
    return Diagnosis(
        id="gpu.memory_errors",
        title="The memory of a GPU is failing",
        cause="Uncorrectable memory errors, and no spare rows to replace the broken ones.",
        confidence="high" if both or broken is not None else "medium",
        evidence=tuple(item.summary for item in (*([broken] if broken else ()), *xids)),
        remedy=f"{NEW_HOST} A GPU whose remapping failed has to be replaced.",
        findings=(*case.wrong("hardware.ecc"), *(["hardware.xid"] if xids else [])),
    )


def xid(case: Case) -> Diagnosis | None:
    """Other Xid errors: of the application where the number says so, else of the hardware."""
    known = MEMORY_XIDS | ({LOST_XID} if case.has("gpu.missing") else frozenset())
    open_ones = [item for item in case.all("hardware.xid") if code(item) is not None and code(item) not in known]
    if not open_ones:
        return None
    codes = {number for item in open_ones if (number := code(item)) is not None}
    application = codes <= APPLICATION_XIDS
    return Diagnosis(
        id="gpu.application_error" if application else "gpu.xid",
        title=f"Xid {', '.join(map(str, sorted(codes)))} in the kernel log",
        cause="A program did something wrong on the GPU; the hardware is usually fine."
        if application
        else str(open_ones[0].cause or "The driver reported a fault of the GPU."),
        confidence="medium",
        evidence=tuple(item.summary for item in open_ones),
        remedy="Update vLLM and the driver; if it follows one GPU, treat it as hardware."
        if application
        else f"{open_ones[0].remedy or NEW_HOST}",
        findings=("hardware.xid", *case.silence),
    )


#: Reason of a lower clock -> id, title, cause, remedy. The first that fits is named.
_SLOWED: t.Final[tuple[tuple[tuple[str, ...], str, str, str, str], ...]] = (
    (
        ("hw_thermal_slowdown", "sw_thermal_slowdown"),
        "gpu.too_hot",
        "A GPU is too hot and slows itself down",
        "Its clocks are cut by heat, and the other GPUs wait for it at every all-reduce.",
        f"{NEW_HOST} In a machine of your own look at fans, dust and inlet temperature.",
    ),
    (
        ("hw_power_brake_slowdown",),
        "gpu.power_brake",
        "The power supply holds a GPU back",
        "The power supply asks the GPU to draw less (power brake).",
        f"{NEW_HOST} In a machine of your own look at the power supply and its cables.",
    ),
    (
        ("hw_slowdown",),
        "gpu.slowed_by_hardware",
        "The hardware cuts the clocks of a GPU",
        "The hardware halves the clocks or worse: heat or power supply, the driver does not say which.",
        NEW_HOST,
    ),
    (
        ("applications_clocks_setting", "sync_boost", "display_clock_setting"),
        "gpu.clocks_fixed",
        "Somebody fixed the clocks of a GPU below their maximum",
        "Application clocks or a clock lock keep the GPU slow.",
        "Reset them on the node: nvidia-smi -rgc, nvidia-smi -rmc and nvidia-smi -rac.",
    ),
)


def slowed_down(case: Case) -> Diagnosis | None:
    """Heat, power or somebody's setting lowers the clocks while the GPUs work."""
    found = case.first("hardware.throttle")
    if found is None:
        return None
    said = f"{found.summary} {found.measured}"
    named = next((row[1:] for row in _SLOWED if any(reason in said for reason in row[0])), None)
    unknown = ("gpu.slowed_down", "The clocks of a GPU are cut", str(found.cause), str(found.remedy))
    identity, title, cause, remedy = named or unknown
    hot = case.wrong("hardware.temperature") if identity in ("gpu.too_hot", "gpu.slowed_by_hardware") else ()
    warm = [item.summary for check in hot if (item := case.first(check)) is not None]
    return Diagnosis(
        id=identity,
        title=title,
        cause=cause,
        confidence="high" if case.slow or hot else "medium",
        evidence=(found.summary, *warm, *case.speed_words()),
        remedy=remedy,
        expected_gain=case.recovery(),
        findings=("hardware.throttle", *hot, *case.wrong(*_DRAGGED), *case.slow),
    )
