# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells how far a long module is, in a small file that someone else reads while the module runs."""

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

#: Seconds between two versions of the file.
PERIOD: t.Final = 0.5
#: Where a module writes its result.
STDOUT: t.Final = 1

State = dict[str, t.Any]


class InvalidProgressPath(ValueError):
    """No progress can be written to this path."""


class ProgressFile:
    """One JSON object in ``path``, always whole: every version replaces the last one in one step.

    A reader says that it is there by setting the file's access time (``touch -a``). Once it has done so,
    ``abandoned`` becomes true when it has not come back for ``patience`` seconds.
    """

    def __init__(self, path: str, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._patience = patience
        self._clock = clock
        self._written_at: int | None = None
        self._seen: float | None = None

    def write(self, state: State) -> None:
        """Replace the file by ``state``.

        :raises OSError: where the directory cannot be written.
        """
        self._look_for_reader()
        replace_text(self.path, json.dumps(state))
        self._written_at = os.stat(self.path).st_atime_ns

    @property
    def abandoned(self) -> bool:
        return self._seen is not None and self._clock() - self._seen > self._patience

    def remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _look_for_reader(self) -> None:
        # Access times are compared with each other and not with a clock, which someone may set meanwhile.
        with contextlib.suppress(FileNotFoundError):
            if self._written_at is not None and os.stat(self.path).st_atime_ns != self._written_at:
                self._seen = self._clock()


def hung_up(descriptor: int) -> bool:
    """Whether nobody is left at the other end of ``descriptor``, a pipe or socket; a file has no other end."""
    poller = select.poll()
    poller.register(descriptor, 0)
    try:
        return any(event & (select.POLLERR | select.POLLHUP) for _number, event in poller.poll(0))
    except OSError:
        return False


def check_path(path: str | None) -> None:
    """Refuse a ``path`` that cannot be written; ``None`` is none.

    :raises InvalidProgressPath: says why.
    """
    if path is None:
        return
    directory = os.path.dirname(path)
    if not os.path.isabs(path) or not os.path.isdir(directory):
        raise InvalidProgressPath(f"progress_path is {path}; allowed: an absolute path in a directory that exists")
    if not os.access(directory, os.W_OK):
        raise InvalidProgressPath(f"progress_path is {path}; {directory} is not writable")


def end_main_thread() -> None:
    """End the block of ``published`` from another thread, as a signal to end does."""
    # To that thread itself, so that a call in which it waits comes back.
    signal.pthread_kill(t.cast(int, threading.main_thread().ident), signal.SIGTERM)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A signal to end raises ``SystemExit`` in the block, so that everything is tidied up on the way out."""

    def end(number: int, _frame: t.Any) -> t.NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def published(
    path: str | None,
    snapshot: Callable[[], State],
    patience: float,
    on_abandoned: Callable[[], None] = end_main_thread,
    period: float = PERIOD,
) -> Iterator[None]:
    """While the block runs, keep ``snapshot()`` in ``path``, from a thread of its own; afterwards the file is gone.

    :param path: ``None`` writes nothing, and the rest does not apply.
    :param on_abandoned: called once, in that thread, where a reader was there and stayed away for ``patience`` seconds,
        or where nobody waits for this process's output any more.
    :raises InvalidProgressPath: where ``path`` cannot be written.
    """
    check_path(path)
    if path is None:
        yield
        return
    progress = ProgressFile(path, patience)
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            # A full disk costs the display its figures, and not the measurement its result.
            with contextlib.suppress(OSError):
                progress.write(snapshot())
            # Who waits for the result holds the other end of standard output, unless something like sudo is between.
            if progress.abandoned or hung_up(STDOUT):
                on_abandoned()
                return
            over.wait(period)

    thread = threading.Thread(target=work, name="progress", daemon=True)
    # Before the thread begins, which may send such a signal at once.
    with _ended_by_signals():
        try:
            background.start(thread)
            yield
        finally:
            over.set()
            try:
                if thread.ident is not None:
                    thread.join()
            finally:
                progress.remove()
