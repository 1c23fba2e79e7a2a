# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop SSH servers by their PID files, including the processes of open connections, which sshd leaves running."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import sys


def children(parent: int) -> list[int]:
    pids = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # pid (name) state ppid ...; the name may contain spaces and brackets.
            if int(entry.read_text("latin-1").rpartition(")")[2].split()[1]) == parent:
                pids.append(int(entry.parent.name))
    return pids


def main() -> None:
    for name in sys.argv[1:]:
        server = int(pathlib.Path(name).read_text("ascii"))
        for pid in (*children(server), server):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    main()
