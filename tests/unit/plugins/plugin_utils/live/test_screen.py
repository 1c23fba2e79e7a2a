# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import fcntl
import io
import os
import struct
import subprocess
import sys
import termios

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import screen as subject


@pytest.fixture
def terminal():
    """Descriptor of a terminal, 80 columns wide and 24 rows high."""
    master, slave = os.openpty()
    resize(slave, 80, 24)
    yield slave
    os.close(slave)
    os.close(master)


def resize(descriptor, columns, rows):
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def test_terminal_is_found(terminal):
    assert subject.terminal_of(terminal, {"TERM": "xterm"}) == os.ttyname(terminal)


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {}])
def test_terminal_that_cannot_move_its_cursor(terminal, environment):
    assert subject.terminal_of(terminal, environment) is None


def test_pipe_is_no_terminal():
    read_end, write_end = os.pipe()
    assert subject.terminal_of(write_end, {"TERM": "xterm"}) is None
    os.close(read_end)
    os.close(write_end)


def test_size_follows_the_window(terminal):
    assert subject.size_of(os.ttyname(terminal)) == subject.Size(79, 23)
    resize(terminal, 120, 40)
    assert subject.size_of(os.ttyname(terminal)) == subject.Size(119, 39)


def test_no_size(terminal):
    resize(terminal, 0, 0)
    assert subject.size_of(os.ttyname(terminal)) is None
    assert subject.size_of("/dev/null") is None
    assert subject.size_of("/nonexistent") is None
    assert subject.size_of(None) is None


def test_line_leaves_at_once():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, write_through=False)
    stream.write("before\n")
    assert raw.getvalue() == b""
    subject.unbuffer(stream)
    stream.write("after\n")
    assert raw.getvalue() == b"before\nafter\n"


def test_other_streams_stay_as_they_are():
    subject.unbuffer(io.StringIO())
    closed = io.TextIOWrapper(io.BytesIO())
    closed.close()
    subject.unbuffer(closed)


def test_importing_it_is_enough():
    name = subject.__name__
    code = f"import sys, os, {name}; sys.stdout.write('line\\n'); os._exit(0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "line\n"


class Terminal:
    """Understands what ``redrawn`` writes: newline, cursor up, carriage return, clear the line's rest and below."""

    def __init__(self):
        self.lines = [""]
        self.row = 0

    def write(self, text):
        text = text.replace("\x1b[K", "").replace("\r", "")
        while text:
            if text.startswith("\x1b[J"):
                self.lines = [*self.lines[: self.row], ""]
                text = text[3:]
            elif text.startswith("\x1b["):
                number, _a, text = text[2:].partition("A")
                self.row -= int(number)
            else:
                line, newline, text = text.partition("\n") if "\n" in text else (text, "", "")
                self.lines[self.row] = line
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append("")


@pytest.mark.parametrize("after", [["a", "b"], ["a"], [], ["a", "b", "c", "d"]])
def test_table_is_drawn_where_it_stood(after):
    terminal = Terminal()
    terminal.write("TASK\n")
    terminal.write(subject.redrawn(["one", "two", "three"], 0))
    terminal.write(subject.redrawn(after, 3))
    terminal.write("ok: [node]\n")
    assert terminal.lines == ["TASK", *after, "ok: [node]", ""]
