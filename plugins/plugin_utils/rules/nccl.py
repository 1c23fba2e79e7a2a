# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check NCCL: errors in the logs, the bandwidth, and whether NCCL uses the best transport that the hardware offers."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import (
    Finding,
    Status,
    failed,
    not_tested,
    passed,
    warned,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.bandwidth import CHECK, Measured, judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.nccl import link_of, peer_access_off
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.interconnect import (
    bus_bandwidth,
    nvlink_rate,
    pcie_rate,
)

#: Check whose finding from ``nccl_log_scan`` is replaced: the module reports the transports in the log, but only the
#: topology and the parallel sizes show which transport would be best.
TRANSPORT: t.Final = "nccl.transport"

#: Connection types that support peer-to-peer access between GPUs. PHB and longer paths cross the CPU's host bridge. On
#: these paths, NCCL prefers shared memory unless NCCL_P2P_LEVEL is set (NCCL documentation, NCCL_P2P_LEVEL).
_P2P_PATHS: t.Final = ("NV", "PIX", "PXB")

#: Backends in vLLM's log that use NCCL for the transfer.
_NCCL_BACKENDS: t.Final = ("PYNCCL", "NCCL_SYMM_MEM")

#: Transport family for each transport class that ``nccl_log_scan`` reports.
_FAMILIES: t.Final = {
    "transport_p2p": "p2p",
    "transport_shm": "shm",
    "transport_net_socket": "socket",
    "transport_net_ib": "ib",
}

#: Fault classes that are normally a warning, but a failure if the server does not respond.
_HANGS: t.Final = ("worker_hang", "startup_hang")

_SOURCE: t.Final = "NCCL prefers P2P, then shared memory, then the network; a socket is never the best path in one node"


def evaluate(node: NodeFacts) -> list[Finding]:
    """Return the findings of the ``nccl`` checks."""
    findings = [_hang(item) if hangs(node, item) else item for item in node.findings("nccl") if item.check != TRANSPORT]
    findings = [_with_limit(node, item) if item.check == CHECK else item for item in findings]
    transport_finding = transport(node)
    findings += [transport_finding] if transport_finding is not None else []
    bandwidth = node.nccl_bandwidth
    if not (bandwidth.taken or bandwidth.crashed or bandwidth.unreachable):
        findings.append(not_tested(CHECK, "set validate_nccl_bandwidth: true to measure it"))
    return findings


def _with_limit(node: NodeFacts, finding: Finding) -> Finding:
    """Return the finding for a bandwidth that ``nccl_bandwidth`` measured without knowing a limit; else ``finding``."""
    data = node.nccl_bandwidth.data
    if finding.status is not Status.PASS or finding.expected is not None or not data.get("gpus"):
        return finding
    limit = bandwidth_limit(node, data["gpus"])
    if limit is None:
        reason = "but the limit is unknown, because the driver does not report the links of the GPUs"
        return not_tested(CHECK, f"{finding.summary}, {reason}", measured=finding.measured, unit=finding.unit)
    return judge({name: Measured(value) for name, value in data["bandwidth"].items()}, *limit)


def bandwidth_limit(node: NodeFacts, gpus: int) -> tuple[float, str] | None:
    """Return the bus bandwidth in bytes per second that ``gpus`` GPUs of this node should reach, and its source.

    Peer-to-peer access over PCIe is expected only where NCCL uses it by default. Return None if the limit is unknown.
    """
    name = next(iter(node.gpu_names), None) if len(node.gpu_names) == 1 else None
    topology = node.gpu_facts.get("topology") or {}
    link = link_of(topology, gpus)
    if link.farthest == "NVL":
        bonds = [int(cell[2:]) for row in topology["matrix"] for cell in row if str(cell).startswith("NV")]
        return bus_bandwidth("nvlink", gpus, name, nvlink_rate(name, min(bonds)))
    rates = [rate for device in node.devices if (rate := pcie_rate(device.get("pcie") or {})) is not None]
    path = "pcie" if link.peer and (link.farthest or "").startswith(_P2P_PATHS) else "shm"
    return bus_bandwidth(path, gpus, name, min(rates)) if rates else None


def hangs(node: NodeFacts, finding: Finding) -> bool:
    """Return whether ``finding`` warns of a hang and the server did not respond to the load test.

    A worker that waits for a long time is only a warning, because compilation causes long waits too. If the server does
    not respond either, the worker hangs.
    """
    if finding.status is not Status.WARN:
        return False
    classes = {item.get("summary"): item.get("class") for item in node.logs.data.get("findings") or ()}
    unanswered = any(item.status is Status.FAIL for item in node.findings("performance"))
    return classes.get(finding.summary) in _HANGS and unanswered


def _hang(finding: Finding) -> Finding:
    return dataclasses.replace(finding, status=Status.FAIL, summary=f"{finding.summary}, and requests get no response")


def families(transports: Mapping[str, t.Any]) -> dict[str, int]:
    """Return the number of connections for each transport family: ``p2p``, ``shm``, ``socket`` and ``ib``."""
    return {family: int(transports[name]) for name, family in _FAMILIES.items() if transports.get(name)}


def transport(node: NodeFacts) -> Finding | None:
    """Return the ``nccl.transport`` finding, based on the connections found in the logs, or None if no log was read."""
    counts = families(node.logs.data.get("transports") or {})
    if not counts:
        return _without_connections(node)
    shown = ", ".join(f"{count} x {family}" for family, count in sorted(counts.items(), key=lambda item: -item[1]))
    figures: dict[str, t.Any] = {
        "measured": shown,
        "unit": "connections",
        "source": _SOURCE,
        "evidence": {"transports": counts},
    }
    if counts.get("socket") and node.spans_nodes:
        return passed(TRANSPORT, f"the group spans several nodes, connected by TCP sockets: {shown}", **figures)
    near = p2p_possible(node)
    if counts.get("socket"):
        verdict, fault, expected = failed, FAULTS["transport_net_socket"], "P2P or SHM"
        summary = "NCCL uses TCP sockets between the GPUs of this node"
        if (backend := fast_all_reduce(node)) is not None:
            verdict = warned
            summary += f"; decoding does not, because vLLM's {backend} all-reduce works, but long prompts are slower"
    elif counts.get("shm") and not counts.get("p2p") and near:
        verdict, fault, expected = warned, FAULTS["transport_shm"], "P2P"
        summary = "NCCL copies through host memory although the GPUs support peer-to-peer access"
    else:
        kinds = " and ".join(family.upper() for family in ("p2p", "shm", "ib") if counts.get(family))
        return passed(TRANSPORT, f"GPUs connected over {kinds}", expected="P2P" if near else "P2P or SHM", **figures)
    return verdict(TRANSPORT, summary, expected=expected, cause=fault.cause, remedy=fault.remedy, **figures)


def fast_all_reduce(node: NodeFacts) -> str | None:
    """Return vLLM's backend for the small all-reduces of decoding if it works without NCCL, or None."""
    first = next(iter(node.engine.get("all_reduce_backends") or ()), "PYNCCL")
    return None if first in _NCCL_BACKENDS else str(first)


def p2p_possible(node: NodeFacts) -> bool:
    """Return whether NCCL would, by default, use peer-to-peer access between at least two of the GPUs.

    False if a test or a measurement shows that peer access is broken or slower than host memory. Whether the driver
    allows peer access is ignored here, because a driver that denies peer access between close GPUs is a fault
    (``hardware.p2p``).
    """
    topology = node.gpu_facts.get("topology") or {}
    size = node.group_size or len(node.devices)
    measured = node.nccl_bandwidth.data.get("bandwidth")
    if peer_access_off({**topology, "p2p": None}, size, measured, node.peer_data.data):
        return False
    return any(str(cell or "").startswith(_P2P_PATHS) for row in topology.get("matrix") or [] for cell in row)


def _without_connections(node: NodeFacts) -> Finding | None:
    if not node.logs.taken:
        return None
    reported = [item for item in node.findings("nccl") if item.check == TRANSPORT]
    # Log lines such as "custom all-reduce is disabled" prove that the ranks were connected, but not by which transport.
    notes = [item for item in reported if item.status is Status.PASS]
    if notes:
        return notes[-1]
    if node.group_size == 1:
        return not_tested(TRANSPORT, "only one GPU in the group, so there is nothing for NCCL to connect")
    if reported:
        return reported[-1]
    reason = "the logs do not show the NCCL transport; start vLLM once with NCCL_DEBUG=INFO to log it"
    return not_tested(TRANSPORT, reason)
