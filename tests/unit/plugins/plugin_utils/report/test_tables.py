# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the tables and bars of the text report."""

from __future__ import annotations

import copy
import itertools

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import tables
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.document import report_document
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import ASCII, UNICODE
from ansible_collections.multigpu.vllm.tests.unit.plugins.plugin_utils.conftest import group_hosts


def test_fleet_lists_worst_first(fleet: dict) -> None:
    assert tables.worst_first(fleet) == ["socket", "idle-gpus", "crashed", "lost", "silent", "healthy"]
    rows = [line.split()[1] for line in tables.fleet(fleet, UNICODE) if line.startswith((" ✗ ", " ✓ "))]
    assert rows[:6] == ["socket", "idle-gpus", "crashed", "lost", "silent", "healthy"]


def test_fleet_node_opens_with_the_speed_of_one_stream_and_its_gpus(fleet: dict) -> None:
    lines = list(tables.fleet(fleet, UNICODE))
    first = next(number for number, line in enumerate(lines) if " healthy " in line)
    row, *below = lines[first : first + 3]
    assert row.split() == ["✓", "healthy", "pass", "4", "4", "104.2", "95", "%", "612.4", "(8)"]
    assert below == [
        "     All 4 GPUs active (tensor parallelism working)",
        "     Memory: GPU 0 18.2, GPU 1 18.2, GPU 2 18.2, GPU 3 18.2 of 20.0 GiB",
    ]


def test_fleet_shows_the_whole_headline(fleet: dict) -> None:
    words = "word " * 60
    fleet["hosts"]["socket"]["headline"] = words
    assert "\n".join(tables.fleet(fleet, UNICODE)).count("word") == 60


def test_fleet_table_of_a_large_fleet_has_one_line_for_each_node_that_passes(fleet: dict) -> None:
    hosts = {f"node-{number:02}": fleet["hosts"]["healthy"] for number in range(30)}
    lines = list(tables.fleet({**fleet, "hosts": hosts}, UNICODE))
    assert len([line for line in lines if " node-" in line]) == 30
    assert not any("active" in line for line in lines)


def test_fleet_shows_a_long_name_on_a_separate_line(fleet: dict) -> None:
    fleet["hosts"]["a-very-long-host-name.of.some.example.com"] = fleet["hosts"].pop("healthy")
    lines = list(tables.fleet(fleet, UNICODE))
    row = lines[lines.index("   a-very-long-host-name.of.some.example.com") + 1]
    assert row.split()[:4] == ["✓", "pass", "4", "4"]
    assert max(map(len, lines)) <= 80


def test_memory_bars_by_share(fleet: dict) -> None:
    lines = list(tables.memory(fleet["hosts"]["idle-gpus"], ASCII))
    assert lines[0].split()[:3] == ["GPU", "0", "###########################..."]
    assert lines[1].split()[2] == "." * 30
    assert lines[0].endswith("91 %")


def test_memory_without_total_has_no_bar(fleet: dict) -> None:
    node = {"memory": [{"index": 0, "used": 2**30, "total": None}]}
    assert list(tables.memory(node, UNICODE)) == ["      GPU 0     1.0 GiB"]


def test_topology_matrix_of_four_gpus(fleet: dict) -> None:
    head, first, *rest = tables.topology(fleet["hosts"]["healthy"], UNICODE)
    assert head.split() == ["GPU", "0", "GPU", "1", "GPU", "2", "GPU", "3"]
    assert first.split() == ["GPU", "0", "X", "PHB", "PHB", "PHB"]
    assert len(rest) == 3


def test_gpus_has_a_line_for_each_gpu_above_the_topology(fleet: dict) -> None:
    lines = list(tables.gpus(fleet["hosts"]["healthy"], UNICODE))
    assert lines[0].strip() == "GPU 0  NVIDIA RTX 4000 Ada Generation | 20.0 GiB | PCIe Gen4 x16"
    assert lines[4:6] == ["", next(tables.topology(fleet["hosts"]["healthy"], UNICODE))]


@pytest.mark.parametrize("matrix", [None, [], [["X"]], [["X"] * 16] * 16])
def test_topology_missing_or_too_wide_is_omitted(fleet: dict, matrix: list | None) -> None:
    node = fleet["hosts"]["healthy"]
    node["facts"]["gpus"]["topology"] = matrix
    assert list(tables.topology(node, UNICODE)) == []


def test_topology_unknown_connection_is_a_dash(fleet: dict) -> None:
    node = fleet["hosts"]["healthy"]
    node["facts"]["gpus"]["topology"] = [["X", None], ["NV12", "X"]]
    assert list(tables.topology(node, UNICODE))[1].split() == ["GPU", "0", "X", "-"]


def test_nccl_shows_transports_and_log_lines(fleet: dict) -> None:
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


def test_settings_shows_arguments_and_environment(fleet: dict) -> None:
    node = fleet["hosts"]["healthy"]
    assert list(tables.settings(node, UNICODE)) == [
        "      Arguments   tensor_parallel_size: 4",
        "                  gpu_memory_utilization: 0.92",
        "      Environment NCCL_DEBUG: INFO",
    ]
    node["facts"]["configuration"] = {"arguments": None, "environment": None}
    assert list(tables.settings(node, UNICODE)) == []


def test_load_table_columns(fleet: dict) -> None:
    head, first, *_rest, legend = tables.load(fleet["hosts"]["healthy"], UNICODE)
    assert head.split() == ["prompt", "output", "streams", "tok/s", "TTFT", "p50", "p95", "ITL", "p50", "p95", "failed"]
    assert first.split() == ["128", "128", "1", "104.2", "45.0", "61.0", "9.0", "12.2", "0"]
    assert "milliseconds" in legend


def test_load_marks_void_and_skipped_steps(fleet: dict) -> None:
    node = copy.deepcopy(fleet["hosts"]["healthy"])
    node["load"][0].update(void=True, ttft=None)
    node["load"][1].update(skipped="does not fit into max_model_len 1024")
    _head, void, skipped, _sustained, legend = tables.load(node, UNICODE)
    assert "104.2?" in void
    assert skipped.endswith("does not fit into max_model_len 1024")
    assert "not valid" in legend


def test_load_names_load_hosts(fleet: dict) -> None:
    node = copy.deepcopy(fleet["hosts"]["healthy"])
    *single, sustained = node["load"]
    for step in single:
        step["load_hosts"] = [{"host": "load-1", "concurrency": 1, "completed": 3, "tokens": 384}]
    sustained["load_hosts"] = [
        {"host": "load-1", "concurrency": 1, "completed": 9, "tokens": 1152},
        {"host": "load-2", "concurrency": 7, "completed": 63, "tokens": 8064},
    ]
    text = " ".join(" ".join(tables.load(node, UNICODE)).split())
    assert f"{', '.join(step['name'] for step in single)}: load from load-1" in text
    assert text.endswith("sustained: load from load-1 (1 stream, 1,152 tokens), load-2 (7 streams, 8,064 tokens)")


def test_load_and_utilisation_without_data_are_empty(fleet: dict) -> None:
    assert list(tables.load(fleet["hosts"]["crashed"], UNICODE)) == []
    assert list(tables.utilisation(fleet["hosts"]["crashed"], UNICODE)) == []


def test_utilisation_rows_have_time_gpus_and_average(fleet: dict) -> None:
    head, *rows = tables.utilisation(fleet["hosts"]["idle-gpus"], ASCII)
    assert head.split() == ["UTC", "GPU", "0", "GPU", "1", "GPU", "2", "GPU", "3", "average"]
    assert len(rows) <= 11
    assert rows[-1].split()[:10] == ["mean", "92", "%", "0", "%", "0", "%", "0", "%", "23"]


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (9, 9), (10, 10), (11, 6), (300, 10)])
def test_windows_average_long_loads(rows: int, count: int) -> None:
    windows = [{"time": float(number), "utilization_gpu": [50.0, None]} for number in range(rows)]
    merged = tables.windows(windows, 10)
    assert len(merged) == count
    assert merged[0] == {"time": 0.0, "utilization_gpu": [50.0, None]}


def test_utilisation_hides_gpus_beyond_columns(fleet: dict) -> None:
    values = [50.0] * 10
    node = {
        "utilisation": {
            "begin": None,
            "gpus": list(range(10)),
            "mean": values,
            "rows": [{"time": 0.0, "utilization_gpu": values}],
        }
    }
    lines = list(tables.utilisation(node, UNICODE))
    assert max(map(len, lines)) <= 80
    assert "2 more GPUs" in lines[-1]


VERDICTS = ("pass", "slow", "unsupported", "not_tested", "fails", "hangs", "corrupts")


def peers_of(count: int) -> list[dict]:
    """Return pairs with every verdict, of which the fast ones reach the bandwidth of NVLink 5."""
    verdicts = itertools.cycle(VERDICTS)
    return [
        {"from": row, "to": column, "verdict": next(verdicts), "bandwidth": 734.6e9}
        for row, column in itertools.permutations(range(count), 2)
    ]


def test_peers_of_eight_gpus_fit_into_80_columns(fleet: dict) -> None:
    node = copy.deepcopy(fleet["hosts"]["healthy"])
    node["facts"]["gpus"]["peers"] = peers_of(8)
    head, first, *rest = tables.peers(node, ASCII)
    assert head.split() == [word for gpu in range(8) for word in ("GPU", str(gpu))]
    assert first.split() == ["GPU", "0", "X", "735", "735", "!", "no", "-", "fails", "hangs", "corrupt"]
    assert max(map(len, (head, first, *rest))) <= 80
    assert "writes to" in rest[7]


def test_peers_that_were_not_tested_have_no_matrix(fleet: dict) -> None:
    assert fleet["hosts"]["healthy"]["facts"]["gpus"]["peers"] == []
    assert list(tables.peers(fleet["hosts"]["healthy"], ASCII)) == []


def test_gpus_are_separated_from_their_matrices(fleet: dict) -> None:
    node = copy.deepcopy(fleet["hosts"]["healthy"])
    assert list(tables.gpus(node, ASCII)).count("") == 1
    node["facts"]["gpus"]["peers"] = peers_of(2)
    assert list(tables.gpus(node, ASCII)).count("") == 2


def test_links_have_a_row_for_each_member() -> None:
    node = group_hosts()["gpu-01"]
    assert node is not None
    head, *rows = [line.split() for line in tables.links(node, ASCII)]
    assert head == ["to", "Gbit/s", "1", "stream", "RTT", "ms", "p99", "loss", "MTU", "clock", "ms"]
    assert rows == [
        ["gpu-02", "0.956", "0.949", "0.0209", "0.155", "0", "%", "1500", "0.001"],
        ["gpu-03", "0.194", "0.16", "0.0209", "0.155", "0", "%", "1500", "0.001"],
        ["gpu-04", *["-"] * 7],
    ]
    long = copy.deepcopy(node)
    long["facts"]["links"][0]["to"] = "a" * 100
    assert max(map(len, tables.links(long, ASCII))) <= 80


def test_networks_are_a_matrix_of_the_group() -> None:
    document = report_document(group_hosts(), run={})
    _blank, *rows, first_line, _second_line = tables.networks(document, ASCII)
    assert [row.split() for row in rows] == [
        ["gpu-01", "gpu-02", "gpu-03", "gpu-04"],
        ["gpu-01", "X", "0.956", "0.194", "!!", "!!"],
        ["gpu-02", "0.956", "X", "0.194", "!!", "!!"],
        ["gpu-03", "0.194", "!!", "0.194", "!!", "X", "!!"],
        ["gpu-04", "-", "-", "-", "X"],
    ]
    assert first_line.strip().startswith("Gbit/s that the node of the row sends")


def test_networks_too_wide_for_the_text_are_left_out() -> None:
    pairs = [{"from": f"node-{number}", "to": "node-0", "status": "pass"} for number in range(1, 12)]
    assert list(tables.networks({"fleet": {"networks": [pairs]}}, ASCII)) == []


def test_hosts_without_group_have_no_links(fleet: dict) -> None:
    assert list(tables.links(fleet["hosts"]["healthy"], ASCII)) == []
    assert list(tables.networks(fleet, ASCII)) == []
