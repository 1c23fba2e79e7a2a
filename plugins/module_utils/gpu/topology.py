# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How GPUs are connected: the matrix of ``nvidia-smi topo -m`` and peer access, built without doing any I/O."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable, Sequence

#: Kind of connection -> what it means, from the fastest to the slowest. Source: legend of ``nvidia-smi topo -m``.
LEGEND: t.Final[dict[str, str]] = {
    "X": "the GPU itself",
    "NV#": "a bonded set of # NVLinks",
    "PIX": "at most one PCIe bridge",
    "PXB": "several PCIe bridges, without the host bridge",
    "PHB": "a PCIe host bridge, typically the CPU",
    "NODE": "the interconnect between PCIe host bridges within a NUMA node",
    "SYS": "the interconnect between NUMA nodes (for example UPI)",
}

#: NVML's nvmlGpuTopologyLevel_t -> kind. Two GPUs on one board share an internal switch, which nvidia-smi shows as PIX.
LEVELS: t.Final[dict[int, str]] = {0: "PIX", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}

#: NVML's nvmlGpuP2PStatus_t -> the letters of ``nvidia-smi topo -p2p r``.
P2P_STATUS: t.Final[dict[int, str]] = {0: "OK", 1: "CNS", 2: "GNS", 3: "TNS", 4: "DR", 5: "NS", 6: "U"}

P2P_LEGEND: t.Final[dict[str, str]] = {
    "OK": "peer access works",
    "CNS": "the chipset does not support it",
    "GNS": "the GPU does not support it",
    "TNS": "the topology does not support it",
    "DR": "switched off by a driver setting",
    "NS": "not supported",
    "U": "unknown",
}

Matrix = list[list[str | None]]


def build_matrix(count: int, cell: Callable[[int, int], str | None]) -> Matrix:
    """Square matrix by GPU index; the diagonal is ``X``.

    ``cell(row, column)`` is asked once for each unordered pair, because NVML takes milliseconds to tell one on real
    GPUs and knows no direction.
    """
    known = {(row, column): cell(row, column) for row in range(count) for column in range(row + 1, count)}
    return [
        ["X" if row == column else known[min(row, column), max(row, column)] for column in range(count)]
        for row in range(count)
    ]


def nvlink_count(peer_bus_ids: Sequence[str | None], switched: tuple[int, int], other_bus_id: str | None) -> int:
    """Number of NVLinks between two GPUs.

    ``peer_bus_ids`` are the bus ids at the far end of one GPU's active links; ``switched`` is how many active links
    of the one and of the other GPU end at an NVSwitch, through which every GPU reaches every other.
    """
    direct = sum(1 for bus_id in peer_bus_ids if bus_id is not None and bus_id == other_bus_id)
    return direct or min(switched)


def as_topology(matrix: Matrix, p2p: Matrix | None) -> dict[str, t.Any]:
    """Fact ``topology``: ``matrix``, ``p2p`` (null where unknown), ``nvlink`` (any pair; null likewise), ``legend``."""
    known = [cell for row in matrix for cell in row if cell is not None]
    pairs_known = len(matrix) < 2 or any(cell != "X" for cell in known)
    return {
        "matrix": matrix,
        "p2p": p2p,
        "nvlink": any(cell.startswith("NV") for cell in known) if pairs_known else None,
        "legend": dict(LEGEND),
    }


def pairs(matrix: Matrix) -> dict[tuple[int, int], str | None]:
    """Cells above the diagonal by (row, column): each unordered pair of GPUs once."""
    return {(i, j): row[j] for i, row in enumerate(matrix) for j in range(i + 1, len(row))}


def parse_table(text: str) -> Matrix:
    """GPU part of the table that ``nvidia-smi topo -m`` and ``topo -p2p r`` print; empty where there is none.

    Columns of NICs and affinities are left out; a cell that is no known kind is null.
    """
    clean = re.sub(r"\x1b\[[0-9;]*m", "", text)
    columns: list[str] = []
    matrix: Matrix = []
    for line in clean.splitlines():
        words = line.split()
        if not columns:
            # The header begins with GPU0; everything behind the last GPU column is NICs and affinities.
            columns = [word for word in words if re.fullmatch(r"GPU\d+", word)] if words[:1] == ["GPU0"] else []
        elif words and re.fullmatch(r"GPU\d+", words[0]):
            matrix.append([_known(word) for word in words[1 : len(columns) + 1]])
        elif matrix:
            break
    return matrix


def _known(word: str) -> str | None:
    known = word in LEGEND or word in P2P_LEGEND or re.fullmatch(r"NV\d+", word)
    return word if known else None
