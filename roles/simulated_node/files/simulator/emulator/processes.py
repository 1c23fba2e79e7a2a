# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start and stop child processes that have the same titles as vLLM's engine core and workers.

Run as a program, this file becomes an idle process whose title is the program's argument.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import signal
import sys
import typing as t

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def start(title: str) -> int:
    """Start an idle child process, wait until it has the given title, and return its pid.

    The child exits when its parent exits. Call this function before any thread is started.
    """
    parent = os.getpid()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        os.read(reader, 1)  # End of file once the child has closed its end, or has exited.
        os.close(reader)
        return pid
    try:
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        set_title(title, libc)
        os.close(writer)
        while os.getppid() == parent:
            signal.pause()
    finally:
        os._exit(0)


def stop(pids: t.Iterable[int]) -> None:
    """Kill the given child processes and wait until they have exited."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def exists(pid: int) -> bool:
    """Return whether a process exists. A zombie, and a process that is exiting, has no command line any more."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def set_title(title: str, libc: ctypes.CDLL) -> None:
    """Set the title that ``/proc/PID/cmdline`` and ``ps`` show for this process."""
    libc.prctl(_PR_SET_NAME, title.encode()[:15])
    # Fields 48 and 49 of /proc/PID/stat are the start and end addresses of the command-line arguments (see proc(5)).
    # The command name (field 2) is in parentheses and can contain spaces, so split only the text after the last ")".
    values = pathlib.Path("/proc/self/stat").read_text("latin-1").rpartition(")")[2].split()
    start_address, end_address = int(values[45]), int(values[46])
    room = end_address - start_address
    if room > 1:
        ctypes.memmove(start_address, title.encode()[: room - 1].ljust(room, b"\0"), room)


if __name__ == "__main__":
    set_title(" ".join(sys.argv[1:]), ctypes.CDLL(None))
    signal.pause()
