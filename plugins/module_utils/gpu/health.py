# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the hardware of a node, based on facts that were read earlier, and return findings.

This module does no I/O.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import device_health, topology
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import Device
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable

GPU_COUNT: t.Final = "hardware.gpu_count"

#: All checks of this area, in the order of the report.
CHECKS: t.Final[tuple[str, ...]] = (
    GPU_COUNT,
    "hardware.gpu_model",
    "hardware.driver",
    "hardware.topology",
    "hardware.p2p",
    *device_health.JUDGES,
)


#: Words in a GPU's name that some drivers omit and that do not distinguish models.
_OPTIONAL_WORDS: t.Final = frozenset({"nvidia", "generation", "server", "edition"})


@dataclass(frozen=True)
class Expectation:
    """Expected number and model of the GPUs of a node. Unknown values are None.

    ``source`` of ``count`` is option, api or instance_type.
    """

    count: int | None = None
    source: str | None = None
    model: str | None = None


def findings(facts: Mapping[str, t.Any], expected: Expectation, on_bus: int, subsets: Collection[str]) -> list[Finding]:
    """Return all hardware findings for a node whose driver responds.

    :param facts: ``ansible_facts.gpu``.
    :param on_bus: number of NVIDIA GPUs on the PCI bus.
    :param subsets: the gathered subsets; a check that needs a different subset is ``not_tested``.
    """
    devices: list[Device] = facts["devices"]
    lost = sum(device["error"] is not None for device in devices)
    names = [device["name"] for device in devices if device["name"]]
    result = [gpu_count(facts["count"] - lost, expected, on_bus, lost), gpu_model(names, expected), driver(facts)]
    if "topology" in subsets:
        result += [connection(facts["topology"], len(devices)), peer_access(facts["topology"], len(devices))]
    else:
        result += [_not_gathered(check, "topology") for check in ("hardware.topology", "hardware.p2p")]
    for check, judge in device_health.JUDGES.items():
        subset = "pcie" if check == "hardware.pcie_link" else "health"
        if not devices:
            result.append(not_tested(check, "the driver reports no GPU"))
        elif subset not in subsets:
            result.append(_not_gathered(check, subset))
        else:
            result.append(judge(devices))
    return result


def unavailable(reason: GpuUnavailable, expected: Expectation, on_bus: int) -> list[Finding]:
    """Return all hardware findings for a node whose GPUs cannot be read.

    A missing driver is not a failure if no GPU is expected and the PCI bus lists no GPU.
    """
    # The driver may be working even if NVML's Python bindings or nvidia-smi are missing.
    tool_missing = reason.reason in ("bindings_missing", "smi_missing")
    driver_not_needed = reason.reason == "no_driver" and not expected.count and not on_bus
    evidence = {"reason": reason.reason, "detail": reason.detail, "gpus_on_pci_bus": on_bus}
    explanation = {"cause": reason.cause, "remedy": reason.remedy, "evidence": evidence}
    verdict = not_tested if tool_missing or driver_not_needed else failed
    if expected.count == 0 and not on_bus:
        count = gpu_count(0, expected, on_bus)
    elif expected.count and not tool_missing:
        details = {"expected": expected.count, "measured": 0, "unit": "GPUs", "source": _source(expected)}
        count = failed(GPU_COUNT, f"0 of {expected.count} GPUs usable: {reason.summary}", **details, **explanation)
    else:
        count = not_tested(GPU_COUNT, reason.summary, expected=expected.count, **explanation)
    answered = {count.check: count, "hardware.driver": verdict("hardware.driver", reason.summary, **explanation)}
    return [answered.get(check) or not_tested(check, reason.summary) for check in CHECKS]


def gpu_count(count: int, expected: Expectation, on_bus: int, lost: int = 0) -> Finding:
    """Compare the number of GPUs with the expected number.

    :param count: number of GPUs that respond.
    :param on_bus: number of GPUs on the PCI bus; the driver may not report all of them.
    :param lost: number of GPUs that the driver reports but that do not respond.
    """
    details: dict[str, t.Any] = {
        "expected": expected.count,
        "measured": count,
        "unit": "GPUs",
        "evidence": {"gpus_on_pci_bus": on_bus, "gpus_not_answering": lost},
        "source": _source(expected),
    }
    if expected.count is not None and count > expected.count:
        return warned(
            GPU_COUNT,
            f"{count} GPUs, {expected.count} expected",
            cause="The node has more GPUs than the stated plan.",
            remedy="Correct instance_type or expected_count.",
            **details,
        )
    promised = max(on_bus, count + lost, 1) if expected.count is None else max(on_bus, expected.count)
    if count < promised:
        return failed(
            GPU_COUNT,
            f"{count} of {promised} GPUs" if on_bus or lost or expected.count else "the driver reports no GPU",
            cause=_missing_cause(promised - count, on_bus - count - lost, on_bus, lost),
            remedy=FAULTS["gpu_lost"].remedy,
            **details,
        )
    if expected.count is None:
        return not_tested(GPU_COUNT, f"{count} GPUs; no instance_type or expected_count to compare with", **details)
    return passed(GPU_COUNT, f"{count} of {expected.count} GPUs", **details)


def gpu_model(names: Sequence[str], expected: Expectation) -> Finding:
    """Check that every responding GPU is the model that the Linode plan promises."""
    if not names:
        return not_tested("hardware.gpu_model", "no GPU reports its name")
    inventory = ", ".join(f"{count} x {name}" for name, count in Counter(names).items())
    if expected.model is None:
        return not_tested("hardware.gpu_model", f"{inventory}; no instance_type with a known model to compare with")
    models = ", ".join(dict.fromkeys(names))
    details: dict[str, t.Any] = {"expected": expected.model, "measured": models, "source": "the plan's hardware"}
    if all(_is_model(name, expected.model) for name in names):
        return passed("hardware.gpu_model", f"{inventory}, as the plan promises", **details)
    return failed(
        "hardware.gpu_model",
        f"{inventory}, but the plan promises {expected.model}",
        cause="The stated plan is not the plan of this node, or the host does not have the GPUs of the plan.",
        remedy="Correct instance_type; if it is right, open a ticket with the output of nvidia-smi -L.",
        **details,
    )


def _is_model(name: str, model: str) -> bool:
    """Return whether ``name``, a GPU name from the driver, matches ``model``. Some drivers omit parts of the name."""
    name_words, model_words = (set(text.lower().split()) - _OPTIONAL_WORDS for text in (name, model))
    return name_words == model_words


def _missing_cause(missing: int, hidden: int, on_bus: int, lost: int) -> str:
    """Return a sentence that says what still lists the missing GPUs: the driver, only the PCI bus, or neither."""
    one = missing == 1
    if lost:
        visible = "The missing GPU is reported" if one else f"{lost} of {missing} missing GPUs are reported"
        return f"{visible} by the driver, but {'does' if one else 'do'} not respond."
    if hidden > 0:
        visible = "The missing GPU is" if one else f"{hidden} of {missing} missing GPUs are"
        return f"{visible} on the PCI bus, but not reported by the driver."
    if not on_bus:
        return "The driver does not report it." if one else "The driver does not report them."
    return f"The missing {'GPU is' if one else 'GPUs are'} not even on the PCI bus."


def driver(facts: Mapping[str, t.Any]) -> Finding:
    """Check that the driver can access every GPU."""
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
            cause=FAULTS["gpu_lost"].cause,
            remedy=FAULTS["gpu_lost"].remedy,
        )
    return passed(
        "hardware.driver",
        f"driver {version}, CUDA {facts['cuda_version'] or 'unknown'}",
        measured=facts["driver_version"],
        evidence={"backend": facts["backend"], "cuda_version": facts["cuda_version"]},
    )


def connection(facts: Mapping[str, t.Any], count: int) -> Finding:
    """Report how the GPUs are connected. Warn if GPUs communicate through the link between two CPU sockets.

    :param facts: the ``topology`` fact.
    """
    check = "hardware.topology"
    if count < 2:
        return not_tested(check, "fewer than two GPUs: there is nothing to connect")
    known = topology.known_pairs(facts["matrix"])
    if not known:
        return not_tested(check, "the driver does not report how the GPUs are connected")
    tally = {kind: known.count(kind) for kind in sorted(set(known), key=_speed_rank)}
    counts = [f"{kind} on {n} of {len(known)} pairs" for kind, n in tally.items()]
    text = ", ".join(counts) if len(counts) > 1 else known[0]
    details: dict[str, t.Any] = {"measured": text, "evidence": {"pairs": tally}, "source": "nvidia-smi topo -m"}
    if "SYS" in tally:
        return warned(
            check,
            f"{count} GPUs, connected by {text}",
            cause="Some pairs of GPUs communicate through the link between two CPU sockets, the slowest path.",
            remedy="Measure the bandwidth (nccl.bandwidth). If the pairs differ, keep a tensor-parallel group on one "
            "socket.",
            **details,
        )
    return passed(check, f"{count} GPUs, connected by {text}", **details)


def peer_access(facts: Mapping[str, t.Any], count: int) -> Finding:
    """Report how many pairs of GPUs have peer access according to the driver.

    Only NCCL can show whether peer access works.

    :param facts: the ``topology`` fact.
    """
    check = "hardware.p2p"
    if count < 2:
        return not_tested(check, "fewer than two GPUs: there are no peers")
    known = topology.known_pairs(facts["p2p"] or [])
    if not known:
        return not_tested(check, "the driver does not report peer access")
    details: dict[str, t.Any] = {
        "expected": len(known),
        "measured": known.count("OK"),
        "unit": "pairs",
        "evidence": {"states": {state: known.count(state) for state in sorted(set(known))}},
        "source": "nvidia-smi topo -p2p r",
    }
    if set(known) != {"OK"}:
        reasons = "; ".join(topology.P2P_LEGEND[state] for state in sorted({*known} - {"OK"}))
        return warned(
            check,
            f"{known.count('OK')} of {len(known)} pairs of GPUs have peer access: {reasons}",
            cause="Without peer access NCCL copies through host memory, which costs bandwidth and latency.",
            remedy="This is normal in many virtual machines and on GPUs without this feature. In that case, run vLLM "
            "with --disable-custom-all-reduce. Otherwise check IOMMU, ACS and the driver settings on the host.",
            **details,
        )
    return passed(
        check, f"{len(known)} of {len(known)} pairs of GPUs have peer access, according to the driver", **details
    )


def _speed_rank(kind: str) -> tuple[int, str]:
    """Return a key that sorts kinds of connections from the fastest (NVLink) to the slowest."""
    return list(topology.LEGEND).index("NV#" if kind.startswith("NV") else kind), kind


def _not_gathered(check: str, subset: str) -> Finding:
    return not_tested(check, f"not gathered: {subset} is not in gather_subset")


def _source(expected: Expectation) -> str | None:
    names = {"option": "expected_count", "api": "Linode API, gpus of the plan", "instance_type": "the plan's type ID"}
    return names.get(expected.source or "")
