# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start background threads with SIGINT and SIGTERM blocked, so that only the main thread receives them."""

from __future__ import annotations

import signal
import threading
import typing as t

#: Signals that end a process.
ENDING: t.Final = frozenset({signal.SIGINT, signal.SIGTERM})


def start(thread: threading.Thread) -> None:
    """Start ``thread`` with SIGINT and SIGTERM blocked.

    The kernel may deliver a signal to any thread that does not block it, but Python runs signal handlers only in the
    main thread. If another thread received the signal while the main thread waits for a process or a lock, the handler
    would not run and the process would not end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
