# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import load as subject
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.screen import Size
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.view import NodeProgress
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import ASCII, Style
from hypothesis import given
from hypothesis import strategies as st

WINDOW = Size(79, 23)
VIEW = subject.LoadView()


def load(elapsed=30.0, age=0.5, ended=None, gpus=(97, 95), **changes):
    """Return a node after four of the eight seconds of a step."""
    progress = {
        "phase": "load",
        "name": "sustained",
        "number": 3,
        "count": 3,
        "total": 8.0,
        "requests": None,
        "elapsed": 4.0,
        "finished": 17,
        "tokens": 3248,
        "since": 28.0,
        "gpus": [{"index": index, "utilization_gpu": value} for index, value in enumerate(gpus)],
    }
    return NodeProgress(-elapsed, -age, progress | changes, ended)


def test_table_has_one_row_per_node():
    nodes = {
        "healthy": load(),
        "other": load(total=None, requests=16, finished=9, name="prompt-128", number=1, tokens=148000, gpus=(12, 10)),
        "warm": NodeProgress(-4.0, -0.5, {"phase": "preparing", "name": "warm-up", "since": 2.0, "gpus": []}),
        "new": NodeProgress(-0.5),
        "lost": load(ended="Connection refused"),
        "quick": load(ended="done"),
    }
    assert VIEW.lines(nodes, WINDOW) == [
        " load on 6 nodes · 0:30 · 2 done",
        " node     phase           time             tokens/s  GPU utilisation",
        " healthy  3/3 sustained   0:04 of 0:08          812  ███████████████████░  96 %",
        " other    1/3 prompt-128  9/16 req           37,000  ██░░░░░░░░░░░░░░░░░░  11 %",
        " warm     warm-up         0:02                    -",
        " new      starting",
        " lost     Connection refused",
        " quick    done",
    ]


@pytest.mark.parametrize(
    ("node", "line"),
    [
        (load(), "step 3 of 3: sustained, 0:04 of 0:08, 812 tokens/s, GPU 97 95 %"),
        (load(age=9.0), "step 3 of 3: sustained, 0:08 of 0:08, 812 tokens/s, GPU 97 95 %"),
        (load(total=None, requests=16), "step 3 of 3: sustained, 17/16 req, 812 tokens/s, GPU 97 95 %"),
        (load(phase="counting"), "step 3 of 3: sustained, counting, 812 tokens/s, GPU 97 95 %"),
        (load(tokens=0, gpus=()), "step 3 of 3: sustained, 0:04 of 0:08"),
        (load(tokens=0, gpus=(None, None)), "step 3 of 3: sustained, 0:04 of 0:08"),
        (NodeProgress(-4.0, -0.5, {"phase": "preparing", "since": 2.0, "gpus": []}), "preparing, 0:02"),
        (load(age=42.0), "no response for 0:42"),
        (NodeProgress(-0.5), "starting"),
    ],
)
def test_plain_describes_a_node(node, line):
    assert VIEW.lines({"node": node}, None) == [f"node: {line}"]


def test_plain_omits_nodes_that_have_ended():
    assert VIEW.lines({"a": load(ended="done"), "b": load(ended="unreachable")}, None) == []


def test_plain_of_a_large_fleet_is_one_line():
    nodes = {f"node-{number:02}": load(tokens=4000 + 40 * number) for number in range(20)}
    nodes |= {"quick": load(ended="done"), "new": NodeProgress(-0.5)}
    assert VIEW.lines(nodes, None) == ["load on 22 nodes · 0:30 · 1 done, 1000 to 1190 tokens/s per node, GPU 96 %"]


@pytest.mark.parametrize(
    ("progress", "speed"),
    [
        ({"phase": "load", "tokens": 3248, "elapsed": 4.0}, 812.0),
        ({"phase": "load", "tokens": 0, "elapsed": 4.0}, None),
        ({"phase": "load", "tokens": 0, "elapsed": 0.0}, None),
        ({"phase": "preparing", "tokens": 64, "elapsed": 1.0}, None),
        ({"phase": "preparing"}, None),
    ],
)
def test_rate_is_tokens_per_second(progress, speed):
    assert subject.rate(progress) == speed


def test_table_lists_running_nodes_first():
    nodes = {f"done-{number}": load(ended="done") for number in range(30)} | {"still": load()}
    lines = VIEW.lines(nodes, WINDOW)
    assert lines[2].startswith(" still")
    assert lines[-1] == " … 11 more; enlarge the window"


@given(
    names=st.lists(st.text("abc-012", min_size=1, max_size=60), min_size=1, max_size=40, unique=True),
    step=st.text("abc-012", min_size=1, max_size=60),
    columns=st.integers(79, 250),
    rows=st.integers(3, 60),
    tokens=st.integers(0, 10**7),
    total=st.one_of(st.none(), st.floats(0.1, 86_400.0)),
    gpus=st.lists(st.one_of(st.none(), st.integers(0, 100)), max_size=16),
    ended=st.sampled_from([None, "done", "unreachable: " + 30 * "very "]),
)
def test_table_fits_the_window(names, step, columns, rows, tokens, total, gpus, ended):
    node = load(name=step, tokens=tokens, total=total, requests=10**6, finished=10**5, gpus=gpus, ended=ended)
    coloured = subject.LoadView(Style(paint=lambda text, status: f"\x1b[33m{text}\x1b[0m"))
    lines = coloured.lines(dict.fromkeys(names, node), Size(columns, rows))
    assert len(lines) <= rows
    assert max(len(re.sub("\x1b[^m]*m", "", line)) for line in lines) <= columns


def test_ascii_style_prints_ascii_only():
    view = subject.LoadView(ASCII)
    assert "".join([*view.lines({"n": load()}, WINDOW), *view.lines({"n": load()}, None)]).isascii()


def test_closing_has_no_lines():
    assert VIEW.closing("n", {}) == []
