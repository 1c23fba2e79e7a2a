# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start background threads with SIGINT and SIGTERM blocked, so that the main thread handles them."""

from __future__ import annotations

import signal
import threading
import typing as t

#: Signals that end a process.
ENDING: t.Final = frozenset({signal.SIGINT, signal.SIGTERM})


def start(thread: threading.Thread) -> None:
    """Start ``thread`` with the signals that end a process blocked.

    The kernel may deliver a signal to any thread that does not block it, but Python runs the handler in the main
    thread. A main thread that waits for a process or a lock would not return to run it, and the process would not end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
