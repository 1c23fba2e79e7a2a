# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build matrices that show, for each pair of GPUs, the type of connection and whether peer access works.

The matrices are those of ``nvidia-smi topo -m`` and ``nvidia-smi topo -p2p r``. This module does no I/O.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable, Sequence

#: Kind of connection -> its meaning, from the fastest to the slowest. Source: legend of ``nvidia-smi topo -m``.
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

#: NVML's nvmlGpuP2PStatus_t -> abbreviation in ``nvidia-smi topo -p2p r``.
P2P_STATUS: t.Final[dict[int, str]] = {0: "OK", 1: "CNS", 2: "GNS", 3: "TNS", 4: "DR", 5: "NS", 6: "U"}

P2P_LEGEND: t.Final[dict[str, str]] = {
    "OK": "peer access works",
    "CNS": "the chipset does not support it",
    "GNS": "the GPU does not support it",
    "TNS": "the topology does not support it",
    "DR": "disabled by a driver setting",
    "NS": "not supported",
    "U": "unknown",
}

Matrix = list[list[str | None]]


def build_matrix(count: int, cell: Callable[[int, int], str | None]) -> Matrix:
    """Return a square matrix with a row and a column for each GPU, and ``X`` on the diagonal.

    ``cell(row, column)`` is called once for each unordered pair, because an NVML call takes milliseconds on real GPUs
    and the result is symmetric.
    """
    cells = {(row, column): cell(row, column) for row in range(count) for column in range(row + 1, count)}
    return [
        ["X" if row == column else cells[min(row, column), max(row, column)] for column in range(count)]
        for row in range(count)
    ]


def nvlink_count(peer_bus_ids: Sequence[str | None], switched: tuple[int, int], other_bus_id: str | None) -> int:
    """Return the number of NVLinks between two GPUs.

    :param peer_bus_ids: bus IDs at the far end of the first GPU's active links.
    :param switched: for each of the two GPUs, the number of active links to an NVSwitch, which connects all GPUs.
    :param other_bus_id: bus ID of the second GPU.
    """
    direct = sum(1 for bus_id in peer_bus_ids if bus_id is not None and bus_id == other_bus_id)
    return direct or min(switched)


def as_topology(matrix: Matrix, p2p: Matrix | None) -> dict[str, t.Any]:
    """Return the ``topology`` fact. Unknown values are None.

    ``nvlink`` is whether any two GPUs are connected by NVLink.
    """
    cells = [cell for row in matrix for cell in row if cell is not None]
    has_pairs = len(matrix) < 2 or any(cell != "X" for cell in cells)
    return {
        "matrix": matrix,
        "p2p": p2p,
        "nvlink": any(cell.startswith("NV") for cell in cells) if has_pairs else None,
        "legend": dict(LEGEND),
    }


def known_pairs(matrix: Matrix) -> list[str]:
    """Return the cells above the diagonal of ``matrix``, one for each pair of GPUs, without unknown (None) cells."""
    return [cell for index, row in enumerate(matrix) for cell in row[index + 1 :] if cell is not None]


def parse_table(text: str) -> Matrix:
    """Return the GPU-to-GPU matrix from the output of ``nvidia-smi topo -m`` or ``nvidia-smi topo -p2p r``.

    The result is empty if the output contains no such matrix. Columns of NICs and affinities are omitted. A cell of an
    unknown kind is None.
    """
    clean = re.sub(r"\x1b\[[0-9;]*m", "", text)
    columns: list[str] = []
    matrix: Matrix = []
    for line in clean.splitlines():
        cells = line.split()
        if not columns:
            # The header row starts with GPU0. The columns after the last GPU are for NICs and affinities.
            columns = [cell for cell in cells if re.fullmatch(r"GPU\d+", cell)] if cells[:1] == ["GPU0"] else []
        elif cells and re.fullmatch(r"GPU\d+", cells[0]):
            matrix.append([_kind(cell) for cell in cells[1 : len(columns) + 1]])
        elif matrix:
            break
    return matrix


def _kind(cell: str) -> str | None:
    is_known = cell in LEGEND or cell in P2P_LEGEND or re.fullmatch(r"NV\d+", cell)
    return cell if is_known else None
