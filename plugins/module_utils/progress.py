# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish the progress of a long-running module in a file on the node, and end the module if its reader disappears."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import threading
import time
import typing as t
from collections.abc import Callable, Iterator

from ansible_collections.multigpu.vllm.plugins.module_utils import background
from ansible_collections.multigpu.vllm.plugins.module_utils.files import replace_text

#: Seconds between two updates of the file.
PERIOD: t.Final = 0.5
#: Longest time in seconds between two heartbeats. SSH takes about as long to give up a lost connection.
HEARTBEAT_TIMEOUT: t.Final = 60.0
#: Ending of the name of the file whose modification time the reader updates with every read.
HEARTBEAT_SUFFIX: t.Final = ".heartbeat"
#: File descriptor to which a module writes its result.
STDOUT: t.Final = 1

State = dict[str, t.Any]


class InvalidProgressPath(ValueError):
    """A path to which no progress can be written."""


class Heartbeat:
    """The file that a reader touches to show that it is still there.

    Until the first heartbeat there is no deadline: nothing may read the progress.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._touched: int | None = None
        self._seen_at: float | None = None

    def missed(self) -> bool:
        """Return whether the last heartbeat is more than ``HEARTBEAT_TIMEOUT`` ago.

        :raises OSError: if the file can neither be read nor created.
        """
        if not os.path.exists(self._path):
            # The reader may be another user than the one that runs the module (become).
            replace_text(self._path, "", 0o666)
            self._touched = None
        # Modification times are only compared with each other: someone may set the system clock.
        touched = os.stat(self._path).st_mtime_ns
        if touched != self._touched:
            self._seen_at = self._seen_at if self._touched is None else self._clock()
            self._touched = touched
        return self._seen_at is not None and self._clock() - self._seen_at > HEARTBEAT_TIMEOUT


def hung_up(descriptor: int) -> bool:
    """Return whether the other end of a pipe or socket is closed; False for a file."""
    poller = select.poll()
    poller.register(descriptor, 0)
    try:
        return any(event & (select.POLLERR | select.POLLHUP) for _number, event in poller.poll(0))
    except OSError:
        return False


def check_path(path: str | None) -> None:
    """Refuse a ``path`` that cannot be written; None is valid.

    :raises InvalidProgressPath: with the reason.
    """
    if path is None:
        return
    directory = os.path.dirname(path)
    if not os.path.isabs(path) or not os.path.isdir(directory):
        raise InvalidProgressPath(f"progress_path must be an absolute path in an existing directory, got {path!r}.")
    if not os.access(directory, os.W_OK):
        raise InvalidProgressPath(f"progress_path must be in a writable directory, got {path!r}.")


@contextlib.contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Raise SystemExit in the block on SIGINT or SIGTERM, so that everything is cleaned up on the way out."""

    def end(number: int, _frame: t.Any) -> t.NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in background.ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def published(path: str | None, snapshot: Callable[[], State], period: float = PERIOD) -> Iterator[None]:
    """Keep ``snapshot()`` as one JSON object in the file ``path`` while the block runs, then remove the file.

    The block ends with SystemExit, as it does on SIGTERM, if the heartbeats of a reader stop, or if nothing reads this
    process's standard output any more.

    :param path: None publishes nothing.
    :raises InvalidProgressPath: if ``path`` cannot be written.
    """
    check_path(path)
    if path is None:
        yield
        return
    heartbeat = Heartbeat(path + HEARTBEAT_SUFFIX)
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            # A full disk costs the display its figures, not the measurement its result.
            with contextlib.suppress(OSError):
                replace_text(path, json.dumps(snapshot()), 0o644)
            with contextlib.suppress(OSError):
                if hung_up(STDOUT) or heartbeat.missed():
                    # Sent to the main thread itself, so that a system call in which it waits returns.
                    signal.pthread_kill(t.cast(int, threading.main_thread().ident), signal.SIGTERM)
                    return
            stopped.wait(period)

    thread = threading.Thread(target=work, name="progress", daemon=True)
    # The thread may send a signal as soon as it runs.
    with _exit_on_signals():
        try:
            background.start(thread)
            yield
        finally:
            stopped.set()
            try:
                if thread.ident is not None:
                    thread.join()
            finally:
                for leftover in (path, path + HEARTBEAT_SUFFIX):
                    with contextlib.suppress(OSError):
                        os.unlink(leftover)
