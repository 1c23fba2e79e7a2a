# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import gpus as subject
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.screen import Size
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.view import NodeProgress
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import ASCII, Style
from hypothesis import given
from hypothesis import strategies as st

GIB = 2**30
WINDOW = Size(79, 23)
VIEW = subject.GpuView()


def gpu(index=0, **changes):
    values = {
        "index": index,
        "utilization_gpu": 93,
        "utilization_memory": 60,
        "memory_used": 18.4 * GIB,
        "power_draw": 118.4,
        "temperature": 64,
        "clocks": {"sm": 2175, "memory": 9001},
        "pcie": {"generation": 4, "width": 16},
        "throttle_reasons": ["sw_power_cap"],
    }
    return {**values, **changes}


def unknown(index=0):
    empty = dict.fromkeys(("utilization_gpu", "utilization_memory", "memory_used", "power_draw", "temperature"))
    links = {"clocks": {"sm": None, "memory": None}, "pcie": {"generation": None, "width": None}}
    return gpu(index, **empty, **links, throttle_reasons=None)


def node(*gpus, elapsed=8.0, age=0.4, ended=None, total=60.0):
    static = [{"index": entry["index"], "memory_total": 20 * GIB} for entry in gpus]
    samples = [{"time": 0.0, "gpus": []}, {"time": elapsed, "gpus": list(gpus)}]
    progress = {"elapsed": elapsed, "total": total, "gpus": static, "samples": samples}
    return NodeProgress(-elapsed - 2, -age, progress, ended)


def test_table_has_one_row_per_gpu():
    nodes = {"node-1": node(gpu(0), gpu(1, utilization_gpu=0)), "node-2": node(gpu(0))}
    assert VIEW.lines(nodes, WINDOW) == [
        " GPUs of 2 nodes · 0:08 of 1:00 · 2 of 3 GPUs busy",
        " node    GPU  utilisation                    memory GiB     W   °C   MHz   PCIe",
        " node-1    0  ████████████████████░░  93 %  18.4 / 20.0   118   64  2175   4x16",
        "           1  ░░░░░░░░░░░░░░░░░░░░░░   0 %  18.4 / 20.0   118   64  2175   4x16",
        " node-2    0  ████████████████████░░  93 %  18.4 / 20.0   118   64  2175   4x16",
    ]


def test_table_time_advances_between_polls_up_to_the_end():
    assert "0:11 of 1:00" in VIEW.lines({"n": node(gpu(), age=3.2)}, WINDOW)[0]
    assert "1:00 of 1:00" in VIEW.lines({"n": node(gpu(), elapsed=59.0, age=3.2)}, WINDOW)[0]


def test_table_shows_dashes_for_unknown_values():
    assert VIEW.lines({"n": node(unknown())}, WINDOW)[2].split() == ["n", "0", "-", "%", *"-/", "20.0", *"----"]


def test_table_marks_a_slowed_gpu_and_names_the_reason():
    slowed = gpu(throttle_reasons=["hw_thermal_slowdown", "sw_power_cap"])
    lines = VIEW.lines({"n": node(slowed)}, WINDOW)
    assert "2175!" in lines[2]
    assert lines[-1] == " ! slowed by hw thermal slowdown"
    assert VIEW.lines({"n": node(slowed)}, Size(119, 40))[-1] == lines[-1]


def test_table_does_not_mark_a_gpu_at_its_power_limit():
    assert "!" not in "".join(VIEW.lines({"n": node(gpu())}, WINDOW))


def test_table_shows_a_status_for_nodes_without_figures():
    nodes = {
        "begins": NodeProgress(-0.5),
        "silent": node(gpu(), age=42.0),
        "lost": node(gpu(), ended="Failed to connect to the host via ssh"),
        "empty": NodeProgress(-3, -0.1, {"elapsed": 1, "total": 60, "gpus": [], "samples": [{"time": 0, "gpus": []}]}),
        "first": NodeProgress(-3, -0.1, {"elapsed": 0, "total": 60, "gpus": [{"index": 0}], "samples": []}),
    }
    texts = [line.split(maxsplit=1)[1] for line in VIEW.lines(nodes, WINDOW)[2:]]
    assert texts == ["starting", "no response for 0:42", "Failed to connect to the host via ssh", "no GPU", "starting"]


def test_table_has_one_row_per_node_if_the_gpus_do_not_fit():
    nodes = {
        f"node-{number}": node(*(gpu(index, utilization_gpu=10 * index) for index in range(8))) for number in range(5)
    }
    lines = VIEW.lines(nodes, WINDOW)
    assert len(lines) == 7
    assert lines[2].split()[-8:] == ["0", "%", "70", "%", "92", "%", "947", "64"]
    assert VIEW.lines(nodes, Size(79, 6))[-1] == " … 2 more; enlarge the window"


@given(
    names=st.lists(st.text("abc-012", min_size=1, max_size=60), min_size=1, max_size=40, unique=True),
    gpus=st.integers(0, 16),
    columns=st.integers(79, 250),
    rows=st.integers(4, 60),
    busy=st.sampled_from([None, 0, 50, 100]),
    memory=st.sampled_from([None, 0, 18 * GIB, 283 * GIB]),
    throttle=st.sampled_from([None, [], ["sw_thermal_slowdown", "hw_power_brake_slowdown", "unknown_0x400"]]),
    ended=st.sampled_from([None, "done", "unreachable: " + 30 * "very "]),
)
def test_table_fits_the_window(names, gpus, columns, rows, busy, memory, throttle, ended):
    coloured = Style(paint=lambda text, status: f"\x1b[33m{text}\x1b[0m")
    entries = [
        gpu(index, utilization_gpu=busy, memory_used=memory, throttle_reasons=throttle, power_draw=1234.5)
        for index in range(gpus)
    ]
    lines = subject.GpuView(coloured).lines({name: node(*entries, ended=ended) for name in names}, Size(columns, rows))
    assert len(lines) <= rows
    assert max(len(re.sub("\x1b[^m]*m", "", line)) for line in lines) <= columns


def test_plain_has_one_line_per_node():
    nodes = {"a": node(gpu(0), gpu(1, temperature=70, throttle_reasons=["hw_slowdown"])), "b": NodeProgress(-1.0)}
    assert VIEW.lines(nodes, None) == [
        "a: 0:08 of 1:00, GPU 93 93 %, up to 18.4 GiB, 237 W, up to 70 °C, slowed by hw slowdown",
        "b: starting",
    ]


def test_plain_omits_nodes_that_have_ended():
    assert VIEW.lines({"a": node(gpu(), ended="done"), "b": node(gpu())}, None)[0].startswith("b: ")


def test_plain_of_a_large_fleet_is_one_line():
    nodes = {f"node-{number:02}": node(gpu(0), gpu(1, utilization_gpu=0)) for number in range(20)} | {
        "lost": NodeProgress(-60.0)
    }
    assert VIEW.lines(nodes, None) == [
        "20 of 21 nodes watched, 20 of 40 GPUs busy, up to 18.4 GiB, 4736 W, up to 64 °C"
    ]


def test_closing_summarises_every_gpu():
    spread = {"mean": 90.4, "p50": 91, "max": 97.0}
    summary = {
        "index": 1,
        "utilization_gpu": spread,
        "memory_used": {"mean": GIB, "p50": GIB, "max": 18 * GIB},
        "power_draw": {"mean": 101.2, "p50": 101, "max": 118.4},
        "temperature": {"mean": 60, "p50": 60, "max": 64},
    }
    lost = dict.fromkeys(summary) | {"index": 2}
    result = {"error": None, "gpus": [{"index": 1, "memory_total": 20 * GIB}], "summary": [summary, lost]}
    assert VIEW.closing("node", result) == [
        "node GPU 1: 90 % busy on average, up to 97 %, 18.0 of 20.0 GiB, 101 W, up to 118 W, up to 64 °C",
        "node GPU 2: no values",
    ]


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        (
            {"error": "no NVIDIA driver on this node", "samples": [], "summary": []},
            ["n: no NVIDIA driver on this node"],
        ),
        ({"failed": True, "msg": "duration is -1"}, []),
    ],
)
def test_closing_without_samples_gives_the_reason(result, lines):
    assert VIEW.closing("n", result) == lines


def test_ascii_style_prints_ascii_only():
    view = subject.GpuView(ASCII)
    nodes = {"n": node(gpu())}
    assert "".join([*view.lines(nodes, WINDOW), *view.lines(nodes, None)]).isascii()
