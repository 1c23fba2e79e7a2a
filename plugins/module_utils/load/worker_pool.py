# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one load step in several forked processes that start at the same time, and merge their outcomes.

All processes share one clock (``time.monotonic`` is system-wide), so their outcomes add up as if one process had
generated the load. The processes are forked after everything is loaded and prepared, so forking them takes only
milliseconds and little memory.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import multiprocessing
import os
import time
import typing as t
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from ansible_collections.multigpu.vllm.plugins.module_utils.load.engine import ProgressReport
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome

#: Seconds between the moment all workers are ready and the common start: long enough for each to receive it.
_START_DELAY: t.Final = 0.02
#: Seconds that a terminated process may take to exit before it is killed.
_EXIT_TIMEOUT: t.Final = 5.0


class LoadWorker(t.Protocol):
    """A function that generates one process's share of the load. Its arguments are described in ``StepSetup``."""

    def __call__(self, *, start: Callable[[], float], report_progress: ProgressReport) -> LoadOutcome: ...


class WorkerFailed(RuntimeError):
    """Raised if a worker process of the load client exited without sending a result."""


def run_workers(workers: Sequence[LoadWorker], report_progress: ProgressReport | None, start_at: float) -> LoadOutcome:
    """Run all ``workers`` at the same time, each in its own process, and merge their outcomes.

    :param report_progress: receives the sums over all workers.
    :param start_at: earliest start (``time.monotonic`` seconds).
    :raises WorkerFailed: if a worker fails; the others are terminated.
    :raises OSError: if a process cannot be started; those that were started are terminated.
    """
    fork = multiprocessing.get_context("fork")
    pipes = [fork.Pipe() for _worker in workers]
    processes = [
        fork.Process(target=_work, args=(worker, number, pipes), name=f"load-{number}", daemon=True)
        for number, worker in enumerate(workers)
    ]
    try:
        _start(processes)
        for _parent_end, child_end in pipes:
            child_end.close()
        return _coordinate([parent_end for parent_end, _child_end in pipes], report_progress, start_at)
    finally:
        # If the host ran out of memory or process IDs, only some of the processes were started.
        _stop([process for process in processes if process.pid is not None])
        for pipe in pipes:
            for end in pipe:
                end.close()


def _start(processes: Sequence[BaseProcess]) -> None:
    # Garbage collection in the workers skips frozen objects, so the memory of these objects stays shared.
    gc.collect()
    gc.freeze()
    try:
        for process in processes:
            process.start()
    finally:
        gc.unfreeze()


def _stop(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_EXIT_TIMEOUT)
        # This call has no effect if the process has already exited.
        process.kill()
        process.join()


def _coordinate(pipes: Sequence[Connection], report_progress: ProgressReport | None, start_at: float) -> LoadOutcome:
    for pipe in pipes:
        _recv(pipe)
    start = max(start_at, time.monotonic() + _START_DELAY)
    for pipe in pipes:
        pipe.send(start)
    progress = dict.fromkeys(pipes, (0, 0))
    outcomes: dict[Connection, LoadOutcome] = {}
    while len(outcomes) < len(pipes):
        for pipe in t.cast("list[Connection]", wait([pipe for pipe in pipes if pipe not in outcomes])):
            kind, value = _recv(pipe)
            if kind == "outcome":
                outcomes[pipe] = value
                continue
            progress[pipe] = value
            if report_progress is not None:
                tokens, finished = map(sum, zip(*progress.values(), strict=True))
                report_progress(tokens, finished)
    return functools.reduce(LoadOutcome.merge, (outcomes[pipe] for pipe in pipes))


def _recv(pipe: Connection) -> tuple[str, t.Any]:
    try:
        message: tuple[str, t.Any] = pipe.recv()
    except (EOFError, ConnectionResetError):
        # If the worker raised an exception, Python prints the traceback to standard error.
        raise WorkerFailed("a process of the load client failed or was killed") from None
    return message


def _work(worker: LoadWorker, number: int, pipes: Sequence[tuple[Connection, Connection]]) -> None:
    """Run in a worker process: signal readiness, wait for the start time, generate the load and send the outcome."""
    own_end = pipes[number][1]
    for parent_end, child_end in pipes:
        parent_end.close()
        if child_end is not own_end:
            child_end.close()

    def start() -> float:
        own_end.send(("ready", None))
        begin: float = own_end.recv()
        # The parent sends no message after the start time. If the pipe becomes readable again, the parent has exited.
        asyncio.get_running_loop().add_reader(own_end.fileno(), os._exit, 1)
        return begin

    def report_progress(tokens: int, finished: int) -> None:
        own_end.send(("progress", (tokens, finished)))

    own_end.send(("outcome", worker(start=start, report_progress=report_progress)))
