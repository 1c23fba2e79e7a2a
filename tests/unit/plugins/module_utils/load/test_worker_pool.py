# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from unittest.mock import Mock

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import worker_pool as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome


def make_worker(completed: int):
    """Return a worker that reports progress and records its start time."""

    def work(*, start, report_progress) -> LoadOutcome:
        async def begin() -> float:
            return start()

        started = subject.asyncio.run(begin())
        report_progress(completed * 10, completed)
        return LoadOutcome(started=started, completed=completed)

    return work


def test_run_workers_starts_together_and_merges_the_outcomes():
    reports, called = [], time.monotonic()
    outcome = subject.run_workers(
        [make_worker(1), make_worker(20), make_worker(300)], lambda *counts: reports.append(counts), 0.0
    )
    assert (outcome.completed, outcome.processes) == (321, 3)
    # These workers do not wait for the start time, so it may be in the future.
    assert called < outcome.started <= time.monotonic() + subject._START_DELAY
    assert reports[-1] == (3210, 321)
    assert reports == sorted(reports)


def test_run_workers_without_progress_report_merges_the_outcomes():
    assert subject.run_workers([make_worker(1), make_worker(2)], None, 0.0).completed == 3


def test_run_workers_failing_worker_ends_all(capfd):
    def broken(*, start, report_progress) -> LoadOutcome:
        raise ZeroDivisionError("a bug in the worker")

    def endless(*, start, report_progress) -> LoadOutcome:
        time.sleep(600)
        return LoadOutcome()

    with pytest.raises(subject.WorkerFailed):
        subject.run_workers([broken, endless], None, 0.0)
    assert "a bug in the worker" in capfd.readouterr().err


def test_run_workers_killed_worker_ends_all():
    def killed(*, start, report_progress) -> LoadOutcome:
        start_in_loop(start)
        os.kill(os.getpid(), signal.SIGKILL)
        return LoadOutcome()

    with pytest.raises(subject.WorkerFailed):
        subject.run_workers([make_worker(1), killed], None, 0.0)


def test_run_workers_fork_failure_ends_the_started_workers(monkeypatch):
    forked = ForkProcess._Popen

    def fork_once(process):
        if process.name == "load-1":
            raise BlockingIOError("Resource temporarily unavailable")
        return forked(process)

    def endless(*, start, report_progress) -> LoadOutcome:
        time.sleep(600)
        return LoadOutcome()

    monkeypatch.setattr(ForkProcess, "_Popen", staticmethod(fork_once))
    unfreeze = Mock()
    monkeypatch.setattr(gc, "unfreeze", unfreeze)
    open_before = os.listdir("/proc/self/fd")
    with pytest.raises(BlockingIOError):
        subject.run_workers([endless, endless, endless], None, 0.0)
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("load-")]
    assert len(os.listdir("/proc/self/fd")) == len(open_before)
    unfreeze.assert_called_once()


def start_in_loop(start) -> None:
    async def begin() -> None:
        start()

    subject.asyncio.run(begin())


def test_run_workers_killed_parent_ends_the_workers():
    """A killed parent cannot stop its workers; they notice that the pipe is closed."""
    reading, writing = os.pipe()

    def endless(*, start, report_progress) -> LoadOutcome:
        async def load() -> None:
            start()
            os.write(writing, b"%d\n" % os.getpid())
            await subject.asyncio.sleep(600)

        subject.asyncio.run(load())
        return LoadOutcome()

    parent = os.fork()
    if not parent:
        subject.run_workers([endless, endless], None, 0.0)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as lines:
        workers = [int(lines.readline()) for _number in range(2)]
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        # The file ends when the last process that could write has exited.
        assert lines.read() == ""
    assert len(set(workers)) == 2


def test_work_sends_ready_progress_and_outcome():
    # In a thread of this process, where the parent's end is another descriptor of the same pipe.
    pipes = [multiprocessing.Pipe(), multiprocessing.Pipe()]
    parent = Connection(os.dup(pipes[1][0].fileno()))
    started = []

    def work(*, start, report_progress) -> LoadOutcome:
        async def begin() -> None:
            started.append(start())

        subject.asyncio.run(begin())
        report_progress(50, 5)
        return LoadOutcome(completed=5)

    thread = threading.Thread(target=subject._work, args=(work, 1, pipes))
    thread.start()
    assert parent.recv() == ("ready", None)
    parent.send(12.5)
    assert parent.recv() == ("progress", (50, 5))
    kind, outcome = parent.recv()
    thread.join()
    assert (kind, outcome.completed, started) == ("outcome", 5, [12.5])
    assert all(parent_end.closed for parent_end, _child_end in pipes), "a worker closes the ends of the others"
    assert [child_end.closed for _parent_end, child_end in pipes] == [True, False]
