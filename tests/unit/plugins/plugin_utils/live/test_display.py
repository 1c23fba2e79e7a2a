# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import re
from unittest import mock

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import channel
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import display as subject
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.screen import Screen, Size
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import UNICODE

STEP = {
    "phase": "load",
    "name": "sustained",
    "number": 1,
    "count": 1,
    "total": 60.0,
    "requests": None,
    "elapsed": 4.0,
    "finished": 3,
    "tokens": 400,
    "since": 5.0,
    "gpus": [],
}
SPREAD = {"mean": 90.0, "p50": 90, "max": 97.0}
MONITORED = {
    "samples": [{}],
    "gpus": [],
    "summary": [
        {"index": 0, "utilization_gpu": SPREAD, "memory_used": None, "power_draw": None, "temperature": None},
    ],
}


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


@pytest.fixture
def printed():
    """The texts that the display has printed."""
    return []


@pytest.fixture
def terminal():
    return io.StringIO()


@pytest.fixture
def live(printed, clock, terminal, monkeypatch):
    """A display without a thread; ``live.window`` is the size of its terminal."""
    monkeypatch.setattr(channel, "_sender", None)
    screen = Screen(terminal, terminal)
    live = subject.LiveDisplay(screen, printed.append, UNICODE, clock)
    live.window = None
    monkeypatch.setattr(screen, "size", lambda: live.window)
    yield live
    live._receiver.close()
    channel._sender.close()


def send(progress, host="node-1", run="1", task="probe", view="throughput_probe"):
    channel.send({"task": task, "host": host, "run": run, "view": view, "progress": progress})


def lines(printed):
    """The printed lines without their times of day."""
    text = "\n".join(printed)
    assert re.fullmatch(r"(\d\d:\d\d:\d\d .*\n)*", text + "\n" * bool(text))
    return [line.split(" ", 1)[1] for line in text.splitlines()]


def test_refresh_prints_one_line_per_node(live, printed, clock):
    send(None)
    send(None, host="node-2")
    live.refresh()
    assert printed == []
    send(STEP)
    live.refresh()
    clock.now += subject.SHORT
    live.refresh()
    assert lines(printed) == ["node-1: step 1 of 1: sustained, 0:05 of 1:00, 100 tokens/s", "node-2: starting"]
    live.refresh()
    assert len(printed) == 1
    clock.now += subject.REPORT
    live.refresh()
    assert len(printed) == 2


def test_refresh_draws_one_table_of_all_tasks_on_a_terminal(live, printed, clock, terminal):
    live.window = Size(79, 23)
    send(None)
    send(None, host="node-2", task="monitor", view="gpu_monitor")
    live.refresh()
    clock.now += subject.SHORT
    live.refresh()
    table = terminal.getvalue()
    assert printed == []
    assert "load on 1 node" in table and "GPUs of 1 node" in table
    clock.now += subject.REDRAW
    live.refresh()
    assert terminal.getvalue().removeprefix(table).startswith("\x1b[6A")


def test_refresh_cuts_the_table_to_the_terminal(live, clock, terminal):
    live.window = Size(79, 4)
    send(None)
    send(None, host="node-2", task="monitor", view="gpu_monitor")
    live.refresh()
    clock.now += subject.SHORT
    live.refresh()
    assert terminal.getvalue().count("\n") == 4


def test_end_host_stops_the_display_of_a_host(live, printed, clock, terminal):
    live.window = Size(79, 23)
    send(None)
    live.refresh()
    clock.now += subject.SHORT
    live.refresh()
    live.end_host("probe", "node-1", {})
    assert terminal.getvalue().endswith("\x1b[3A\r\x1b[J")
    clock.now += 10
    live.refresh()
    assert terminal.getvalue().endswith("\x1b[3A\r\x1b[J")


@pytest.mark.parametrize(
    ("result", "status"),
    [
        ({}, "done"),
        ({"failed": True, "msg": "model\n'x' is not served"}, "model 'x' is not served"),
        ({"failed": True}, "failed"),
        ({"unreachable": True, "msg": "no route to host"}, "no route to host"),
    ],
)
def test_end_host_shows_how_the_task_ended(live, clock, terminal, result, status):
    live.window = Size(79, 23)
    send(None)
    send(None, host="node-2")
    live.end_host("probe", "node-1", result)
    clock.now += subject.SHORT
    live.refresh()
    assert f"node-1  {status}\x1b" in re.sub("\x1b[^mK]*m", "", terminal.getvalue())


def test_end_host_prints_closing_lines(live, printed, clock):
    send(None, view="gpu_monitor")
    live.refresh()
    clock.now += subject.SHORT
    live.end_host("probe", "node-1", MONITORED)
    live.end_host("probe", "node-1", MONITORED)
    assert lines(printed) == ["node-1 GPU 0: 90 % busy on average, up to 97 %"]


def test_end_host_of_a_short_task_prints_nothing(live, printed):
    send(None, view="gpu_monitor")
    live.end_host("probe", "node-1", MONITORED)
    assert printed == []


@pytest.mark.parametrize(("task", "host"), [("other", "node-1"), ("probe", "node-2")])
def test_end_host_ignores_other_tasks_and_hosts(live, printed, task, host):
    send(None)
    live.end_host(task, host, {"failed": True})
    assert printed == []


def test_record_of_an_earlier_run_is_ignored(live, printed, clock):
    """The last poll of a host may end after its task has ended."""
    send(None, run="1")
    send(None, run="2")
    send(STEP, run="1")
    send(STEP, host="never started")
    live.refresh()
    clock.now += subject.SHORT
    live.refresh()
    assert lines(printed) == ["node-1: starting"]


def test_refresh_names_a_task_that_is_silent_for_long(live, printed, clock):
    live.begin_task("Install the driver")
    clock.now += subject.SILENCE - 1
    live.refresh()
    assert printed == []
    clock.now += 1
    live.refresh()
    assert lines(printed) == ["Install the driver: running for 0:30"]


def test_refresh_is_silent_during_a_prompt(live, printed, clock):
    live.begin_task(None)
    clock.now += 3600
    live.refresh()
    assert printed == []


def test_start_refreshes_in_a_thread(live, monkeypatch):
    threads, refreshed = [], []
    monkeypatch.setattr(subject.background, "start", threads.append)
    monkeypatch.setattr(live, "refresh", lambda: refreshed.append(True))

    def select(*_arguments):
        if refreshed:
            raise SystemExit

    monkeypatch.setattr(subject.select, "select", select)
    live.start()
    with pytest.raises(SystemExit):
        threads[0].run()
    assert refreshed
    assert threads[0].daemon


INVALID_PROGRESS = [
    *({**STEP, key: value} for key in STEP for value in (None, "x", [], {}, float("nan"), float("inf"), 10**400)),
    *({key: value for key, value in STEP.items() if key != name} for name in STEP),
    *({**STEP, "gpus": gpus} for gpus in ([1], [{}], [{"utilization_gpu": "x"}])),
    {},
    *({"elapsed": 1.0, "total": 2.0, "gpus": [], "samples": samples} for samples in (1, [1], [{}], [{"gpus": [{}]}])),
]


@pytest.mark.parametrize("view", ["throughput_probe", "gpu_monitor"])
@pytest.mark.parametrize("size", [None, Size(79, 23)])
def test_refresh_shows_other_nodes_despite_invalid_progress(live, printed, clock, terminal, view, size):
    live.window = size
    for progress in INVALID_PROGRESS:
        send(None, host="bad", task=view, view=view)
        send(None, host="good")
        live.refresh()
        send(progress, host="bad", task=view, view=view)
        send(STEP, host="good")
        clock.now += subject.REPORT
        live.refresh()
        shown = terminal.getvalue() if size else "\n".join(printed)
        assert "sustained" in shown, progress
        terminal.truncate(0)
        printed.clear()


def test_end_host_with_an_invalid_result_is_one_line(live, printed, clock):
    send(None, view="gpu_monitor")
    live.refresh()
    clock.now += subject.SHORT
    live.end_host("probe", "node-1", {"summary": [{"index": 0}]})
    assert lines(printed) == ["node-1: invalid result"]


def test_refresh_renders_each_update_once(live, clock, monkeypatch):
    view = live._views["throughput_probe"]
    lines = mock.Mock(wraps=view.lines)
    monkeypatch.setattr(live, "_views", {"throughput_probe": mock.Mock(lines=lines)})
    send(None)
    for _number in range(5):
        send(STEP)
    live.refresh()
    assert not lines.called
    clock.now += subject.SHORT
    live.refresh()
    lines.assert_called_once()


def test_refresh_survives_values_that_are_invalid_only_together(live, printed, clock):
    """Each value is a valid number, but their sum is not."""
    for number in range(20):
        send(None, host=f"node-{number}")
        send({**STEP, "gpus": [{"utilization_gpu": 1e308}]}, host=f"node-{number}")
    clock.now += subject.SHORT
    live.refresh()
    clock.now += subject.SHORT
    live.refresh()
    assert lines(printed) == ["load on 20 nodes · 0:01"]
