# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's terminal: whether there is one, how large it is, and how a table on it is drawn anew.

Ansible takes its worker processes off the terminal, and their only way to it is ``Display``, which hands every message
to the main process. So this file looks at the terminal while it is imported, which happens in the main process: the
strategy loads an action plugin's class there before it starts the first worker.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_UP: t.Final = "\x1b[{}A\r"
_CLEAR_REST_OF_LINE: t.Final = "\x1b[K"
_CLEAR_BELOW: t.Final = "\x1b[J"


@dataclass(frozen=True)
class Size:
    """Columns and rows that text may fill."""

    columns: int
    rows: int


def terminal_of(descriptor: int, environment: Mapping[str, str]) -> str | None:
    """Path of the terminal behind ``descriptor``; ``None`` where there is none that can move its cursor."""
    if environment.get("TERM", "dumb") == "dumb":
        return None
    try:
        return os.ttyname(descriptor)
    except OSError:
        return None


def unbuffer(stream: t.Any) -> None:
    """Let every line of ``stream`` out at once.

    Into a pipe or a file Python writes blocks, so that a line could wait for minutes until the next task begins.
    """
    if isinstance(stream, io.TextIOWrapper):
        with contextlib.suppress(OSError, ValueError):
            stream.reconfigure(line_buffering=True)


#: Terminal of the process that imports this, the main one; ``None`` in a pipeline.
TERMINAL: t.Final = terminal_of(1, os.environ)
unbuffer(sys.stdout)


def size_of(terminal: str | None) -> Size | None:
    """Size of ``terminal`` now, which its user may change at any time; ``None`` where there is no terminal."""
    if terminal is None:
        return None
    try:
        # Not to become this process's controlling terminal, and only to ask.
        descriptor = os.open(terminal, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        columns, rows = os.get_terminal_size(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    # In the last column some terminals wrap and others wait, and below the last line stands the cursor.
    return Size(columns - 1, rows - 1) if columns > 1 and rows > 1 else None


def redrawn(lines: Sequence[str], before: int) -> str:
    """What to write so that ``lines`` stand where the ``before`` lines above the cursor stood."""
    start = _UP.format(before) if before else ""
    return start + "".join(f"{line}{_CLEAR_REST_OF_LINE}\n" for line in lines) + _CLEAR_BELOW
