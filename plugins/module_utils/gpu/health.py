# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges the hardware facts of one node: facts in, findings out, no I/O. Every limit carries its source."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import (
    Finding,
    Status,
    failed,
    not_tested,
    passed,
    warned,
    worst,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import topology
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import Device
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable

#: Utilisation in percent from which a GPU counts as loaded. Below it the driver may slow the PCIe link to save power.
LOADED: t.Final[int] = 10

#: PCIe replays above which a link is suspect. Source: DCGM diagnostics, pcie.max_pcie_replays, default 80.
PCIE_REPLAYS: t.Final[int] = 80

#: Uncorrectable row remaps above which a GPU is worn out. Source: NVIDIA row-remapping guide, RMA criteria (512 rows).
ROW_REMAPS: t.Final[int] = 512

#: Reasons for a lower clock that are no trouble. Source: nvml.h; sw_power_cap is a GPU at its power limit, as it
#: should be under full load.
HARMLESS_REASONS: t.Final[frozenset[str]] = frozenset({"gpu_idle", "sw_power_cap"})

#: Reasons with which the hardware itself cuts the clock, by half or more. Source: nvml.h, HwSlowdown and its two parts.
HARDWARE_REASONS: t.Final[frozenset[str]] = frozenset({"hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"})

#: Checks that are drawn from devices, with the part of gather_subset that each needs.
DEVICE_CHECKS: t.Final[dict[str, str]] = {
    "hardware.pcie_link": "pcie",
    "hardware.ecc": "health",
    "hardware.throttle": "health",
    "hardware.temperature": "health",
}

#: All checks of this domain, in the order in which they are reported.
CHECKS: t.Final[tuple[str, ...]] = (
    "hardware.gpu_count",
    "hardware.driver",
    "hardware.topology",
    "hardware.p2p",
    *DEVICE_CHECKS,
)


@dataclass(frozen=True)
class Expectation:
    """How many GPUs there should be: ``count`` (null: nobody said), and ``source`` option, api or instance_type."""

    count: int | None = None
    source: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The answer for one GPU; ``note`` completes "GPU 3: ..."."""

    status: Status
    note: str
    cause: str | None = None
    remedy: str | None = None


def findings(facts: Mapping[str, t.Any], expected: Expectation, on_bus: int, subsets: Collection[str]) -> list[Finding]:
    """Every hardware finding of a node whose driver answers.

    ``facts`` is ``ansible_facts.gpu``; ``on_bus`` is the number of NVIDIA GPUs on the PCI bus; ``subsets`` is what was
    gathered: a check whose facts were not asked for is ``not_tested``.
    """
    devices: list[Device] = facts["devices"]
    result = [gpu_count(facts["count"], expected, on_bus), driver(facts)]
    if "topology" in subsets:
        result += [connection(facts["topology"], len(devices)), peer_access(facts["topology"], len(devices))]
    else:
        result += [_not_gathered(check, "topology") for check in ("hardware.topology", "hardware.p2p")]
    judges: dict[str, Callable[[Sequence[Device]], Finding]] = {
        "hardware.pcie_link": pcie_link,
        "hardware.ecc": ecc,
        "hardware.throttle": throttle,
        "hardware.temperature": temperature,
    }
    for check, subset in DEVICE_CHECKS.items():
        if not devices:
            result.append(not_tested(check, "the driver sees no GPU"))
        elif subset not in subsets:
            result.append(_not_gathered(check, subset))
        else:
            result.append(judges[check](devices))
    return result


def unavailable(reason: GpuUnavailable, expected: Expectation, on_bus: int) -> list[Finding]:
    """Every hardware finding of a node whose GPUs cannot be read.

    A node without a driver of which nobody expects a GPU, and on whose bus there is none, has nothing wrong with it.
    """
    needed = bool(expected.count) or on_bus > 0 or reason.reason not in ("no_driver", "smi_missing", "bindings_missing")
    # Missing bindings say nothing about the driver: that was not looked at.
    blind = reason.reason in ("bindings_missing", "smi_missing")
    evidence = {"reason": reason.reason, "detail": reason.detail, "gpus_on_pci_bus": on_bus}
    why = {"cause": reason.cause, "remedy": reason.remedy, "evidence": evidence}
    if needed and not blind:
        first = [failed("hardware.driver", reason.summary, **why)]
    else:
        first = [not_tested("hardware.driver", reason.summary, **why)]
    if expected.count == 0 and on_bus == 0:
        count = gpu_count(0, expected, on_bus)
    elif expected.count and not blind:
        count = failed(
            "hardware.gpu_count",
            f"0 of {expected.count} GPUs: {reason.summary}",
            expected=expected.count,
            measured=0,
            unit="GPUs",
            source=_source(expected),
            **why,
        )
    else:
        count = not_tested("hardware.gpu_count", reason.summary, expected=expected.count, evidence=evidence)
    rest = [
        not_tested(check, reason.summary) for check in CHECKS if check not in ("hardware.gpu_count", "hardware.driver")
    ]
    return [count, *first, *rest]


def gpu_count(count: int, expected: Expectation, on_bus: int) -> Finding:
    """As many GPUs as promised; a GPU on the PCI bus that the driver does not show is named."""
    details: dict[str, t.Any] = {
        "expected": expected.count,
        "measured": count,
        "unit": "GPUs",
        "evidence": {"gpus_on_pci_bus": on_bus},
        "source": _source(expected),
    }
    if expected.count is not None and count > expected.count:
        return warned(
            "hardware.gpu_count",
            f"{count} GPUs, {expected.count} expected",
            cause="The node is larger than its stated plan.",
            remedy="Correct instance_type or expected_count.",
            **details,
        )
    hidden = on_bus - count
    if (
        expected.count is not None
        and count < expected.count
        or count < on_bus
        or (not count and expected.count is None)
    ):
        lost = f"{hidden} on the PCI bus, but not shown by the driver" if hidden > 0 else "not even on the PCI bus"
        return failed(
            "hardware.gpu_count",
            f"{count} of {expected.count if expected.count is not None else max(on_bus, 1)} GPUs",
            cause=f"Missing GPUs are {lost}." if on_bus else "The driver does not see all GPUs of the plan.",
            remedy="Look for Xid 79 (fallen off the bus) in the kernel log; stop and start the node from the Cloud "
            "Manager, and open a ticket if a GPU stays away.",
            **details,
        )
    if expected.count is None:
        return not_tested(
            "hardware.gpu_count", f"{count} GPUs; no instance_type or expected_count to compare with", **details
        )
    return passed("hardware.gpu_count", f"{count} of {expected.count} GPUs", **details)


def driver(facts: Mapping[str, t.Any]) -> Finding:
    """The driver answers for every GPU."""
    lost = {str(device["index"]): device["error"] for device in facts["devices"] if device["error"]}
    version = facts["driver_version"] or "of unknown version"
    if lost:
        return failed(
            "hardware.driver",
            f"GPU {', '.join(lost)}: {'; '.join(sorted(set(lost.values())))}",
            expected=len(facts["devices"]),
            measured=len(facts["devices"]) - len(lost),
            unit="GPUs",
            evidence={"errors": lost, "driver_version": facts["driver_version"]},
            cause="The GPU has fallen off the bus, or needs a reset.",
            remedy="Look for Xid 79 in the kernel log; stop and start the node, and report the host if it recurs.",
        )
    return passed(
        "hardware.driver",
        f"driver {version}, CUDA {facts['cuda_version'] or 'unknown'}",
        measured=facts["driver_version"],
        evidence={"backend": facts["backend"], "cuda_version": facts["cuda_version"]},
    )


def connection(facts: Mapping[str, t.Any] | None, count: int) -> Finding:
    """How the GPUs are connected; a path between CPU sockets is a warning."""
    check = "hardware.topology"
    if count < 2:
        return not_tested(check, "fewer than two GPUs: there is nothing to connect")
    kinds = topology.pairs(facts["matrix"]) if facts else {}
    known = [kind for kind in kinds.values() if kind]
    if not known:
        return not_tested(check, "the driver does not tell how the GPUs are connected")
    tally = {kind: known.count(kind) for kind in sorted(set(known), key=_speed_rank)}
    text = next(iter(tally)) if len(tally) == 1 else ", ".join(f"{kind} on {n} pairs" for kind, n in tally.items())
    details: dict[str, t.Any] = {"measured": text, "evidence": {"pairs": tally}, "source": "nvidia-smi topo -m"}
    if "SYS" in tally:
        return warned(
            check,
            f"{count} GPUs, connected by {text}",
            cause="Some pairs of GPUs talk through the link between two CPU sockets, the slowest path there is.",
            remedy="Measure it (nccl.bandwidth); where the pairs differ, keep a tensor-parallel group on one socket.",
            **details,
        )
    return passed(check, f"{count} GPUs, connected by {text}", **details)


def peer_access(facts: Mapping[str, t.Any] | None, count: int) -> Finding:
    """The driver's claim about peer access. That data really arrives is shown by NCCL at work, not by this claim."""
    check = "hardware.p2p"
    if count < 2:
        return not_tested(check, "fewer than two GPUs: there are no peers")
    states = topology.pairs(facts["p2p"]) if facts and facts["p2p"] else {}
    known = [state for state in states.values() if state]
    if not known:
        return not_tested(check, "the driver does not tell whether the GPUs can reach each other")
    bad = {state for state in known if state != "OK"}
    details: dict[str, t.Any] = {
        "expected": len(known),
        "measured": known.count("OK"),
        "unit": "pairs",
        "evidence": {"states": {state: known.count(state) for state in sorted(set(known))}},
        "source": "nvidia-smi topo -p2p r",
    }
    if bad:
        why = "; ".join(topology.P2P_LEGEND[state] for state in sorted(bad))
        return warned(
            check,
            f"{known.count('OK')} of {len(known)} pairs of GPUs have peer access: {why}",
            cause="Without peer access NCCL copies through the host's memory, which costs bandwidth and latency.",
            remedy="Normal in many virtual machines and on GPUs without the feature; then run vLLM with "
            "--disable-custom-all-reduce. Otherwise look at IOMMU, ACS and the driver's settings on the host.",
            **details,
        )
    return passed(check, f"the driver claims peer access for all {len(known)} pairs", **details)


def pcie_link(devices: Sequence[Device]) -> Finding:
    """Generation and width against what card and slot can do. An idle card slows its link, which is no fault."""

    def judge(device: Device) -> Verdict:
        link = device["pcie"]
        if None in (link["generation"], link["generation_max"], link["width"], link["width_max"]):
            return Verdict(Status.NOT_TESTED, "does not report its PCIe link")
        now = f"gen {link['generation']} x{link['width']} of gen {link['generation_max']} x{link['width_max']}"
        loaded = (device["utilization_gpu"] or 0) >= LOADED
        narrow, slow = link["width"] < link["width_max"], link["generation"] < link["generation_max"]
        faulty = {
            "cause": "The PCIe link was trained below what card and slot can do.",
            "remedy": "Stop and start the node so that it lands on another host, or have the card reseated.",
        }
        if loaded and (narrow or slow):
            return Verdict(Status.FAIL, f"PCIe {now} under load", **faulty)
        if narrow:
            return Verdict(Status.WARN, f"PCIe {now}", faulty["cause"], "Measure again under load: " + faulty["remedy"])
        if (link["replay_counter"] or 0) > PCIE_REPLAYS:
            return Verdict(
                Status.WARN,
                f"{link['replay_counter']} PCIe replays",
                "The link repeats packets: bad contact, cable or riser.",
                "See whether the counter grows under load; if it does, have the card reseated.",
            )
        if slow:
            return Verdict(Status.NOT_TESTED, f"PCIe {now}, but idle: an idle card slows its link")
        return Verdict(Status.PASS, now)

    links = {f"gen {d['pcie']['generation']} x{d['pcie']['width']}" for d in devices}
    best = {f"gen {d['pcie']['generation_max']} x{d['pcie']['width_max']}" for d in devices}
    return _combine(
        "hardware.pcie_link",
        {device["index"]: judge(device) for device in devices},
        f"PCIe {' and '.join(sorted(links))} on all GPUs",
        expected=", ".join(sorted(best)),
        measured=", ".join(sorted(links)),
        source="NVML, maximum link of card and slot; replays: DCGM default 80",
    )


def ecc(devices: Sequence[Device]) -> Finding:
    """Uncorrectable errors since the last reset, and the state of row remapping."""

    def judge(device: Device) -> Verdict:
        counters, rows = device["ecc"], device["remapped_rows"]
        replace = "Move the workload, stop and start the node, and report the host: the GPU needs to be replaced."
        if rows["failure"]:
            return Verdict(Status.FAIL, "row remapping failed", "The GPU has no spare memory rows left.", replace)
        if (rows["uncorrectable"] or 0) > ROW_REMAPS:
            return Verdict(
                Status.FAIL, f"{rows['uncorrectable']} rows remapped", "The GPU's memory is worn out.", replace
            )
        if rows["pending"]:
            return Verdict(
                Status.FAIL,
                "row remapping pending",
                "A memory row was found bad; it is replaced at the next GPU reset.",
                "Stop vLLM and reboot the node, then look whether errors come back.",
            )
        if counters["uncorrected_volatile"]:
            return Verdict(
                Status.FAIL,
                f"{counters['uncorrected_volatile']} uncorrectable memory errors since the last reset",
                "Memory cells gave data that could not be repaired; results may be wrong or a process was ended.",
                "Stop vLLM and reboot the node; if errors come back, report the host.",
            )
        if counters["uncorrected_volatile"] is None and rows["failure"] is None:
            return Verdict(Status.NOT_TESTED, "reports neither ECC counters nor row remapping")
        if counters["uncorrected_volatile"] is None:
            return Verdict(Status.NOT_TESTED, "ECC is off or not supported; row remapping is clean")
        return Verdict(Status.PASS, "no uncorrectable error")

    errors = [d["ecc"]["uncorrected_volatile"] for d in devices if d["ecc"]["uncorrected_volatile"] is not None]
    return _combine(
        "hardware.ecc",
        {device["index"]: judge(device) for device in devices},
        "no uncorrectable memory error, no failed or pending row remap",
        expected=0,
        measured=sum(errors) if errors else None,
        unit="uncorrectable errors",
        evidence={
            str(device["index"]): {**device["ecc"], "remapped_rows": device["remapped_rows"]} for device in devices
        },
        source="NVIDIA row-remapping guide: pending or failed remap, more than 512 uncorrectable remaps",
    )


def throttle(devices: Sequence[Device]) -> Finding:
    """Reasons why the clocks are lower than they could be, at this moment."""

    def judge(device: Device) -> Verdict:
        reasons = device["throttle_reasons"]
        if reasons is None:
            return Verdict(Status.NOT_TESTED, "does not report throttle reasons")
        bad = [reason for reason in reasons if reason not in HARMLESS_REASONS]
        if not bad:
            return Verdict(Status.PASS, "not throttled")
        status = Status.FAIL if HARDWARE_REASONS.intersection(bad) else Status.WARN
        cause, remedy = _THROTTLE_ADVICE.get(
            next((kind for kind in _THROTTLE_ADVICE if any(kind in reason for reason in bad)), ""), (None, None)
        )
        return Verdict(status, ", ".join(bad), cause, remedy)

    seen = sorted({reason for device in devices for reason in device["throttle_reasons"] or []})
    return _combine(
        "hardware.throttle",
        {device["index"]: judge(device) for device in devices},
        "no GPU is slowed down",
        expected="none",
        measured=", ".join(reason for reason in seen if reason not in HARMLESS_REASONS) or "none",
        evidence={str(device["index"]): device["throttle_reasons"] for device in devices},
        source="NVML clocks event reasons; gpu_idle and sw_power_cap are normal",
    )


#: Part of a throttle reason's name -> cause and remedy; the first that fits is told.
_THROTTLE_ADVICE: t.Final[dict[str, tuple[str, str]]] = {
    "thermal": (
        "The GPU is too hot, so its clocks are cut.",
        "In a rented machine report the host; in your own look at fans, dust and inlet temperature.",
    ),
    "power_brake": (
        "The power supply asks the GPU to draw less.",
        "In a rented machine report the host; in your own look at the power supply.",
    ),
    "hw_slowdown": (
        "The hardware cuts the clocks by half or more: heat or power supply.",
        "Look at temperature and power; in a rented machine report the host.",
    ),
    "clock": (
        "Someone fixed the clocks below their maximum.",
        "Reset them: nvidia-smi -rgc; nvidia-smi -rac.",
    ),
    "sync_boost": (
        "The GPU is in a sync boost group and waits for a slower member.",
        "Remove the group where this is not wanted.",
    ),
}


def temperature(devices: Sequence[Device]) -> Finding:
    """Distance to the GPU's own slowdown temperature; without a limit of its own a GPU is not tested."""

    def judge(device: Device) -> Verdict:
        limits, now = device["temperature_limits"], device["temperature"]
        hot = ("The GPU runs at the temperature at which it slows itself down.", _THROTTLE_ADVICE["thermal"][1])
        if limits["margin"] is not None and limits["margin_slowdown"] is not None:
            # Both are relative to the GPU's own maximum: a margin of 0 is reached first, slowdown comes below it.
            text = f"{limits['margin']} degrees below its maximum"
            if limits["margin"] <= limits["margin_slowdown"]:
                return Verdict(Status.FAIL, f"{-limits['margin']} degrees above its maximum: slowdown", *hot)
            if limits["margin"] <= 0:
                return Verdict(Status.WARN, "at its maximum temperature", *hot)
            return Verdict(Status.PASS, text)
        if now is None or limits["slowdown"] is None:
            return Verdict(Status.NOT_TESTED, "does not report its slowdown temperature")
        if now >= limits["slowdown"]:
            return Verdict(Status.FAIL, f"{now} °C, slowdown at {limits['slowdown']} °C", *hot)
        if limits["gpu_max"] is not None and now >= limits["gpu_max"]:
            return Verdict(Status.WARN, f"{now} °C, maximum {limits['gpu_max']} °C", *hot)
        return Verdict(Status.PASS, f"{now} °C")

    known = [device["temperature"] for device in devices if device["temperature"] is not None]
    slowdowns = [
        d["temperature_limits"]["slowdown"] for d in devices if d["temperature_limits"]["slowdown"] is not None
    ]
    return _combine(
        "hardware.temperature",
        {device["index"]: judge(device) for device in devices},
        f"at most {max(known)} °C" if known else "below the slowdown temperature",
        expected=min(slowdowns) if slowdowns else None,
        measured=max(known) if known else None,
        unit="°C",
        evidence={str(d["index"]): {"temperature": d["temperature"], **d["temperature_limits"]} for d in devices},
        source="NVML: the GPU's own T.Limit margin or slowdown threshold",
    )


def _combine(check: str, verdicts: Mapping[int, Verdict], good: str, **details: t.Any) -> Finding:
    """One finding from the verdicts of all GPUs: the worst decides, and the GPUs that have it are named."""
    status = worst(verdict.status for verdict in verdicts.values())
    if status is Status.PASS:
        return passed(check, good, **details)
    notes: dict[str, list[int]] = {}
    for index, verdict in verdicts.items():
        if verdict.status is status:
            notes.setdefault(verdict.note, []).append(index)
    everyone = len(notes) == 1 and len(next(iter(notes.values()))) == len(verdicts) > 1
    summary = "; ".join(f"{'all GPUs' if everyone else _gpus(indexes)}: {note}" for note, indexes in notes.items())
    first = next(verdict for verdict in verdicts.values() if verdict.status is status)
    return Finding(check=check, status=status, summary=summary, cause=first.cause, remedy=first.remedy, **details)


def _gpus(indexes: Collection[int]) -> str:
    return f"GPU {', '.join(str(index) for index in sorted(indexes))}"


def _speed_rank(kind: str) -> tuple[int, str]:
    """NVLink first, then as in the legend of the topology."""
    order = [name for name in topology.LEGEND if name != "NV#"]
    return (-1, kind) if kind.startswith("NV") else (order.index(kind), kind)


def _not_gathered(check: str, subset: str) -> Finding:
    return not_tested(check, f"not gathered: {subset} is not in gather_subset")


def _source(expected: Expectation) -> str | None:
    names = {"option": "expected_count", "api": "Linode API, gpus of the plan", "instance_type": "the plan's type id"}
    return names.get(expected.source or "")
