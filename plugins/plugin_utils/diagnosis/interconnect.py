# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths between the GPUs: worse than they could be, or as good as this hardware has them (guide issue 2)."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import Case, listed
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.remedies import NEW_HOST, SHARED_MEMORY, variable

#: Paths on which data between two GPUs leaves the PCIe switch, so that hardware bounds the all-reduce.
_LONG_PATHS: t.Final = ("PHB", "NODE", "SYS")

#: What a slow path makes the GPUs do.
_WAITING: t.Final = ("utilisation.synchronised",)


def sockets(case: Case) -> Diagnosis | None:
    """NCCL between the GPUs of one node over TCP."""
    if not case.transports.get("socket") or case.first("nccl.transport") is None:
        return None
    off = [name for name in ("NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE") if case.is_set(name)]
    if len(off) == 2:
        cause, confidence = "NCCL_P2P_DISABLE and NCCL_SHM_DISABLE are both set: TCP is all that is left.", "high"
        remedy = "Remove both from the server's environment (vllm_environment), then restart vLLM."
    elif off == ["NCCL_SHM_DISABLE"]:
        cause, confidence = "NCCL_SHM_DISABLE is set, and these GPUs have no peer access.", "high"
        remedy = f"Remove it (vllm_environment) and {SHARED_MEMORY}, then restart vLLM."
    else:
        cause = "Peer access and shared memory both failed: most often a container with its own, small /dev/shm."
        # The container's own figure is proof.
        small = any(str(item.measured).startswith("shm_size") for item in case.all("configuration.environment"))
        confidence = "high" if small else "medium"
        off = ["shared memory"] if small else []
        remedy = f"Make shared memory usable: {SHARED_MEMORY}, then restart vLLM."
    return Diagnosis(
        id="interconnect.sockets",
        title="The GPUs of this node talk over TCP sockets",
        cause=cause,
        confidence=confidence,
        evidence=(
            f"NCCL: {case.transports['socket']} connections over NET/Socket",
            *(f"environment: {name}={case.environment[name]}" for name in off if name in case.environment),
            *case.speed_words(),
        ),
        remedy=remedy,
        expected_gain=case.recovery(),
        findings=("nccl.transport", *_environment(case, off), *case.wrong(*_WAITING, "nccl.bandwidth"), *case.slow),
    )


def host_memory(case: Case) -> Diagnosis | None:
    """NCCL through host memory although the GPUs could reach each other."""
    found = case.first("nccl.transport")
    if found is None or not case.transports.get("shm") or case.transports.get("p2p") or case.transports.get("socket"):
        return None
    off = [name for name in ("NCCL_P2P_DISABLE",) if case.is_set(name)]
    level = str(case.environment.get("NCCL_P2P_LEVEL", "")).upper()
    if level in ("LOC", "0"):
        off.append("NCCL_P2P_LEVEL")
    refused = case.first("hardware.p2p")
    if off:
        cause, confidence = f"{listed(off)} switches direct copies between the GPUs off.", "high"
        remedy = f"Remove {listed(off)} (vllm_environment), unless peer access is proven broken on this host."
    elif refused is not None:
        cause, confidence = f"The driver refuses peer access: {refused.summary}.", "medium"
        remedy = "Look at IOMMU and ACS on the host; in a rented machine ask its provider. Until then nothing is lost "
        remedy += "but speed."
    else:
        cause, confidence = "NCCL's own test of peer access failed, or an IOMMU or ACS setting keeps it off.", "medium"
        remedy = "Start once with NCCL_DEBUG=INFO and read why P2P is refused; check nvidia-smi topo -p2p r."
    return Diagnosis(
        id="interconnect.host_memory",
        title="The GPUs copy through host memory although they could reach each other",
        cause=cause,
        confidence=confidence,
        evidence=(
            f"NCCL: {case.transports['shm']} connections over SHM",
            f"topology: {_topology(case)}",
            *(f"environment: {name}={case.environment[name]}" for name in off),
            *case.speed_words(),
        ),
        remedy=remedy,
        expected_gain=case.recovery(),
        findings=(
            "nccl.transport",
            *_environment(case, off),
            *case.wrong("hardware.p2p", "nccl.bandwidth"),
            *case.slow,
        ),
    )


def pcie_downgraded(case: Case) -> Diagnosis | None:
    """A link that runs below its generation or width while the GPU works."""
    found = case.first("hardware.pcie_link")
    if found is None:
        return None
    sure = found.status is Status.FAIL
    return Diagnosis(
        id="interconnect.pcie_downgraded",
        title="A PCIe link runs below what card and slot can do",
        cause="The link was trained too low, or has errors: all traffic of that GPU passes through it."
        if sure
        else "The link is narrow or had to repeat data; an idle card hides its true speed.",
        confidence="high" if sure and case.slow else "medium",
        evidence=(found.summary, *case.speed_words()),
        remedy=NEW_HOST,
        expected_gain=case.recovery() if sure else None,
        findings=("hardware.pcie_link", *case.wrong(*_WAITING, "nccl.bandwidth"), *(case.slow if sure else ())),
    )


def hardware_limit(case: Case) -> Diagnosis | None:
    """The best transport that this topology has, and a speed that warns: nothing to mend."""
    slow = case.unexplained(*case.slow)
    topology = case.first("hardware.topology")
    if (case.size or 1) < 2 or not (slow or topology) or case.first("nccl.transport") is not None:
        return None
    if any(case.first(check).status is Status.FAIL for check in slow):  # type: ignore[union-attr]
        return None
    paths = _paths(case)
    if not paths or not set(paths) <= set(_LONG_PATHS) or not (set(case.transports) & {"p2p", "shm"}):
        return None
    if case.is_set("NCCL_P2P_DISABLE"):
        return None
    best = "P2P" if case.transports.get("p2p") else "shared memory"
    return Diagnosis(
        id="interconnect.hardware_limit",
        title="The GPUs are as fast as their connection lets them be",
        cause=f"Hardware limit, no fix needed: without NVLink, every all-reduce crosses {_topology(case)}, and NCCL "
        f"already takes the best path there is ({best}).",
        confidence="medium",
        evidence=(f"topology: {_topology(case)}", f"NCCL: {best}", *case.speed_words()),
        remedy="None needed. A model that fits on fewer GPUs gains less from more of them: a smaller "
        "--tensor-parallel-size with several servers, or a plan with faster GPUs, gives more.",
        findings=(*slow, *case.wrong("hardware.topology", "hardware.p2p")),
    )


def no_peer_access(case: Case) -> Diagnosis | None:
    """P2P is claimed or forced, and does not work: vLLM or NCCL say so."""
    if "nccl_p2p_unavailable" not in case.faults:
        return None
    return Diagnosis(
        id="interconnect.no_peer_access",
        title="Peer access between the GPUs does not work",
        cause="The GPUs cannot read each other's memory (virtual machine, IOMMU, ACS), and something tried to.",
        confidence="high",
        evidence=(case.quote("nccl_p2p_unavailable"),),
        remedy=f"Set {variable('NCCL_P2P_DISABLE', 1)} and --disable-custom-all-reduce (in vllm_extra_args); keep "
        "shared memory on.",
        findings=(*case.wrong("nccl.errors", "hardware.p2p"), *case.silence),
    )


def _paths(case: Case) -> list[str]:
    """Kinds of connection between different GPUs, each once."""
    matrix = (case.node.gpu_facts.get("topology") or {}).get("matrix") or []
    return sorted({str(cell) for row in matrix for cell in row if cell not in (None, "X")})


def _topology(case: Case) -> str:
    return ", ".join(_paths(case)) or "unknown"


def _environment(case: Case, names: t.Collection[str]) -> tuple[str, ...]:
    """The environment check, where one of these variables is what it complains about."""
    found = case.all("configuration.environment")
    return ("configuration.environment",) if any(name in item.summary for item in found for name in names) else ()
