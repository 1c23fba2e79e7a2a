# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment of NCCL from the measured topology: each variable only where its condition holds.

NCCL finds the fastest path by itself. A variable is set where NCCL cannot know better: the driver refuses peer access,
a measurement says that another path is faster or that one is broken, or there is no such hardware to look for.
Source: NCCL's environment variables in NVIDIA's documentation; vLLM releases 0.6.3 to 0.33.0 for the version bounds.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import Setting

Version = tuple[int, ...]

#: How two GPUs are connected, from near to far; the words of ``nvidia-smi topo -m``.
DISTANCE: t.Final = ("NVL", "PIX", "PXB", "PHB", "NODE", "SYS")
#: A path must be faster by this factor before we overrule NCCL; all_reduce_perf varies by a few per cent.
CLEARLY: t.Final = 1.05
#: vLLM trusts the driver's word on peer access from here on instead of trying it.
_TRUSTS_DRIVER: t.Final = (0, 10, 1)
#: Up to here vLLM itself sets NCCL_CUMEM_ENABLE=0.
_CUMEM_IS_NCCLS: t.Final = (0, 10, 2)


@dataclass(frozen=True)
class Link:
    """How the GPUs of one server reach each other.

    ``farthest`` is the worst connection of any pair, one of ``DISTANCE``, or ``None`` where one is unknown. ``peer`` is
    whether the driver allows peer access: all pairs (true), not all (false), unknown (``None``).
    """

    farthest: str | None
    peer: bool | None


@dataclass(frozen=True)
class NcclSettings:
    """``environment`` for the server, ``arguments`` for its command line, ``note`` on the interconnect in one line."""

    environment: tuple[Setting, ...]
    arguments: tuple[Setting, ...]
    note: str


def link_of(topology: Mapping[str, t.Any] | None, size: int, copies: int = 1) -> Link:
    """The link between the first ``size`` GPUs, from the fact ``topology`` of ``gpu_facts``.

    Of several ``copies`` of a server, each on the next ``size`` GPUs, it is the worst: they have one environment.
    """
    matrix = (topology or {}).get("matrix") or []
    peers = (topology or {}).get("p2p") or []
    kinds = _cells(matrix, size, copies)
    ranks = [_distance(kind) for kind in kinds]
    known = [rank for rank in ranks if rank is not None]
    farthest = DISTANCE[max(known)] if ranks and len(known) == len(ranks) else None
    words = _cells(peers, size, copies)
    if words and any(word not in (None, "OK", "U") for word in words):
        peer: bool | None = False
    else:
        peer = True if words and all(word == "OK" for word in words) else None
    return Link(farthest, peer)


def nccl_settings(
    topology: Mapping[str, t.Any] | None,
    size: int,
    version: Version,
    measured: Mapping[str, float | None] | None = None,
    infiniband: bool | None = None,
    debug: str = "INFO",
    copies: int = 1,
) -> NcclSettings:
    """What to set for ``size`` GPUs that share one model, and for as many more of each of its other ``copies``.

    :param measured: bus bandwidth in bytes per second by variant: ``default``, ``p2p_off``, ``shm_off``,
        ``cumem_off``; ``None`` where that variant failed. Variants that were not tried are absent.
    :param infiniband: whether the node has an InfiniBand device; ``None`` where nobody looked.
    """
    if size < 2:
        return NcclSettings((), (), "one GPU: NCCL is not used")
    link, tried = link_of(topology, size, copies), dict(measured or {})
    environment = [_debug(debug)]
    arguments: list[Setting] = []
    if infiniband is False:
        environment.append(
            Setting("NCCL_IB_DISABLE", "1", "The node has no InfiniBand device: NCCL need not look for one at start.")
        )
    peer_off = _peer_off(link, tried)
    if peer_off:
        environment.append(Setting("NCCL_P2P_DISABLE", "1", peer_off))
        if size == 2:
            arguments.append(
                Setting("disable_custom_all_reduce", True, "vLLM's own all-reduce needs the peer access that is off.")
            )
        if version >= _TRUSTS_DRIVER:
            environment.append(
                Setting("VLLM_SKIP_P2P_CHECK", "0", "vLLM tries peer access instead of trusting the driver's word.")
            )
    else:
        environment += _peer_level(link, tried)
        if _works(tried, "shm_off") and _failed(tried, "default"):
            environment.append(
                Setting("NCCL_SHM_DISABLE", "1", "Measured: all-reduce fails with shared memory and works without it.")
            )
    if version >= _CUMEM_IS_NCCLS and _failed(tried, "default") and _works(tried, "cumem_off"):
        environment.append(
            Setting("NCCL_CUMEM_ENABLE", "0", "Measured: all-reduce fails with CUDA's cuMem API and works without it.")
        )
    return NcclSettings(tuple(environment), tuple(arguments), _note(link))


def peer_access_off(
    topology: Mapping[str, t.Any] | None, size: int, measured: Mapping[str, float | None] | None = None
) -> str | None:
    """Why peer access between ``size`` GPUs has to be off, or ``None`` where nothing says so."""
    return _peer_off(link_of(topology, size), dict(measured or {}))


def _debug(level: str) -> Setting:
    return Setting(
        "NCCL_DEBUG", level, "Shows at start which path NCCL took, which validate checks; later only faults."
    )


def _peer_off(link: Link, tried: Mapping[str, float | None]) -> str | None:
    """Why peer access has to be off, or ``None``."""
    if link.farthest == "NVL":
        return None
    default, without = tried.get("default"), tried.get("p2p_off")
    if _failed(tried, "default") and without:
        return "Measured: all-reduce fails with peer access and works without it (common in virtual machines)."
    if default and without and without > CLEARLY * default:
        return (
            f"Measured: {without / 1e9:.1f} GB/s through host memory against {default / 1e9:.1f} GB/s with peer access."
        )
    if link.peer is False:
        return "The driver allows no peer access between all GPUs (a virtual machine, or the chipset)."
    return None


def _peer_level(link: Link, tried: Mapping[str, float | None]) -> list[Setting]:
    """NCCL gives up peer access beyond a distance that depends on the CPU: hold it where it is proven to be faster."""
    default, without = tried.get("default"), tried.get("p2p_off")
    if link.peer is not True or link.farthest not in ("PHB", "NODE", "SYS"):
        return []
    if not (default and without and default > CLEARLY * without):
        return []
    level = "SYS" if link.farthest in ("NODE", "SYS") else link.farthest
    where = "across sockets" if level == "SYS" else "through the host bridge"
    return [
        Setting(
            "NCCL_P2P_LEVEL",
            level,
            f"Measured: {default / 1e9:.1f} GB/s with peer access {where}, {without / 1e9:.1f} GB/s without it.",
        )
    ]


def _works(tried: Mapping[str, float | None], variant: str) -> bool:
    return bool(tried.get(variant))


def _failed(tried: Mapping[str, float | None], variant: str) -> bool:
    return variant in tried and not tried[variant]


def _note(link: Link) -> str:
    if link.farthest is None:
        return "interconnect unknown: NCCL chooses by itself"
    if link.farthest == "NVL":
        return "NVLink between all GPUs: NCCL uses it by itself"
    where = {
        "PIX": "PCIe, one switch",
        "PXB": "PCIe, several switches",
        "PHB": "PCIe, same socket",
        "NODE": "PCIe, same socket",
        "SYS": "PCIe, across sockets",
    }[link.farthest]
    peers = {True: "with peer access", False: "without peer access", None: "peer access unknown"}[link.peer]
    return f"{where}, {peers}"


def _cells(matrix: Sequence[Sequence[str | None]], size: int, copies: int) -> list[str | None]:
    """Cells of each pair within each group of ``size`` GPUs, in both directions; missing ones are ``None``."""
    if not matrix:
        return []
    return [
        matrix[row][column] if row < len(matrix) and column < len(matrix[row]) else None
        for first in range(0, size * copies, size)
        for row in range(first, first + size)
        for column in range(first, first + size)
        if row != column
    ]


def _distance(kind: str | None) -> int | None:
    name = "NVL" if kind and kind.startswith("NV") else kind
    return DISTANCE.index(name) if name in DISTANCE else None
