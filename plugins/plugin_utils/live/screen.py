# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrap standard output and standard error to show a live table below ordinary output and to tolerate closed pipes."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
import typing as t
from collections.abc import Sequence

from ansible_collections.multigpu.vllm.plugins.plugin_utils.printable import printable

_UP: t.Final = "\x1b[{}A\r"
_CLEAR_REST_OF_LINE: t.Final = "\x1b[K"
_CLEAR_BELOW: t.Final = "\x1b[J"
#: Escape sequence that sets a colour (SGR of ECMA-48); Ansible writes no other.
_COLOUR: t.Final = re.compile(r"(\x1b\[[0-9;]*m)")


class Size(t.NamedTuple):
    """Number of columns and rows that are available for text."""

    columns: int
    rows: int


class Screen:
    """Output to a terminal, pipe or file: ordinary text and, on a terminal, one table below this text."""

    def __init__(self, stdout: t.TextIO, stderr: t.TextIO) -> None:
        self._lock = threading.RLock()
        self._rows = 0
        self.written_at = time.monotonic()
        self.stdout = Stream(stdout, self)
        self.stderr = Stream(stderr, self)

    @classmethod
    def install(cls) -> Screen:
        """Create a screen and redirect this process's standard output and standard error through it."""
        screen = cls(sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = t.cast("tuple[t.TextIO, t.TextIO]", (screen.stdout, screen.stderr))
        return screen

    def size(self) -> Size | None:
        """Return the size of the terminal area that is available for text, or None if the output cannot be redrawn."""
        if os.environ.get("TERM", "dumb") == "dumb":
            return None
        try:
            columns, rows = os.get_terminal_size(self.stdout.fileno())
        except (OSError, ValueError):
            return None
        # Leave the last column blank, because terminals differ in how they wrap a full line.
        # Keep the last row for the cursor.
        return Size(columns - 1, rows - 1) if columns > 1 and rows > 1 else None

    def draw(self, lines: Sequence[str]) -> None:
        """Replace the table with ``lines``, which must fit on the terminal."""
        with self._lock:
            start = _UP.format(self._rows) if self._rows else ""
            self._put(self.stdout, start + "".join(f"{line}{_CLEAR_REST_OF_LINE}\n" for line in lines) + _CLEAR_BELOW)
            self._rows = len(lines)

    def clear(self) -> None:
        """Remove the table from the terminal."""
        with self._lock:
            if self._rows:
                self.draw(())

    def write(self, stream: Stream, text: str) -> None:
        """Remove the table until the next call of ``draw``, and write ``text`` in its place.

        All control characters except colours are replaced, because Ansible prints some texts of nodes, such as
        warnings, as they are.
        """
        parts = _COLOUR.split(text)
        parts[::2] = map(printable, parts[::2])
        with self._lock:
            self.clear()
            self._put(stream, "".join(parts))

    def _put(self, stream: Stream, text: str) -> None:
        """Write ``text`` and flush the stream, because Python would otherwise buffer output to a pipe or a file.

        After the reader of a pipe has closed it, further output is discarded. Otherwise the error would end the thread
        in which Ansible collects results, and the run would wait for these results forever.
        """
        self.written_at = time.monotonic()
        try:
            stream.wrapped.write(text)
            stream.wrapped.flush()
        except BrokenPipeError:
            discard = os.open(os.devnull, os.O_WRONLY)
            os.dup2(discard, stream.fileno())
            os.close(discard)


class Stream:
    """Replacement for standard output or standard error that writes through a ``Screen``."""

    def __init__(self, wrapped: t.TextIO, screen: Screen) -> None:
        self.wrapped = wrapped
        self._screen = screen

    def write(self, text: str) -> int:
        self._screen.write(self, text)
        return len(text)

    def flush(self) -> None:
        """Do nothing, because every write is flushed immediately."""

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self.wrapped, name)
