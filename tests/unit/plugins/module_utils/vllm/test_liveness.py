# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of a server: step by step, and of the emulator's engine in virtual time."""

from __future__ import annotations

import asyncio
import types
import typing as t
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import metrics
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.liveness import (
    ALIVE,
    CANARY_INTERVAL,
    DEAD,
    IDLE_ALIVE,
    NOT_TESTED,
    PROGRESS,
    REFUSED,
    STALLED,
    Canary,
    Liveness,
    LivenessLimits,
    LivenessMemory,
    LivenessSample,
    decide,
    progress_of,
    wants_canary,
)
from ansible_collections.multigpu.vllm.tests.support.emulated_node import EmulatedNode, VirtualLoop
from emulator import boards, engine
from emulator.metrics import page
from emulator.scenario import Scenario
from emulator.sequence import Sequence

LIMITS = LivenessLimits()
#: Seconds between two samples.
POLL = 3.0


def judged(*samples: LivenessSample, limits: LivenessLimits = LIMITS) -> Liveness:
    """Return the state after the last of ``samples``."""
    memory, result = LivenessMemory(), Liveness("", "")
    for sample in samples:
        memory, result = decide(memory, sample, limits)
    return result


def steps(count: float, running: float = 0.0) -> tuple[float, ...]:
    values = dict.fromkeys(PROGRESS, 0.0) | {PROGRESS[0]: count, "vllm:num_requests_running": running}
    return tuple(values.values())


UP = LivenessSample(0.0, "a", progress=steps(5))
#: The canary of a server that has completed 5 steps is pending since second 0.
PENDING = replace(UP, canary=Canary(0.0))


@pytest.mark.parametrize(
    ("samples", "state", "words"),
    [
        ([UP, replace(UP, time=3.0, progress=steps(6, running=2.0))], ALIVE, "0 s ago"),
        ([UP, replace(UP, time=3.0, canary=Canary(1.0, 200, 2.0))], IDLE_ALIVE, "1 s ago"),
        ([UP], NOT_TESTED, "no completed step"),
        ([PENDING, replace(PENDING, time=44.9)], NOT_TESTED, "no completed step"),
        ([PENDING, replace(PENDING, time=45.0)], STALLED, "45 s"),
        # The number of running requests does not change: it is that of the last completed step.
        ([replace(PENDING, time=at, progress=steps(5, running=9.0)) for at in (0.0, 45.0)], STALLED, "45 s"),
        (
            [PENDING, replace(PENDING, time=40.0, progress=steps(6)), replace(PENDING, time=84.0, progress=steps(6))],
            IDLE_ALIVE,
            "44 s ago",
        ),
        # Before the first step since the start, kernels may be compiled.
        ([replace(PENDING, time=at, progress=steps(0)) for at in (0.0, 299.0)], NOT_TESTED, "no completed step"),
        ([replace(PENDING, time=at, progress=steps(0)) for at in (0.0, 300.0)], STALLED, "300 s"),
        ([replace(PENDING, time=at, progress=()) for at in (0.0, 300.0)], NOT_TESTED, "reports no vllm:iteration"),
        ([replace(UP, time=9.0, canary=Canary(1.0, 401, 2.0))], NOT_TESTED, "HTTP status 401"),
        ([replace(UP, time=9.0, canary=Canary(1.0, REFUSED, 2.0))], NOT_TESTED, "HTTP status unknown"),
        ([UP, replace(UP, time=3.0, health=503), replace(UP, time=17.0, health=503)], NOT_TESTED, "dead engine"),
        ([UP, replace(UP, time=3.0, health=503), replace(UP, time=18.0, health=503)], DEAD, "dead engine for 15 s"),
        ([UP, *(replace(UP, time=at, health=REFUSED) for at in (3.0, 18.0))], DEAD, "refuses connections"),
        ([UP, *(replace(UP, time=at, health=None) for at in (3.0, 47.0))], NOT_TESTED, "no response"),
        ([UP, *(replace(UP, time=at, health=None) for at in (3.0, 48.0))], STALLED, "no response for 45 s"),
        ([UP, replace(UP, time=3.0, health=None), UP, replace(UP, time=50.0, health=None)], NOT_TESTED, "for 0 s"),
        ([replace(UP, time=at, health=503) for at in (0.0, 1799.0)], NOT_TESTED, "1799 s after the start"),
        ([replace(UP, time=at, health=REFUSED) for at in (0.0, 1799.0)], NOT_TESTED, "after the start"),
        ([replace(UP, time=at, health=REFUSED) for at in (0.0, 1800.0)], DEAD, "1800 s after the start"),
        # Docker has restarted the container meanwhile.
        ([PENDING, replace(UP, time=46.0, server="b", health=REFUSED)], NOT_TESTED, "0 s after the start"),
        ([PENDING, replace(PENDING, time=46.0, server=None)], NOT_TESTED, "not running"),
    ],
)
def test_decide_samples_give_the_state(samples: list[LivenessSample], state: str, words: str) -> None:
    result = judged(*samples)
    assert (result.state, words in result.reason) == (state, True), result.reason
    assert result.needs_restart is (state in (STALLED, DEAD))


@pytest.mark.parametrize(
    ("sample", "wanted"),
    [
        (replace(UP, time=1.0), True),
        (replace(UP, time=1.0, canary=Canary(0.5)), False),
        (replace(UP, time=1.0, canary=Canary(0.5, 200, 0.6)), False),
        (replace(UP, time=0.6 + CANARY_INTERVAL, canary=Canary(0.5, 200, 0.6)), True),
        (replace(UP, time=1.0, health=None), False),
        (replace(UP, time=1.0, health=503), False),
    ],
)
def test_canary_is_sent_only_to_a_server_that_completes_no_steps(sample: LivenessSample, wanted: bool) -> None:
    memory, _result = decide(decide(LivenessMemory(), replace(UP, canary=sample.canary), LIMITS)[0], sample, LIMITS)
    assert wants_canary(memory, sample) is wanted


def test_canary_is_not_sent_while_the_server_starts() -> None:
    starting = replace(UP, health=REFUSED)
    memory, _result = decide(LivenessMemory(), starting, LIMITS)
    assert not wants_canary(memory, starting)


def test_progress_adds_engines_and_is_unknown_without_the_number_of_steps() -> None:
    text = b'vllm:iteration_tokens_total_count{engine="0"} 3\nvllm:iteration_tokens_total_count{engine="1"} 4\n'
    assert progress_of(metrics.parse([text]))[0] == 7.0
    assert progress_of(metrics.parse([b"vllm:num_requests_running 1\n"])) == ()
    assert progress_of(None) == ()


Traffic = t.Callable[[engine.Engine, t.Callable[[int, int], None]], t.Awaitable[None]]


class Watched:
    """An emulated server in virtual time, of which a sample is taken every ``POLL`` seconds."""

    def __init__(self, directory: Path, *extra: str) -> None:
        self._node = EmulatedNode(directory, Scenario.load("healthy-tp4"), extra=extra)
        self._loop = VirtualLoop()
        self._canary: Canary | None = None
        #: Results by virtual time in seconds since the start.
        self.results: dict[float, Liveness] = {}
        self.canaries = 0
        self.longest_wait = 0.0

    def run(self, requests: t.Sequence[tuple[float, int, int]], seconds: float, killed: float | None = None) -> None:
        """Send ``requests`` (time, prompt tokens, output tokens), and stop the engine at ``killed``."""
        clock = types.SimpleNamespace(monotonic=self._loop.time, time=self._loop.time)
        with mock.patch.object(engine, "time", clock), mock.patch.object(boards, "time", clock):
            try:
                self._loop.run_until_complete(self._run(requests, seconds, killed))
            finally:
                self._loop.close()

    async def _run(self, requests: t.Sequence[tuple[float, int, int]], seconds: float, killed: float | None) -> None:
        ((server, measured),) = self._node.node.engines(self._node.node.boards()).items()
        task, started = asyncio.create_task(server.run()), self._loop.time()
        memory, left = LivenessMemory(), sorted(requests)
        while (now := self._loop.time() - started) < seconds:
            if killed is not None and now >= killed:
                task.cancel()
            while left and left[0][0] <= now:
                self._submit(server, *left.pop(0)[1:])
            measured.sample(server.running, server.waiting, server.kv_usage)
            progress = progress_of(metrics.parse([page([measured]).encode()]))
            sample = LivenessSample(self._loop.time(), "a", 200, progress, self._canary)
            memory, self.results[now] = decide(memory, sample, LIMITS)
            if wants_canary(memory, sample):
                self._send(server)
            await asyncio.sleep(POLL)
        task.cancel()

    def _send(self, server: engine.Engine) -> None:
        canary = self._canary = Canary(self._loop.time())
        self.canaries += 1

        def answered(_position: int, _finish: str | None) -> None:
            self._canary = replace(canary, status=200, ended=self._loop.time())

        server.submit(Sequence(1, 1, "length", answered, self._loop.time()))

    def _submit(self, server: engine.Engine, prompt: int, output: int) -> None:
        sent = self._loop.time()

        def deliver(position: int, _finish: str | None) -> None:
            if position == 0:
                self.longest_wait = max(self.longest_wait, self._loop.time() - sent)

        server.submit(Sequence(prompt, output, "length", deliver, sent))

    @property
    def states(self) -> set[str]:
        return {result.state for result in self.results.values()}

    def first(self, state: str) -> float:
        return next(at for at, result in self.results.items() if result.state == state)


def test_idle_server_is_alive_by_its_canaries(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.run([], 180.0)
    assert watched.states == {NOT_TESTED, IDLE_ALIVE}
    assert watched.first(IDLE_ALIVE) <= 2 * POLL
    assert 180.0 / (CANARY_INTERVAL + 2 * POLL) <= watched.canaries <= 180.0 / CANARY_INTERVAL


@pytest.mark.parametrize(
    ("load", "killed"),
    [([], 30.0), ([], 36.0), ([(at, 64, 2000) for at in range(0, 30, 5)], 30.0)],
    ids=["idle", "idle, later", "load"],
)
def test_engine_that_stops_is_stalled_within_a_minute(tmp_path: Path, load: list[t.Any], killed: float) -> None:
    watched = Watched(tmp_path)
    watched.run(load, 120.0, killed)
    assert LIMITS.stall <= watched.first(STALLED) - killed <= 60.0


def test_long_prompt_is_no_stall(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "--max-num-batched-tokens=64")
    watched.run([(30.0, 16000, 8)] * 20, 300.0)
    assert watched.longest_wait > 2 * LIMITS.stall
    assert watched.states == {NOT_TESTED, IDLE_ALIVE, ALIVE}


def test_long_queue_is_no_stall(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "--max-num-seqs=2")
    watched.run([(30.0, 64, 500)] * 60, 300.0)
    assert watched.longest_wait > 2 * LIMITS.stall
    assert watched.states == {NOT_TESTED, IDLE_ALIVE, ALIVE}
