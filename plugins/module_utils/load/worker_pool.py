# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several processes that make one load together: forked before it, started at one moment, joined after it.

All share one clock (``time.monotonic`` is the system's), so what they saw adds up as if one process had seen it. They
fork from what is already loaded and prepared, which takes milliseconds and little memory.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import time
import typing as t
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome

#: Seconds from the moment when all are ready to the common start: long enough for the word to reach everyone.
_LEAD: t.Final = 0.02
#: Seconds that a process may take to end when it is told to.
_PATIENCE: t.Final = 5.0

Watch = Callable[[int, int], None]


class Member(t.Protocol):
    """One process's part of the load; ``start`` and ``watch`` as in ``StepRun``."""

    def __call__(self, *, start: Callable[[], float], watch: Watch) -> LoadOutcome: ...


class CrewFailed(RuntimeError):
    """A process of the load client ended without a result; the message says how."""


def run_crew(members: Sequence[Member], watch: Watch | None = None, start_at: float = 0.0) -> LoadOutcome:
    """Run all ``members`` at the same time, each in a process of its own, and join their outcomes.

    :param watch: is told the sums of what the members tell.
    :param start_at: do not start before this time (``time.monotonic`` seconds).
    :raises CrewFailed: where one of them failed; the others are ended.
    :raises OSError: where not all could be started; those that were are ended.
    """
    fork = multiprocessing.get_context("fork")
    pipes = [fork.Pipe() for _member in members]
    processes = [
        fork.Process(target=_work, args=(member, number, pipes), name=f"load-{number}", daemon=True)
        for number, member in enumerate(members)
    ]
    try:
        _start(processes)
        for _ours, theirs in pipes:
            theirs.close()
        return _lead([ours for ours, _theirs in pipes], watch, start_at)
    finally:
        # A host that is short of memory or processes may have let only some of them start.
        _end([process for process in processes if process.pid is not None])
        for pipe in pipes:
            for end in pipe:
                end.close()


def _start(processes: Sequence[BaseProcess]) -> None:
    # What is frozen is not looked at by the members' garbage collectors, and so stays one copy for all.
    gc.collect()
    gc.freeze()
    try:
        for process in processes:
            process.start()
    finally:
        gc.unfreeze()


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_PATIENCE)
        # Does nothing where it has ended.
        process.kill()
        process.join()


def _lead(pipes: Sequence[Connection], watch: Watch | None, start_at: float) -> LoadOutcome:
    for pipe in pipes:
        _hear(pipe)
    start = max(start_at, time.monotonic() + _LEAD)
    for pipe in pipes:
        pipe.send(start)
    told = dict.fromkeys(pipes, (0, 0))
    outcomes: dict[Connection, LoadOutcome] = {}
    while len(outcomes) < len(pipes):
        for pipe in t.cast("list[Connection]", wait([pipe for pipe in pipes if pipe not in outcomes])):
            kind, value = _hear(pipe)
            if kind == "outcome":
                outcomes[pipe] = value
                continue
            told[pipe] = value
            if watch is not None:
                tokens, finished = map(sum, zip(*told.values(), strict=True))
                watch(tokens, finished)
    first, *others = (outcomes[pipe] for pipe in pipes)
    for other in others:
        first.merge(other)
    return first


def _hear(pipe: Connection) -> tuple[str, t.Any]:
    try:
        return pipe.recv()
    except (EOFError, ConnectionResetError):
        # An error of its own stands on standard error, where Python writes it.
        raise CrewFailed("a process of the load client failed or was killed") from None


def _work(member: Member, number: int, pipes: Sequence[tuple[Connection, Connection]]) -> None:
    """The life of one process: be ready, wait for the word, load, hand the outcome over."""
    mine = pipes[number][1]
    for ours, theirs in pipes:
        ours.close()
        if theirs is not mine:
            theirs.close()

    def start() -> float:
        mine.send(("ready", None))
        begin = mine.recv()
        # Nothing more is said, so what can be read now is that the leader is gone: nobody waits for this load.
        asyncio.get_running_loop().add_reader(mine.fileno(), os._exit, 1)
        return begin

    mine.send(("outcome", member(start=start, watch=lambda *figures: mine.send(("told", figures)))))
