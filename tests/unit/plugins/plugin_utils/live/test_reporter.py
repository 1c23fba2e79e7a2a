# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import reporter as subject
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.board import Board
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.screen import Size, redrawn


class View:
    """One line a node: its name, what it told, and how it ended."""

    def table(self, nodes, size):
        return [f"{name} {node.progress.get('step')} {node.ended}" for name, node in nodes.items()]

    def plain(self, nodes):
        return self.table(nodes, None)

    def closing(self, name, result):
        return []


class Output:
    """Keeps what is written; ``wrote`` is set with every text."""

    def __init__(self, size=None, silence=None):
        self.texts = []
        self._silence = silence
        self.wrote = threading.Event()
        self._size = size

    def size(self):
        return self._size

    def silence(self):
        return self._silence

    def say(self, lines):
        self.draw(list(lines))

    def draw(self, text):
        self.texts.append(text)
        self.wrote.set()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """No waiting: everything is due at once."""
    for name in ("TICK", "REDRAW", "REPORT", "PATIENCE", "PAUSE"):
        monkeypatch.setattr(subject, name, 0.001)


@pytest.fixture
def board(tmp_path):
    return Board(tmp_path)


def seen(output, text):
    """Wait until ``text`` was written, somewhere in a line."""
    while not any(text in str(entry) for entry in output.texts):
        output.wrote.clear()
        assert output.wrote.wait(10), output.texts


@pytest.mark.parametrize("size", [None, Size(79, 23)])
def test_reporter_shows_what_the_node_tells(board, size):
    output = Output(size)
    reporter = subject.Reporter(board, "node", View(), output)
    reporter.start(lambda: {"step": 7}, 0.001)
    seen(output, "node 7 None")
    reporter.stop("done", ["node took a second"])
    assert output.texts[-1] == ["node took a second"]
    assert board.states()["node"]["ended"] == "done"


def test_table_is_gone_before_the_result_is_printed(board):
    output = Output(Size(79, 23))
    reporter = subject.Reporter(board, "node", View(), output)
    reporter.start(lambda: None, 0.001)
    seen(output, "node None None")
    reporter.stop("done", [])
    assert output.texts[-2] == redrawn([], 1)
    assert board.shared()["lines"] == 0


def test_node_that_does_not_answer_is_shown_all_the_same(board):
    output = Output()
    asked, answer = threading.Event(), threading.Event()

    def poll():
        asked.set()
        answer.wait(10)

    reporter = subject.Reporter(board, "node", View(), output)
    reporter.start(poll, 0.001)
    assert asked.wait(10)
    seen(output, "node None None")
    reporter.stop("unreachable", [])
    answer.set()
    assert board.states()["node"]["ended"] == "unreachable"


def test_one_drawing_shows_every_host(board):
    outputs = [Output(Size(79, 23)), Output(Size(79, 23))]
    reporters = [
        subject.Reporter(board, name, View(), output) for name, output in zip(("a", "b"), outputs, strict=True)
    ]
    for reporter in reporters:
        reporter.start(lambda: {"step": 1}, 0.001)
    seen(outputs[1], "b 1 None")
    reporters[0].stop("failed", [])
    seen(outputs[1], " failed")
    reporters[1].stop("done", [])
    assert any("a " in str(text) and " failed" in str(text) and "b 1 None" in str(text) for text in outputs[1].texts)


def test_every_news_is_handed_on(board):
    output, heard = Output(), []
    reporter = subject.Reporter(board, "node", View(), output, heard.append)
    reporter.start(lambda: {"step": 7}, 0.001)
    seen(output, "node 7 None")
    reporter.stop("done", [])
    assert heard[0] == {"step": 7}


def test_what_others_share_is_kept(board):
    with board.locked():
        board.share({"recorded": True})
    output = Output(Size(79, 23))
    reporter = subject.Reporter(board, "node", View(), output)
    reporter.start(lambda: None, 0.001)
    seen(output, "node")
    reporter.stop("done", [])
    assert board.shared()["recorded"] is True


def test_short_task_is_not_worth_a_word(board, monkeypatch):
    monkeypatch.setattr(subject, "PATIENCE", 3600)
    output = Output()
    reporter = subject.Reporter(board, "node", View(), output)
    reporter.start(lambda: None, 3600)
    reporter.stop("done", ["closing"])
    assert output.texts == []


@pytest.mark.parametrize(("hosts", "interval"), [(1, 2), (20, 2), (60, 3), (100, 5), (1000, 5)])
def test_large_fleet_is_asked_less_often(hosts, interval):
    assert subject.poll_interval(hosts, 2.0) == interval


@pytest.mark.parametrize(
    ("size", "silence", "speaks"),
    [
        (None, None, False),
        (None, 1.0, False),
        (None, 3600.0, True),
        (Size(79, 23), 3600.0, False),
    ],
    ids=["first task of the run", "just spoken", "silent for long", "a table needs no words"],
)
def test_short_task_speaks_only_after_a_long_silence(board, monkeypatch, size, silence, speaks):
    monkeypatch.setattr(subject, "PATIENCE", 3600)
    monkeypatch.setattr(subject, "REPORT", 60)
    output = Output(size, silence)
    reporter = subject.Reporter(board, "node", View(), output)
    reporter.start()
    if speaks:
        seen(output, "node None None")
    reporter.stop("done", [])
    assert bool(output.texts) is speaks
