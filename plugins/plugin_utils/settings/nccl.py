# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose NCCL environment variables based on the GPU topology and on measurements.

NCCL usually finds the fastest path. A variable is set only if NCCL lacks information: the driver denies peer access,
a test or a measurement shows that another path is faster or that a path is broken, or the node lacks InfiniBand.
Sources: NCCL's environment variables in NVIDIA's documentation; vLLM releases 0.6.3 to 0.33.0 for the version bounds.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.units import gb_per_second
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import Setting
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.variable_names import VARIABLES
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import Version

#: Connections between two GPUs, as named by ``nvidia-smi topo -m``, from nearest to farthest.
DISTANCE: t.Final = ("NVL", "PIX", "PXB", "PHB", "NODE", "SYS")
#: Minimum speed-up by another path to override NCCL's choice. Results of all_reduce_perf vary by a few per cent.
MINIMUM_GAIN: t.Final = 1.05
#: First version that trusts the driver about peer access instead of testing it.
_TRUSTS_DRIVER_SINCE: t.Final = (0, 10, 1)
#: First version that no longer sets NCCL_CUMEM_ENABLE=0.
_CUMEM_SINCE: t.Final = (0, 10, 2)

#: First version with FlashInfer's all-reduce for PCIe, and the tensor-parallel sizes for which vLLM has no other fast
#: all-reduce over PCIe. Source: vLLM 0.32, flashinfer_pcie_ipc_all_reduce.py (sizes 2, 4 and 8) and
#: custom_all_reduce.py (at most two GPUs without NVLink).
_PCIE_ALL_REDUCE_SINCE: t.Final = (0, 32)
_PCIE_ALL_REDUCE_SIZES: t.Final = (4, 8)

IB_DISABLE: t.Final = Setting(
    "NCCL_IB_DISABLE", "1", "The node has no InfiniBand device, so NCCL need not search for one."
)
_TEST_PEER_ACCESS: t.Final = Setting(
    "VLLM_SKIP_P2P_CHECK", "0", "vLLM tests peer access instead of trusting the driver."
)
_SHM_DISABLE: t.Final = Setting(
    "NCCL_SHM_DISABLE", "1", "Measured: all-reduce fails with shared memory and works without it."
)
_CUMEM_DISABLE: t.Final = Setting(
    "NCCL_CUMEM_ENABLE", "0", "Measured: all-reduce fails with CUDA's cuMem API and works without it."
)
_CUSTOM_ALL_REDUCE_OFF: t.Final = Setting(
    "disable_custom_all_reduce", True, "vLLM's custom all-reduce needs peer access, which is disabled."
)


@dataclass(frozen=True)
class Link:
    """The connection between the GPUs of one server.

    ``farthest``: the slowest connection of any pair, one of ``DISTANCE``, or ``None`` if any connection is unknown.
    ``peer``: whether the driver allows peer access between all pairs, or ``None`` if unknown.
    """

    farthest: str | None
    peer: bool | None


@dataclass(frozen=True)
class NcclSettings:
    """Environment variables and server arguments for NCCL, and a description of the interconnect."""

    environment: tuple[Setting, ...]
    arguments: tuple[Setting, ...]
    note: str


def link_of(topology: Mapping[str, t.Any] | None, size: int, replicas: int = 1) -> Link:
    """Return the link between the first ``size`` GPUs, according to the ``topology`` fact from ``gpu_facts``.

    Each further replica uses the next ``size`` GPUs. All replicas share one environment, so the slowest link of any
    replica is returned.
    """
    matrix = (topology or {}).get("matrix") or []
    peers = (topology or {}).get("p2p") or []
    cells = [cell or "" for cell in _cells(matrix, size, replicas)]
    connections = ["NVL" if cell.startswith("NV") else cell for cell in cells]
    is_known = bool(connections) and set(DISTANCE).issuperset(connections)
    farthest = max(connections, key=DISTANCE.index) if is_known else None
    return Link(farthest, _peer_access(_cells(peers, size, replicas)))


def nccl_settings(
    topology: Mapping[str, t.Any] | None,
    size: int,
    version: Version,
    measured: Mapping[str, float | None] | None = None,
    infiniband: bool | None = None,
    debug: str = "INFO",
    replicas: int = 1,
    stages: int = 1,
    peer_data: Mapping[str, t.Any] | None = None,
    nodes: int = 1,
) -> NcclSettings:
    """Return the NCCL settings for a server with ``size`` GPUs per replica and node, in ``stages`` pipeline stages.

    :param measured: bus bandwidth in bytes per second by variant: ``default``, ``p2p_off``, ``shm_off``,
        ``cumem_off``; ``None`` for a variant that failed. Variants that were not measured are absent.
    :param infiniband: whether the node has an InfiniBand device; ``None`` if unknown.
    :param peer_data: the result of ``p2p_check``. A fault that it has proven takes precedence over ``measured``.
    :param nodes: number of nodes that one replica spans.
    """
    if size < 2 and nodes < 2:
        return NcclSettings((), (), "one GPU: NCCL is not used")
    link, bandwidth = link_of(topology, size, replicas), dict(measured or {})
    fault = peer_fault(peer_data)
    peer_off = fault or _peer_off(link, bandwidth)
    log = "Logs the chosen transports at start for the validate role to check; later only errors."
    environment = [Setting("NCCL_DEBUG", debug, log)]
    if infiniband is False:
        environment.append(IB_DISABLE)
    if peer_off:
        environment.append(Setting("NCCL_P2P_DISABLE", "1", peer_off))
        environment += [_TEST_PEER_ACCESS] if version >= _TRUSTS_DRIVER_SINCE else []
        environment += _without_peer_access(peer_data, version)
    else:
        environment += _peer_access_settings(link, bandwidth, size // stages, version)
        environment += [_SHM_DISABLE] if _works_only(bandwidth, "shm_off") else []
    if version >= _CUMEM_SINCE and _works_only(bandwidth, "cumem_off"):
        environment.append(_CUMEM_DISABLE)
    arguments = (_CUSTOM_ALL_REDUCE_OFF,) if fault or (peer_off and size == 2) else ()
    return NcclSettings(tuple(environment), arguments, _note(link))


def peer_access_off(
    topology: Mapping[str, t.Any] | None,
    size: int,
    measured: Mapping[str, float | None] | None = None,
    peer_data: Mapping[str, t.Any] | None = None,
) -> str | None:
    """Return a message that explains why peer access must be disabled, or ``None`` if it can stay enabled."""
    return peer_fault(peer_data) or _peer_off(link_of(topology, size), dict(measured or {}))


def peer_fault(peer_data: Mapping[str, t.Any] | None) -> str | None:
    """Return a message with the fault of peer access that ``p2p_check`` has proven, or ``None`` without a fault."""
    if not peer_data or not peer_data["settings"]["arguments"]:
        return None
    return f"Tested: {peer_data['findings'][0]['summary']}."


def _without_peer_access(peer_data: Mapping[str, t.Any] | None, version: Version) -> list[Setting]:
    """Return the variables that keep vLLM's other all-reduces from peer access, of those that ``version`` knows."""
    fault, known = peer_fault(peer_data), VARIABLES.names_in(version)
    variables = peer_data["settings"]["environment"] if peer_data and fault else {}
    return [Setting(name, value, fault or "") for name, value in variables.items() if name in known]


def _peer_off(link: Link, bandwidth: Mapping[str, float | None]) -> str | None:
    if link.farthest == "NVL":
        return None
    default, without = bandwidth.get("default"), bandwidth.get("p2p_off")
    if _works_only(bandwidth, "p2p_off"):
        return "Measured: all-reduce fails with peer access and works without it (common in virtual machines)."
    if default and without and without > MINIMUM_GAIN * default:
        return f"Measured: {gb_per_second(without)} through host memory, {gb_per_second(default)} with peer access."
    if link.peer is False:
        return "The driver denies peer access between some GPUs (due to a virtual machine or the chipset)."
    return None


def _peer_access_settings(
    link: Link, bandwidth: Mapping[str, float | None], tensor_parallel_size: int, version: Version
) -> list[Setting]:
    """Return the settings for PCIe without NVLink if measurements show that peer access is faster than host memory.

    NCCL_P2P_LEVEL is needed if NCCL might not use peer access by default. FlashInfer's all-reduce accelerates decoding.
    It is not used across sockets, where its benefit is not proven.
    """
    default, without = bandwidth.get("default"), bandwidth.get("p2p_off")
    if not (link.peer and link.farthest != "NVL" and default and without and default > MINIMUM_GAIN * without):
        return []
    paths = {"PHB": " through the host bridge", "NODE": " across host bridges", "SYS": " across sockets"}
    path = paths.get(link.farthest or "", "")
    why = f"Measured: {gb_per_second(default)} with peer access{path}, {gb_per_second(without)} without it."
    settings = [Setting("NCCL_P2P_LEVEL", "PHB" if link.farthest == "PHB" else "SYS", why)] if path else []
    sizes = _PCIE_ALL_REDUCE_SIZES if link.farthest != "SYS" else ()
    if version >= _PCIE_ALL_REDUCE_SINCE and tensor_parallel_size in sizes:
        why = f"{why} More than two GPUs without NVLink have no other all-reduce for decoding besides NCCL's."
        settings.append(Setting("VLLM_ALLREDUCE_USE_FLASHINFER_PCIE_IPC", "1", why))
    return settings


def _works_only(bandwidth: Mapping[str, float | None], variant: str) -> bool:
    """Return whether all-reduce fails with NCCL's default settings, but works with ``variant``, such as ``p2p_off``."""
    return bool(bandwidth.get(variant)) and "default" in bandwidth and not bandwidth["default"]


def _note(link: Link) -> str:
    if link.farthest is None:
        return "interconnect unknown: NCCL chooses the path"
    if link.farthest == "NVL":
        return "NVLink between all GPUs, which NCCL uses by default"
    where = {
        "PIX": "PCIe, one switch",
        "PXB": "PCIe, several switches",
        "PHB": "PCIe, same socket",
        "NODE": "PCIe, same socket",
        "SYS": "PCIe, across sockets",
    }[link.farthest]
    peers = {True: "with peer access", False: "without peer access", None: "peer access unknown"}[link.peer]
    return f"{where}, {peers}"


def _peer_access(cells: Sequence[str | None]) -> bool | None:
    if any(cell not in (None, "OK", "U") for cell in cells):
        return False
    return True if cells and all(cell == "OK" for cell in cells) else None


def _cells(matrix: Sequence[Sequence[str | None]], size: int, replicas: int) -> list[str | None]:
    """Return the cells of ``matrix`` for all pairs of GPUs in each group of ``size`` GPUs.

    ``matrix`` has one row and one column for each GPU. Missing cells are returned as None.
    """
    if not matrix:
        return []
    return [
        matrix[row][column] if row < len(matrix) and column < len(matrix[row]) else None
        for first in range(0, size * replicas, size)
        for row in range(first, first + size)
        for column in range(first, first + size)
        if row != column
    ]
