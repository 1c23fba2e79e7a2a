# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import csv
import io
import json

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import sample_table as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.nvml import NvmlReader

STARTED = "2026-03-01T12:00:00.500+00:00"


@pytest.fixture
def table(nvml, loaded, node_of):
    """Return two samples of two loaded H100."""
    reader = NvmlReader(nvml(node_of(loaded, 2)))
    return subject.rows([{"time": time, "gpus": reader.sample()} for time in (0.0004, 1.0001)], STARTED)


def test_rows_are_one_per_gpu_and_sample(table):
    assert [(row["time"], row["gpu"]) for row in table] == [(0.0, 0), (0.0, 1), (1.0, 0), (1.0, 1)]
    assert table[2]["timestamp"] == "2026-03-01T12:00:01.500+00:00"
    assert table[0]["utilization_gpu"] == 100
    assert table[0]["clock_sm"] == 1830
    assert all(tuple(row) == subject.COLUMNS for row in table)


def test_csv_has_a_header_and_one_line_per_row(table):
    read = list(csv.DictReader(io.StringIO(subject.csv_text(table))))
    assert len(read) == 4
    assert tuple(read[0]) == subject.COLUMNS
    assert read[3]["utilization_gpu"] == "100"


def test_csv_without_header_continues_a_table(table):
    whole = subject.csv_text(table)
    assert subject.csv_text(table[:1]) + subject.csv_text(table[1:], header=False) == whole


def test_csv_accepts_further_columns(table):
    columns = ("host", *subject.COLUMNS)
    text = subject.csv_text([{"host": "node-1", **table[0]}], columns)
    assert text.splitlines()[1].startswith("node-1,2026-03-01")


def test_json_is_an_array_with_one_row_per_line(table):
    text = subject.json_text(table)
    assert json.loads(text) == table
    assert len(text.splitlines()) == 6


def test_unknown_values_are_empty():
    unknown = {
        "index": 0,
        **dict.fromkeys(("utilization_gpu", "utilization_memory", "memory_used", "power_draw", "temperature")),
        "clocks": {"sm": None, "memory": None},
        "pcie": {"generation": None, "width": None},
        "throttle_reasons": None,
    }
    (row,) = subject.rows([{"time": 0.0, "gpus": [unknown]}], STARTED)
    assert set(list(row.values())[3:]) == {None}
    assert subject.csv_text([row], header=False) == "2026-03-01T12:00:00.500+00:00,0.0,0,,,,,,,,,,\n"


def test_throttle_reasons_share_one_column(table):
    gpu = {"throttle_reasons": ["sw_power_cap", "hw_slowdown"]}
    (row,) = subject.rows([{"time": 0, "gpus": [_gpu() | gpu]}], STARTED)
    assert row["throttle_reasons"] == "sw_power_cap hw_slowdown"


def test_table_without_rows_is_valid():
    assert json.loads(subject.json_text([])) == []
    assert subject.csv_text([]).count("\n") == 1


def _gpu():
    keys = ("utilization_gpu", "utilization_memory", "memory_used", "power_draw", "temperature")
    parts = {"clocks": {"sm": 1, "memory": 1}, "pcie": {"generation": 4, "width": 8}}
    return {"index": 0, **dict.fromkeys(keys, 1), **parts}
