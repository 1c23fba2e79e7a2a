# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends the SSH servers whose PID files are given, and the connections that they hold: sshd leaves those open."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import sys


def children(parent: int) -> list[int]:
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # pid (name) state ppid ...; the name may hold spaces and brackets.
            if int(entry.read_text("latin-1").rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.parent.name))
    return found


def main() -> None:
    for name in sys.argv[1:]:
        server = int(pathlib.Path(name).read_text("ascii"))
        for pid in (*children(server), server):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    main()
