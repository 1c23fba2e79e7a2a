# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Diagnose slow data paths between the GPUs, whether due to settings, a fault or the limits of the hardware.

Source: multi-GPU guide, issue 2.
"""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import (
    DiagnosisContext,
    conclude_from_log,
    listed,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis, conclude

#: Connection types with which traffic between two GPUs leaves the PCIe switch. With these, the hardware limits the
#: speed of the all-reduce.
_LONG_PATHS: t.Final = ("PHB", "NODE", "SYS")

#: Checks that fail if the path between the GPUs is slow.
_SLOW_PATH: t.Final = ("utilisation.synchronised", "nccl.bandwidth")


def wrong_data(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose transfers between the GPUs that go wrong, and wrong answers that follow from them."""
    finding = context.worst_finding("hardware.peer_data")
    if finding is None or finding.status is not Status.FAIL:
        return None
    answers = (*context.wrong("output.valid", "output.reference"), *context.computes_nan)
    return conclude(
        "interconnect.wrong_data",
        confidence="high",
        evidence=(item.summary for item in context.worst_findings("hardware.peer_data", *answers)),
        findings=("hardware.peer_data", *answers),
        finding=finding,
    )


def sockets(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose NCCL traffic over TCP sockets between GPUs of the same node."""
    node = context.node
    if not context.transports.get("socket") or context.worst_finding("nccl.transport") is None:
        return None
    disabled = [name for name in ("NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE") if node.is_set(name)]
    # A warning about the container's shm_size proves that shared memory is too small.
    small = any(str(item.measured).startswith("shm_size") for item in context.all("configuration.environment"))
    case, confidence, settings = None, "high" if small else "medium", ["shared memory"] if small else []
    if len(disabled) == 2:
        case, confidence, settings = "both_disabled", "high", disabled
    elif disabled == ["NCCL_SHM_DISABLE"]:
        case, confidence, settings = "shared_memory_disabled", "high", disabled
    return conclude(
        "interconnect.sockets",
        case,
        confidence=confidence,
        evidence=(
            f"NCCL: {context.transports['socket']} connections over NET/Socket",
            *_variables(context, settings),
            *context.speed_evidence(),
        ),
        gain=context.recovery(),
        findings=("nccl.transport", *_environment(context, settings), *context.wrong(*_SLOW_PATH), *context.slow),
    )


def host_memory(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose NCCL traffic through host memory between GPUs that support peer-to-peer access."""
    transport = context.worst_finding("nccl.transport")
    if transport is None or set(context.transports) & {"p2p", "socket"} or not context.transports.get("shm"):
        return None
    disabled = ["NCCL_P2P_DISABLE"] if context.node.is_set("NCCL_P2P_DISABLE") else []
    if (context.node.variable("NCCL_P2P_LEVEL") or "").upper() in ("LOC", "0"):
        disabled.append("NCCL_P2P_LEVEL")
    refused = context.worst_finding("hardware.p2p")
    return conclude(
        "interconnect.host_memory",
        "disabled" if disabled else "refused" if refused is not None else None,
        confidence="high" if disabled else "medium",
        evidence=(
            f"NCCL: {context.transports['shm']} connections over SHM",
            f"topology: {_topology(context)}",
            *_variables(context, disabled),
            *context.speed_evidence(),
        ),
        gain=context.recovery(),
        findings=(
            "nccl.transport",
            *_environment(context, disabled),
            *context.wrong("hardware.p2p", "nccl.bandwidth"),
            *context.slow,
        ),
        names=listed(disabled) if disabled else "",
        finding=refused,
    )


def pcie_downgraded(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a PCIe link that runs below its maximum generation or width under load."""
    link = context.worst_finding("hardware.pcie_link")
    if link is None:
        return None
    failed = link.status is Status.FAIL
    return conclude(
        "interconnect.pcie_downgraded",
        confidence="high" if failed and context.slow else "medium",
        evidence=(link.summary, *context.speed_evidence()),
        gain=context.recovery() if failed else None,
        findings=("hardware.pcie_link", *context.wrong(*_SLOW_PATH), *(context.slow if failed else ())),
        finding=link,
    )


def hardware_limit(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a moderately slow node that already uses the best NCCL transport for its GPU topology."""
    slow = context.unexplained(*context.slow)
    topology = context.worst_finding("hardware.topology")
    if (context.node.group_size or 1) < 2 or not (slow or topology) or context.wrong("nccl.transport"):
        return None
    if context.any_fails(*slow) or context.node.is_set("NCCL_P2P_DISABLE"):
        return None
    paths = _paths(context)
    if not paths or not set(paths) <= set(_LONG_PATHS) or not (set(context.transports) & {"p2p", "shm"}):
        return None
    transport = "P2P" if context.transports.get("p2p") else "shared memory"
    return conclude(
        "interconnect.hardware_limit",
        confidence="medium",
        evidence=(f"topology: {_topology(context)}", f"NCCL: {transport}", *context.speed_evidence()),
        findings=(*slow, *context.wrong("hardware.topology", "hardware.p2p")),
        path=_topology(context),
        transport=transport,
    )


def no_peer_access(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose peer-to-peer access that is reported as available but does not work."""
    cause = "interconnect.no_peer_access"
    return conclude_from_log(context, "nccl_p2p_unavailable", cause, "nccl.errors", "hardware.p2p")


def _paths(context: DiagnosisContext) -> list[str]:
    """Return the distinct connection types between the GPUs, such as ``PIX`` or ``SYS``."""
    matrix = (context.node.gpu_facts.get("topology") or {}).get("matrix") or []
    return sorted({str(cell) for row in matrix for cell in row if cell not in (None, "X")})


def _topology(context: DiagnosisContext) -> str:
    return ", ".join(_paths(context)) or "unknown"


def _variables(context: DiagnosisContext, names: t.Iterable[str]) -> list[str]:
    """Return the environment variables in ``names`` that are set, formatted as evidence."""
    values = {name: context.node.variable(name) for name in names}
    return [f"environment: {name}={value}" for name, value in values.items() if value is not None]


def _environment(context: DiagnosisContext, names: t.Collection[str]) -> tuple[str, ...]:
    """Return ``("configuration.environment",)`` if a finding of that check mentions a variable listed in ``names``.

    Otherwise, return an empty tuple.
    """
    check = "configuration.environment"
    return (check,) if any(name in item.summary for item in context.all(check) for name in names) else ()
