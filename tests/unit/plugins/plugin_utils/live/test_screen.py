# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import os
import struct
import sys
import termios
from fcntl import ioctl

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import screen as subject


class Terminal(io.StringIO):
    """Interprets what a screen writes: newline, cursor up, carriage return, clear to the end of the line and below."""

    def __init__(self):
        super().__init__()
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
                line, _newline, text = text.partition("\n")
                self.lines[self.row] = line
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append("")


@pytest.fixture
def terminal():
    return Terminal()


@pytest.fixture
def screen(terminal):
    return subject.Screen(terminal, terminal)


@pytest.mark.parametrize("lines", [["a", "b"], ["a"], [], ["a", "b", "c", "d"]])
def test_screen_draw_replaces_the_table(screen, terminal, lines):
    screen.stdout.write("TASK\n")
    screen.draw(["one", "two", "three"])
    screen.draw(lines)
    assert terminal.lines == ["TASK", *lines, ""]


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_screen_output_removes_the_table(screen, terminal, name):
    screen.draw(["one", "two"])
    getattr(screen, name).write("ok: [node]\n")
    screen.draw(["three"])
    assert terminal.lines == ["ok: [node]", "three", ""]


def test_screen_clear_removes_the_table_once(screen, terminal):
    screen.draw(["one", "two"])
    screen.clear()
    screen.clear()
    assert terminal.lines == [""]


def test_screen_notes_when_it_was_written(screen, monkeypatch):
    monkeypatch.setattr(subject.time, "monotonic", lambda: 77.0)
    screen.draw(["one"])
    assert screen.written_at == 77.0


def test_stream_writes_into_a_pipe_at_once():
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "w") as stream, os.fdopen(read_end, "rb", buffering=0) as reader:
        assert subject.Screen(stream, stream).stdout.write("line\n") == 5
        assert reader.read(100) == b"line\n"


def test_stream_discards_output_after_the_reader_has_exited():
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as stream:
        screen = subject.Screen(stream, stream)
        for _number in range(3):
            screen.stdout.write("line\n" * 10_000)
        screen.stdout.flush()
        assert os.readlink(f"/proc/self/fd/{write_end}") == os.devnull


def test_stream_has_the_attributes_of_the_wrapped_one(screen, terminal):
    assert screen.stdout.isatty() is False
    assert screen.stdout.newlines is terminal.newlines


def test_install_replaces_both_streams(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    screen = subject.Screen.install()
    assert (sys.stdout, sys.stderr) == (screen.stdout, screen.stderr)


@pytest.fixture
def window():
    """A terminal of 80 columns and 24 rows."""
    master, slave = os.openpty()
    resize(slave, 80, 24)
    with os.fdopen(slave, "w") as stream:
        yield stream
    os.close(master)


def resize(descriptor, columns, rows):
    ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def test_size_follows_the_terminal(window, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen = subject.Screen(window, window)
    assert screen.size() == subject.Size(79, 23)
    resize(window.fileno(), 120, 40)
    assert screen.size() == subject.Size(119, 39)
    resize(window.fileno(), 0, 0)
    assert screen.size() is None


@pytest.mark.parametrize("term", ["dumb", None])
def test_size_is_none_if_the_terminal_cannot_move_its_cursor(window, monkeypatch, term):
    monkeypatch.delenv("TERM", raising=False)
    if term:
        monkeypatch.setenv("TERM", term)
    assert subject.Screen(window, window).size() is None


def test_size_is_none_without_a_terminal(screen, monkeypatch, tmp_path):
    monkeypatch.setenv("TERM", "xterm")
    assert screen.size() is None
    with (tmp_path / "output").open("w") as stream:
        assert subject.Screen(stream, stream).size() is None


def test_screen_output_has_no_control_characters_but_colours(screen, terminal, monkeypatch):
    written = []
    monkeypatch.setattr(terminal, "write", written.append)
    screen.stdout.write("\x1b[0;31mfatal: \x1b[2J\x9b2J\x07\u202e\x1b]0;title\r\x1b[0m\n")
    assert written == ["\x1b[0;31mfatal: �[2J�2J���]0;title�\x1b[0m\n"]
