# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Threads beside the main one that leave signals to it."""

from __future__ import annotations

import signal
import threading
import typing as t

#: Signals that end a process.
ENDING: t.Final = frozenset({signal.SIGINT, signal.SIGTERM})


def start(thread: threading.Thread) -> None:
    """Start ``thread`` so that a signal to end never goes to it.

    The system may hand a signal to any thread that takes it, and Python runs the handler in the main thread only. A
    main thread that waits (for a process, a lock) would not come back to run it, and the process would not end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
