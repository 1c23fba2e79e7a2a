# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the progress of a long-running module to a file, and end the module if the reader of that file disappears."""

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
#: Maximum time between two heartbeats, in seconds. SSH takes about as long to give up on a lost connection.
HEARTBEAT_TIMEOUT: t.Final = 60.0
#: Suffix of the file whose modification time the reader updates with every read.
HEARTBEAT_SUFFIX: t.Final = ".heartbeat"
#: File descriptor to which a module writes its result.
STDOUT: t.Final = 1

State = dict[str, t.Any]


class InvalidProgressPath(ValueError):
    """The module cannot write its progress to the given path."""


class Heartbeat:
    """A file that the reader of the progress file touches regularly to show that the reader is still running.

    There is no deadline before the first heartbeat, because the progress may not have a reader.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._touched: int | None = None
        self._seen_at: float | None = None

    def missed(self) -> bool:
        """Return whether the last heartbeat was more than ``HEARTBEAT_TIMEOUT`` seconds ago.

        :raises OSError: if the file can neither be read nor created.
        """
        if not os.path.exists(self._path):
            # Make the file writable for all users: with become, the reader and the module may run as different users.
            replace_text(self._path, "", 0o666)
            self._touched = None
        # Compare modification times only with each other, not with the system clock, which may be adjusted at any time.
        touched = os.stat(self._path).st_mtime_ns
        if touched != self._touched:
            self._seen_at = self._seen_at if self._touched is None else self._clock()
            self._touched = touched
        return self._seen_at is not None and self._clock() - self._seen_at > HEARTBEAT_TIMEOUT


def hung_up(descriptor: int) -> bool:
    """Return whether the other end of a pipe or socket is closed. A regular file never counts as closed."""
    poller = select.poll()
    poller.register(descriptor, 0)
    try:
        return any(event & (select.POLLERR | select.POLLHUP) for _number, event in poller.poll(0))
    except OSError:
        return False


def check_path(path: str | None) -> None:
    """Check that a progress file can be written at ``path``, unless ``path`` is None.

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
    """Raise SystemExit in the ``with`` block on SIGINT or SIGTERM, so that cleanup code runs before the exit."""

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
    """Write the result of ``snapshot()`` to ``path`` periodically during the ``with`` block, then remove the file.

    The file contains one JSON object. The block ends with SystemExit, as on SIGTERM, if the reader's heartbeats stop or
    if nothing reads this process's standard output any more.

    :param path: the file, or None to write no progress.
    :param period: seconds between two writes.
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
            # If the disk is full, the progress file is not updated, but the module continues.
            with contextlib.suppress(OSError):
                replace_text(path, json.dumps(snapshot()), 0o644)
            with contextlib.suppress(OSError):
                if hung_up(STDOUT) or heartbeat.missed():
                    # Send the signal to the main thread itself, so that a blocking system call there is interrupted.
                    signal.pthread_kill(t.cast(int, threading.main_thread().ident), signal.SIGTERM)
                    return
            stopped.wait(period)

    thread = threading.Thread(target=work, name="progress", daemon=True)
    # Install the signal handlers first, because the thread may send a signal as soon as it runs.
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
