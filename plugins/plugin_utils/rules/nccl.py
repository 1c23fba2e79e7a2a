# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NCCL: errors in the logs, and whether the transport is the best that this hardware has."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import (
    Finding,
    Status,
    failed,
    not_tested,
    passed,
    warned,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.nccl import peer_access_off

#: Check -> the measurements it needs.
CHECKS: t.Final[dict[str, tuple[str, ...]]] = {
    "nccl.errors": ("logs",),
    "nccl.transport": ("logs",),
    "nccl.bandwidth": ("nccl_bandwidth",),
}

#: Pairs of GPUs joined like this can use peer-to-peer in principle; PHB and beyond cross the CPU's host bridge, where
#: NCCL itself prefers shared memory unless NCCL_P2P_LEVEL says otherwise (NCCL documentation, NCCL_P2P_LEVEL).
_P2P_PATHS: t.Final = ("NV", "PIX", "PXB")

#: Class of nccl_log_scan -> family.
_FAMILIES: t.Final = {
    "transport_p2p": "p2p",
    "transport_shm": "shm",
    "transport_net_socket": "socket",
    "transport_net_ib": "ib",
}

#: Classes of nccl_log_scan that hint at a hang.
_HANGS: t.Final = ("worker_hang", "startup_hang")

_SOURCE: t.Final = "NCCL prefers P2P, then shared memory, then the network; within one node a socket is never the best"


def evaluate(node: NodeFacts) -> list[Finding]:
    """Findings of area ``nccl``; the transport is judged against the topology."""
    findings = [_hang(item) if hangs(node, item) else item for item in node.findings("nccl")]
    judged = transport(node)
    if judged is not None:
        findings = [item for item in findings if item.check != "nccl.transport"] + [judged]
    asked = node.nccl_bandwidth
    if not (asked.taken or asked.crashed or asked.unreachable):
        findings.append(not_tested("nccl.bandwidth", "not asked for: validate_nccl_bandwidth measures it"))
    return findings


def hangs(node: NodeFacts, finding: Finding) -> bool:
    """Whether this is a hang that the log only hints at, while the server under load gives no answer.

    A worker that waits long is a warning by itself: compilation does that too. Without answers it is the fault.
    """
    if finding.status is not Status.WARN:
        return False
    classes = {item.get("summary"): item.get("class") for item in node.logs.data.get("findings") or ()}
    unanswered = any(item.status is Status.FAIL for item in node.findings("performance"))
    return classes.get(finding.summary) in _HANGS and unanswered


def _hang(finding: Finding) -> Finding:
    return dataclasses.replace(finding, status=Status.FAIL, summary=f"{finding.summary}, and requests get no answer")


def families(transports: t.Mapping[str, t.Any]) -> dict[str, int]:
    """Connections per family (``p2p``, ``shm``, ``socket``, ``ib``) from ``nccl_log_scan``'s transport classes."""
    return {family: int(transports[name]) for name, family in _FAMILIES.items() if transports.get(name)}


def transport(node: NodeFacts) -> Finding | None:
    """Which path the GPUs of one node use; ``None`` where the logs show no connection lines."""
    counts = families(node.logs.data.get("transports") or {})
    if not counts:
        return _unknown(node)
    shown = ", ".join(f"{count} x {family}" for family, count in sorted(counts.items(), key=lambda item: -item[1]))
    figures: dict[str, t.Any] = {
        "measured": shown,
        "unit": "connections",
        "source": _SOURCE,
        "evidence": {"transports": counts},
    }
    if counts.get("socket") and node.spans_nodes:
        return passed("nccl.transport", f"the group spans nodes, with TCP sockets between them: {shown}", **figures)
    if counts.get("socket"):
        return failed(
            "nccl.transport",
            "NCCL sends between the GPUs of this node over TCP sockets",
            expected="P2P or SHM",
            cause="Peer access and shared memory were both unavailable or switched off, so NCCL fell back to TCP.",
            remedy=(
                "Remove NCCL_P2P_DISABLE and NCCL_SHM_DISABLE from the server's environment; run the container with "
                "--ipc=host (vllm_ipc_mode: host) or a large --shm-size, then restart vLLM."
            ),
            **figures,
        )
    near = p2p_possible(node)
    if counts.get("shm") and not counts.get("p2p") and near:
        return warned(
            "nccl.transport",
            "NCCL copies through host memory although the GPUs could reach each other",
            expected="P2P",
            cause="NCCL_P2P_DISABLE=1, a failed peer access test, or an IOMMU/ACS setting of the host keeps P2P off.",
            remedy="Unset NCCL_P2P_DISABLE; check `nvidia-smi topo -p2p r`. On VMs prove P2P with a copy test first.",
            **figures,
        )
    expected = "P2P" if near else "P2P or SHM"
    kinds = " and ".join(family.upper() for family in ("p2p", "shm", "ib") if counts.get(family))
    return passed("nccl.transport", f"GPUs connected over {kinds}", expected=expected, **figures)


def p2p_possible(node: NodeFacts) -> bool:
    """Whether some pair of GPUs has a path short enough for peer-to-peer by NCCL's own default.

    Not where a measurement proves peer access broken or slower than host memory. That the driver refuses it between
    such GPUs is a fault of its own (hardware.p2p), and no reason to be content.
    """
    topology = node.gpu_facts.get("topology") or {}
    size = node.group_size or len(node.raw_devices)
    if peer_access_off({**topology, "p2p": None}, size, node.nccl_bandwidth.data.get("bandwidth")):
        return False
    return any(str(cell or "").startswith(_P2P_PATHS) for row in topology.get("matrix") or [] for cell in row)


def _unknown(node: NodeFacts) -> Finding | None:
    if not node.logs.taken or any(item.check == "nccl.transport" for item in node.findings("nccl")):
        return None
    if node.group_size == 1:
        return not_tested("nccl.transport", "one GPU in the group: NCCL has nothing to connect")
    return not_tested(
        "nccl.transport",
        "the logs name no transport: start vLLM once with NCCL_DEBUG=INFO to see it",
    )
