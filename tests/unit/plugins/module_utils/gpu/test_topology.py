# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import topology as subject

#: Output of nvidia-smi on a node with four GPUs and a network card.
FOUR_GPUS = """\t\x1b[4mGPU0\tGPU1\tGPU2\tGPU3\tNIC0\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\x1b[0m
GPU0\t X \tNV4\tNODE\tSYS\tPIX\t0-31\t0\t\tN/A
GPU1\tNV4\t X \tPHB\tSYS\tNODE\t0-31\t0\t\tN/A
GPU2\tNODE\tPHB\t X \tPXB\tSYS\t32-63\t1\t\tN/A
GPU3\tSYS\tSYS\tPXB\t X \tSYS\t32-63\t1\t\tN/A
NIC0\tPIX\tNODE\tSYS\tSYS\t X \t\t\t\t

Legend:

  X    = Self
  GPU0 = not a row of the table
"""


def test_parse_table_of_connections():
    assert subject.parse_table(FOUR_GPUS) == [
        ["X", "NV4", "NODE", "SYS"],
        ["NV4", "X", "PHB", "SYS"],
        ["NODE", "PHB", "X", "PXB"],
        ["SYS", "SYS", "PXB", "X"],
    ]


def test_parse_table_of_peer_access():
    text = " \t\x1b[4mGPU0\tGPU1\t\x1b[0m\n GPU0\tX\tCNS\t\n GPU1\t???\tX\t\n\nLegend:\n"
    assert subject.parse_table(text) == [["X", "CNS"], [None, "X"]]


@pytest.mark.parametrize("text", ["", "Failed to initialize NVML", "GPU 0: NVIDIA H100"])
def test_parse_table_without_table_is_empty(text):
    assert subject.parse_table(text) == []


def test_build_matrix_calls_cell_once_per_pair():
    calls = []

    def cell(row, column):
        calls.append((row, column))
        return f"{row}{column}"

    assert subject.build_matrix(3, cell) == [["X", "01", "02"], ["01", "X", "12"], ["02", "12", "X"]]
    assert calls == [(0, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize(
    ("ends", "switched", "expected"),
    [(["B", "B", "C", None], (0, 0), 2), (["C"], (0, 0), 0), (["switch"] * 18, (18, 12), 12), ([], (0, 18), 0)],
)
def test_nvlink_count_between_two_gpus(ends, switched, expected):
    assert subject.nvlink_count(ends, switched, "B") == expected


def test_nvlink_count_unknown_bus_id_is_zero():
    assert subject.nvlink_count([None], (0, 0), None) == 0


@pytest.mark.parametrize(("cell", "nvlink"), [("NV18", True), ("NODE", False), (None, None)])
def test_as_topology_nvlink_of_any_pair(cell, nvlink):
    facts = subject.as_topology([["X", cell], [cell, "X"]], None)
    assert facts["nvlink"] is nvlink
    assert facts["legend"]["PHB"]


def test_known_pairs_returns_each_known_pair_once():
    assert subject.known_pairs([["X", "A", "B"], ["A", "X", None], ["B", None, "X"]]) == ["A", "B"]
