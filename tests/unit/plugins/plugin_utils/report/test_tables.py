# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables and bars."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import tables
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import ASCII, UNICODE


def test_the_fleet_is_sorted_by_trouble(fleet: dict) -> None:
    assert tables.by_trouble(fleet) == ["socket", "idle-gpus", "crashed", "lost", "silent", "healthy"]
    rows = [line.split()[1] for line in tables.fleet(fleet, UNICODE) if line.startswith((" ✗ ", " ✓ "))]
    assert rows == ["socket", "idle-gpus", "crashed", "lost", "silent", "healthy", "3"]


def test_a_row_shows_gpus_tp_and_speed(fleet: dict) -> None:
    row = next(line for line in tables.fleet(fleet, UNICODE) if " healthy " in line)
    assert row.split() == ["✓", "healthy", "pass", "4", "4", "612.4"]


def test_long_names_are_cut(fleet: dict) -> None:
    fleet["hosts"]["a-very-long-host-name.of.some.example.com"] = fleet["hosts"].pop("healthy")
    lines = list(tables.fleet(fleet, UNICODE))
    assert any("a-very-long-host-na…" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_memory_bars(fleet: dict) -> None:
    lines = list(tables.memory(fleet["hosts"]["idle-gpus"], ASCII))
    assert lines[0].split()[:3] == ["GPU", "0", "###########################..."]
    assert lines[1].split()[2] == "." * 30
    assert lines[0].endswith("91 %")


def test_memory_without_total_has_no_bar(fleet: dict) -> None:
    node = {"memory": [{"index": 0, "used": 2**30, "total": None}]}
    assert list(tables.memory(node, UNICODE)) == ["      GPU 0     1.0 GiB"]


def test_topology_matrix(fleet: dict) -> None:
    head, first, *rest = tables.topology(fleet["hosts"]["healthy"], UNICODE)
    assert head.split() == ["GPU", "0", "GPU", "1", "GPU", "2", "GPU", "3"]
    assert first.split() == ["GPU", "0", "X", "PHB", "PHB", "PHB"]
    assert len(rest) == 3


@pytest.mark.parametrize("matrix", [None, [], [["X"]], [["X"] * 16] * 16])
def test_no_matrix_where_there_is_none_or_it_is_too_wide(fleet: dict, matrix: list | None) -> None:
    node = fleet["hosts"]["healthy"]
    node["facts"]["gpus"]["topology"] = matrix
    assert list(tables.topology(node, UNICODE)) == []


def test_an_unknown_connection_is_a_dash(fleet: dict) -> None:
    node = fleet["hosts"]["healthy"]
    node["facts"]["gpus"]["topology"] = [["X", None], ["NV12", "X"]]
    assert list(tables.topology(node, UNICODE))[1].split() == ["GPU", "0", "X", "-"]


def test_nccl_transports_and_lines(fleet: dict) -> None:
    node = fleet["hosts"]["socket"]
    node["facts"]["nccl"]["lines"] = [
        {"source": "a.log", "line": 7, "count": 2, "severity": "error", "text": "NCCL WARN " + "very " * 30 + "long"},
        {"source": None, "line": None, "count": None, "severity": None, "text": "NCCL INFO short"},
    ]
    lines = list(tables.nccl(node, UNICODE))
    assert lines[0] == "      NCCL 2.27.5 · 24 × net socket"
    assert lines[1].startswith("      line 7: NCCL WARN very")
    assert lines[-1] == "      NCCL INFO short"
    assert max(map(len, lines)) <= 80


def test_settings_of_the_server(fleet: dict) -> None:
    node = fleet["hosts"]["healthy"]
    assert list(tables.settings(node, UNICODE)) == [
        "      Arguments   tensor_parallel_size: 4",
        "                  gpu_memory_utilization: 0.92",
        "      Environment NCCL_DEBUG: INFO",
    ]
    node["facts"]["configuration"] = {"arguments": None, "environment": None}
    assert list(tables.settings(node, UNICODE)) == []


def test_load_table(fleet: dict) -> None:
    head, first, *_rest, legend = tables.load(fleet["hosts"]["healthy"], UNICODE)
    assert head.split() == ["prompt", "output", "streams", "tok/s", "TTFT", "p50", "p95", "ITL", "p50", "p95", "failed"]
    assert first.split() == ["128", "128", "1", "104.2", "45.0", "61.0", "9.0", "12.2", "0"]
    assert "milliseconds" in legend


def test_void_and_skipped_steps_are_marked(fleet: dict) -> None:
    node = copy.deepcopy(fleet["hosts"]["healthy"])
    node["load"][0].update(void=True, ttft=None)
    node["load"][1].update(skipped="does not fit into max_model_len 1024")
    _head, void, skipped, _sustained, legend = tables.load(node, UNICODE)
    assert "104.2?" in void
    assert skipped.endswith("does not fit into max_model_len 1024")
    assert "not valid" in legend


def test_who_made_the_load_is_told(fleet: dict) -> None:
    node = copy.deepcopy(fleet["hosts"]["healthy"])
    *single, sustained = node["load"]
    for step in single:
        step["load_hosts"] = [{"host": "load-1", "concurrency": 1, "completed": 3, "tokens": 384}]
    sustained["load_hosts"] = [
        {"host": "load-1", "concurrency": 1, "completed": 9, "tokens": 1152},
        {"host": "load-2", "concurrency": 7, "completed": 63, "tokens": 8064},
    ]
    said = " ".join(" ".join(tables.load(node, UNICODE)).split())
    assert f"{', '.join(step['name'] for step in single)}: load from load-1" in said
    assert said.endswith("sustained: load from load-1 (1 stream, 1,152 tokens), load-2 (7 streams, 8,064 tokens)")


def test_no_load_no_table(fleet: dict) -> None:
    assert list(tables.load(fleet["hosts"]["crashed"], UNICODE)) == []
    assert list(tables.utilisation(fleet["hosts"]["crashed"], UNICODE)) == []


def test_utilisation_is_time_by_gpu_by_average(fleet: dict) -> None:
    head, *rows = tables.utilisation(fleet["hosts"]["idle-gpus"], ASCII)
    assert head.split() == ["time", "GPU", "0", "GPU", "1", "GPU", "2", "GPU", "3", "average"]
    assert len(rows) <= 11
    assert rows[-1].split()[:10] == ["mean", "92", "%", "0", "%", "0", "%", "0", "%", "23"]


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (9, 9), (10, 10), (11, 6), (300, 10)])
def test_long_loads_are_averaged(rows: int, count: int) -> None:
    given = [{"time": float(number), "utilization_gpu": [50.0, None]} for number in range(rows)]
    merged = tables.windows(given, 10)
    assert len(merged) == count
    assert merged[0] == {"time": 0.0, "utilization_gpu": [50.0, None]}


def test_more_gpus_than_columns(fleet: dict) -> None:
    values = [50.0] * 10
    node = {
        "utilisation": {
            "gpus": list(range(10)),
            "mean": values,
            "rows": [{"time": 0.0, "utilization_gpu": values}],
        }
    }
    lines = list(tables.utilisation(node, UNICODE))
    assert max(map(len, lines)) <= 80
    assert "2 GPUs more" in lines[-1]
