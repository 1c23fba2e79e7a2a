# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Child processes of the server: the engine core and one worker per rank, with vLLM's process titles."""

from __future__ import annotations

import ctypes
import os
import pathlib
import signal
import typing as t

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def start(title: str) -> int:
    """Start an idle process with this title that exits with its parent; return its pid. Call before threads start."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        set_title(title, libc)
        while os.getppid() == parent:
            signal.pause()
    finally:
        os._exit(0)


def stop(pids: t.Iterable[int]) -> None:
    """Kill child processes and reap them."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def set_title(title: str, libc: ctypes.CDLL) -> None:
    """Overwrite the arguments of this process with ``title``, for ``/proc/PID/cmdline`` and ``ps``."""
    libc.prctl(_PR_SET_NAME, title.encode()[:15])
    # Fields 48 and 49 of proc(5) stat; the command name before them can hold spaces, but ends with the last ")".
    values = pathlib.Path("/proc/self/stat").read_text("latin-1").rpartition(")")[2].split()
    start_address, end_address = int(values[45]), int(values[46])
    room = end_address - start_address
    if room > 1:
        ctypes.memmove(start_address, title.encode()[: room - 1].ljust(room, b"\0"), room)
