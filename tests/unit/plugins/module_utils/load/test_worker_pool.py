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

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import worker_pool as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome


def member(completed: int):
    """One that says how far it is, and notes when it was told to start."""

    def work(*, start, watch) -> LoadOutcome:
        async def begin() -> float:
            return start()

        begun = subject.asyncio.run(begin())
        watch(completed * 10, completed)
        return LoadOutcome(started=begun, completed=completed)

    return work


def test_all_start_at_one_moment_and_become_one():
    told, called = [], time.monotonic()
    outcome = subject.run_crew([member(1), member(20), member(300)], lambda *figures: told.append(figures))
    assert (outcome.completed, outcome.processes) == (321, 3)
    # These members do not wait for the start that they are told, so it may still lie ahead.
    assert called < outcome.started <= time.monotonic() + subject._LEAD
    assert told[-1] == (3210, 321)
    assert told == sorted(told)


def test_nobody_need_watch():
    assert subject.run_crew([member(1), member(2)]).completed == 3


def test_a_member_that_fails_ends_all(capfd):
    def broken(*, start, watch) -> LoadOutcome:
        raise ZeroDivisionError("an error of our own")

    def patient(*, start, watch) -> LoadOutcome:
        time.sleep(600)
        return LoadOutcome()

    with pytest.raises(subject.CrewFailed):
        subject.run_crew([broken, patient])
    assert "an error of our own" in capfd.readouterr().err


def test_a_member_that_is_killed_ends_all():
    def killed(*, start, watch) -> LoadOutcome:
        start_in_loop(start)
        os.kill(os.getpid(), signal.SIGKILL)
        return LoadOutcome()

    with pytest.raises(subject.CrewFailed):
        subject.run_crew([member(1), killed])


def test_a_process_that_cannot_be_started_ends_those_that_were(monkeypatch):
    forked = ForkProcess._Popen

    def fork_once(process):
        if process.name == "load-1":
            raise BlockingIOError("Resource temporarily unavailable")
        return forked(process)

    def patient(*, start, watch) -> LoadOutcome:
        time.sleep(600)
        return LoadOutcome()

    monkeypatch.setattr(ForkProcess, "_Popen", staticmethod(fork_once))
    open_before = os.listdir("/proc/self/fd")
    with pytest.raises(BlockingIOError):
        subject.run_crew([patient, patient, patient])
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("load-")]
    assert len(os.listdir("/proc/self/fd")) == len(open_before)
    assert gc.get_freeze_count() == 0


def start_in_loop(start) -> None:
    async def begin() -> None:
        start()

    subject.asyncio.run(begin())


def test_members_end_with_their_leader():
    """A leader that is killed tells nobody: its members notice that the line is dead."""
    reading, writing = os.pipe()

    def endless(*, start, watch) -> LoadOutcome:
        async def load() -> None:
            start()
            os.write(writing, b"%d\n" % os.getpid())
            await subject.asyncio.sleep(600)

        subject.asyncio.run(load())
        return LoadOutcome()

    leader = os.fork()
    if not leader:
        subject.run_crew([endless, endless])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as lines:
        members = [int(lines.readline()) for _number in range(2)]
        os.kill(leader, signal.SIGKILL)
        os.waitpid(leader, 0)
        # The end of the file comes when the last one that could write has ended.
        assert lines.read() == ""
    assert len(set(members)) == 2


def test_what_a_process_says_to_its_leader():
    # In a thread of this process, where the leader's end is another descriptor of the same line.
    pipes = [multiprocessing.Pipe(), multiprocessing.Pipe()]
    leader = Connection(os.dup(pipes[1][0].fileno()))
    begun = []

    def work(*, start, watch) -> LoadOutcome:
        async def begin() -> None:
            begun.append(start())

        subject.asyncio.run(begin())
        watch(50, 5)
        return LoadOutcome(completed=5)

    thread = threading.Thread(target=subject._work, args=(work, 1, pipes))
    thread.start()
    assert leader.recv() == ("ready", None)
    leader.send(12.5)
    assert leader.recv() == ("told", (50, 5))
    kind, outcome = leader.recv()
    thread.join()
    assert (kind, outcome.completed, begun) == ("outcome", 5, [12.5])
    assert all(ours.closed for ours, _theirs in pipes), "no process holds open what is another's"
    assert [theirs.closed for _ours, theirs in pipes] == [True, False]
