# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a load step in a closed loop: each stream sends its next request as soon as its previous one has ended."""

from __future__ import annotations

import asyncio
import math
import random
import time
import typing as t
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import Connection, Exchange, LoadTarget
from ansible_collections.multigpu.vllm.plugins.module_utils.load.client_saturation import ClientSaturation
from ansible_collections.multigpu.vllm.plugins.module_utils.load.epoll_reader import EpollReader
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.progress import INTERVAL
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Bodies, Step
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed

#: Streams start in groups of this size, one group every ``GROUP_INTERVAL`` seconds. A thousand requests sent at once
#: would measure how fast the client can write them.
GROUP: t.Final = 16
GROUP_INTERVAL: t.Final = 0.002
#: Maximum number of connections opened at the same time before the load starts.
_OPENING: t.Final = 64
#: Seconds between two checks for stalled streams.
_WATCHDOG_INTERVAL: t.Final = 0.1
#: A step ends early after this many consecutive failures, or one per stream if there are more streams.
GIVE_UP_AFTER: t.Final = 3

#: Receives the number of output tokens and of finished requests so far.
ProgressReport = Callable[[int, int], None]


@dataclass(frozen=True)
class StepSetup:
    """The settings that one process needs to run a load step once.

    :param bodies: returns the next request body.
    :param drain: seconds that running requests may continue after the end of a ``duration`` step.
    :param report_progress: called every ``INTERVAL`` seconds.
    :param start: called once all connections are open; returns the start time (``time.monotonic`` seconds).
    :param rng: random generator for the request times of an open loop.
    :param end: time (``time.monotonic`` seconds) at which the step is cancelled if it has not ended.
    """

    target: LoadTarget
    step: Step
    bodies: Bodies
    drain: float = 5.0
    reuse_connections: bool = True
    report_progress: ProgressReport | None = None
    start: Callable[[], float] = time.monotonic
    rng: random.Random = field(default_factory=random.Random)
    end: float = math.inf


class StepRun:
    """One run of a load step in a closed loop, in which each stream waits for a response before its next request.

    :param stamp: returns the time at which the event loop's selector last returned.
    :param reader: reads the connections without TLS; if None, the event loop reads them.
    """

    def __init__(self, setup: StepSetup, stamp: Callable[[], float], reader: EpollReader | None) -> None:
        self._setup = setup
        self._step = setup.step
        self._stamp = stamp
        self._reader = reader
        self._requests_left = setup.step.requests
        # _stopping: no new requests are sent. _over: the running requests have been cancelled too.
        self._stopping = False
        self._over = False
        self._consecutive_failures = 0
        self._connections: dict[int, Connection] = {}
        self._unopened: dict[int, RequestFailed] = {}
        self._finished: deque[Exchange] = deque()
        self._first_tokens: dict[int, float] = {}
        self._wake = asyncio.Event()
        self._saturation: ClientSaturation
        self._last_activity = 0.0
        self._streams = min(self._step.concurrency, self._step.requests or self._step.concurrency)
        self.outcome = LoadOutcome(targets=self._step.targets)

    async def run(self) -> LoadOutcome:
        """Run the step and return its outcome."""
        outcome = self.outcome
        await self._open_all()
        outcome.started = outcome.timeline.origin = self._last_activity = self._setup.start()
        await asyncio.sleep(outcome.started - time.monotonic())
        self._saturation = ClientSaturation()
        tasks = [asyncio.create_task(work) for work in self._work()]
        helpers = [asyncio.create_task(self._watchdog()), asyncio.create_task(self._drain_results())]
        if self._step.duration is not None:
            # Set the deadline of the load step here, before the tasks start to run.
            outcome.deadline = outcome.started + self._step.duration
            helpers.append(asyncio.create_task(self._end_on_time(self._step.duration, tasks)))
        try:
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            usage = self._saturation.stop()
            for connection in self._connections.values():
                connection.close()
        for end in ends:
            if isinstance(end, Exception):
                raise end
        while self._finished:
            outcome.add(self._finished.popleft())
        outcome.cpu, outcome.busiest = usage["cpu"] or 0.0, usage["cpu"]
        outcome.lag_p99, outcome.backlog, outcome.free_cores = usage["lag_p99"], usage["backlog"], usage["free_cores"]
        outcome.full_from = self._full_from()
        outcome.ended = self._last_activity
        if outcome.deadline is not None and outcome.gave_up is None:
            outcome.ended = outcome.deadline
        return outcome

    async def _open_all(self) -> None:
        gate = asyncio.Semaphore(_OPENING)

        async def open_one(number: int) -> None:
            async with gate:
                if self._unopened and not self._connections:
                    # All attempts to connect have failed so far, so make no more. The failures will end the load step.
                    return
                try:
                    self._connections[number] = await Connection.open(self._setup.target, self._stamp, self._reader)
                except RequestFailed as failure:
                    self._unopened[number] = failure

        await asyncio.gather(*(open_one(number) for number in range(self._streams)))

    def _work(self) -> list[t.Coroutine[t.Any, t.Any, None]]:
        return [self._stream(number) for number in range(self._streams)]

    def _full_from(self) -> float | None:
        """Return the earliest time at which every stream had received a token, or None if there is no such time."""
        return max(self._first_tokens.values()) if len(self._first_tokens) == self._streams else None

    def _mark_full_end(self) -> None:
        if self.outcome.full_until is None:
            self.outcome.full_until = time.monotonic()

    async def _stream(self, number: int) -> None:
        await asyncio.sleep(number // GROUP * GROUP_INTERVAL)
        while self._take():
            self._finish(number, await self._exchange(number, self._setup.bodies()))
        self._mark_full_end()

    def _take(self) -> bool:
        """Claim the next request. Return False if no request is left to send."""
        if self._stopping or self._requests_left == 0:
            return False
        if self._requests_left is not None:
            self._requests_left -= 1
        return True

    async def _exchange(self, number: int, body: bytes) -> Exchange:
        if number in self._unopened:
            return Exchange.never_sent(self._unopened.pop(number))
        connection = self._connections.get(number)
        if connection is not None and connection.reusable and self._setup.reuse_connections:
            exchange = await connection.send(body, self._step.output_tokens)
            reset = exchange.failure is not None and exchange.failure.reason == "connection_reset"
            if not (reset and connection.stale):
                return exchange
        try:
            connection = await Connection.open(self._setup.target, self._stamp, self._reader)
        except RequestFailed as failure:
            return Exchange.never_sent(failure)
        self._connections[number] = connection
        if self._over:
            return Exchange.never_sent(None)
        return await connection.send(body, self._step.output_tokens)

    def _finish(self, number: int, exchange: Exchange) -> None:
        """Record a request that stream ``number`` has finished. End the step after too many consecutive failures."""
        self._finished.append(exchange)
        self._wake.set()
        arrivals = exchange.answer.arrivals
        if arrivals:
            self._first_tokens.setdefault(number, arrivals[0])
        self._last_activity = max(self._last_activity, arrivals[-1] if arrivals else time.monotonic())
        if exchange.failure is None:
            self._consecutive_failures = 0
            return
        self._consecutive_failures += 1
        if self._consecutive_failures >= max(GIVE_UP_AFTER, self._streams) and not self._stopping:
            self.outcome.gave_up = exchange.failure.reason
            self._cancel_all()

    def _cancel_all(self) -> None:
        self._stopping = self._over = True
        for connection in self._connections.values():
            connection.cancel()

    async def _watchdog(self) -> None:
        """End stalled exchanges and a late step, sample the receive buffers and report progress, until cancelled."""
        reported = self.outcome.started
        while True:
            await asyncio.sleep(_WATCHDOG_INTERVAL)
            now = time.monotonic()
            if self._setup.report_progress is not None and now - reported >= INTERVAL:
                reported = now
                self._report_progress(self._setup.report_progress)
            connections = list(self._connections.values())
            self._saturation.sample(connections)
            for connection in connections:
                connection.check(now)
            if now >= self._setup.end:
                self._cancel_all()

    def _report_progress(self, report: ProgressReport) -> None:
        running = sum(connection.tokens for connection in self._connections.values())
        finished = sum(exchange.answer.tokens or 0 for exchange in self._finished)
        report(self.outcome.tokens + finished + running, self.outcome.sent + len(self._finished))

    async def _drain_results(self) -> None:
        """Add finished exchanges to the outcome, one per event-loop iteration to avoid delaying the streams."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._finished:
                self.outcome.add(self._finished.popleft())
                await asyncio.sleep(0)

    async def _end_on_time(self, duration: float, tasks: list[asyncio.Task[None]]) -> None:
        await asyncio.sleep(self.outcome.started + duration - time.monotonic())
        self._saturation.mark_load_end()
        self._stopping = True
        self._mark_full_end()
        _done, late = await asyncio.wait(tasks, timeout=self._setup.drain)
        self._cancel_all()
        if late:
            # All requests have been cancelled, so tasks that are still running are waiting for a connection to open.
            _done, late = await asyncio.wait(late, timeout=_WATCHDOG_INTERVAL)
        for task in late:
            task.cancel()
