# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A load step in a closed loop: ``concurrency`` streams, each sending its next request when one has ended."""

from __future__ import annotations

import asyncio
import time
import typing as t
from collections import deque
from collections.abc import Callable

from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import Connection, Exchange, LoadTarget
from ansible_collections.multigpu.vllm.plugins.module_utils.load.client_saturation import SelfWatch
from ansible_collections.multigpu.vllm.plugins.module_utils.load.epoll_reader import Intake
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.progress import INTERVAL
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed

#: Streams start in groups of this size, one group every ``GROUP_INTERVAL`` seconds. A thousand requests in one instant
#: would measure how fast the client can write them.
GROUP: t.Final = 16
GROUP_INTERVAL: t.Final = 0.002
#: Connections that are opened at the same time before the load starts.
_OPENING: t.Final = 64
#: Seconds between two looks for streams that hang.
_PATROL: t.Final = 0.1
#: A step ends early after this many failures without a success between them, or after one for every stream.
GIVE_UP_AFTER: t.Final = 3


class StepRun:
    """One run of ``step`` in a closed loop.

    :param body: gives the next request body.
    :param drain: seconds that requests under way get after a ``duration`` step's end, before they are cancelled.
    :param watch: is told now and then how many output tokens came, and how many requests have ended.
    :param start: is called once all connections are open; says when to start (``time.monotonic`` seconds).
    """

    def __init__(
        self,
        target: LoadTarget,
        stamp: Callable[[], float],
        intake: Intake | None,
        step: Step,
        body: Callable[[], bytes],
        drain: float,
        reuse_connections: bool = True,
        watch: Callable[[int, int], None] | None = None,
        start: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = target
        self._stamp = stamp
        self._intake = intake
        self._step = step
        self._body = body
        self._drain = drain
        self._reuse = reuse_connections
        self._watch = watch
        self._start = start
        self._left = step.requests
        # No new request; and after that, no request at all.
        self._stopping = False
        self._over = False
        self._failures_in_a_row = 0
        self._connections: dict[int, Connection] = {}
        self._unopened: dict[int, RequestFailed] = {}
        self._settling: deque[Exchange] = deque()
        self._warm: dict[int, float] = {}
        self._wake = asyncio.Event()
        self._self_watch = SelfWatch()
        self._last_activity = 0.0
        self._streams = min(step.concurrency, step.requests or step.concurrency)
        self.outcome = LoadOutcome(targets=step.targets)

    async def run(self) -> LoadOutcome:
        outcome, streams = self.outcome, self._streams
        await self._open_all(streams)
        outcome.started = outcome.timeline.origin = self._last_activity = self._start()
        await asyncio.sleep(outcome.started - time.monotonic())
        watch = self._self_watch
        watch.start()
        tasks = [asyncio.create_task(work) for work in self._work()]
        helpers = [asyncio.create_task(self._patrol()), asyncio.create_task(self._settle())]
        if self._step.duration is not None:
            # None of the tasks has begun yet.
            outcome.deadline = outcome.started + self._step.duration
            helpers.append(asyncio.create_task(self._end_on_time(self._step.duration, tasks)))
        try:
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            used = watch.stop()
            for connection in self._connections.values():
                connection.close()
        for end in ends:
            if isinstance(end, Exception):
                raise end
        while self._settling:
            outcome.add(self._settling.popleft())
        outcome.cpu, outcome.busiest = used["cpu"] or 0.0, used["cpu"]
        outcome.lag_p99, outcome.backlog, outcome.free_cores = used["lag_p99"], used["backlog"], used["free_cores"]
        outcome.full_from = self._full_from()
        outcome.ended = self._last_activity
        if outcome.deadline is not None and outcome.gave_up is None:
            outcome.ended = outcome.deadline
        return outcome

    async def _open_all(self, streams: int) -> None:
        gate = asyncio.Semaphore(_OPENING)

        async def open_one(number: int) -> None:
            async with gate:
                if self._unopened and not self._connections:
                    # Nobody answers: the streams will find out one by one, and give up.
                    return
                try:
                    self._connections[number] = await Connection.open(self._target, self._stamp, self._intake)
                except RequestFailed as failure:
                    self._unopened[number] = failure

        await asyncio.gather(*(open_one(number) for number in range(streams)))

    def _work(self) -> list[t.Coroutine[t.Any, t.Any, None]]:
        return [self._stream(number) for number in range(self._streams)]

    def _full_from(self) -> float | None:
        """When all streams were at work: from the first token of the last one to start."""
        return max(self._warm.values()) if len(self._warm) == self._streams else None

    def _full_ends(self) -> None:
        if self.outcome.full_until is None:
            self.outcome.full_until = time.monotonic()

    async def _stream(self, number: int) -> None:
        await asyncio.sleep(number // GROUP * GROUP_INTERVAL)
        while self._take():
            self._ended(number, await self._exchange(number, self._body()))
        self._full_ends()

    def _ended(self, number: int, exchange: Exchange) -> None:
        self._note(number, exchange)
        self._settling.append(exchange)
        self._wake.set()

    def _take(self) -> bool:
        """Whether there is one more request to send; takes it."""
        if self._stopping or self._left == 0:
            return False
        if self._left is not None:
            self._left -= 1
        return True

    async def _exchange(self, number: int, body: bytes) -> Exchange:
        if number in self._unopened:
            return Exchange.never_sent(self._unopened.pop(number), time.monotonic())
        connection = self._connections.get(number)
        if connection is None or not connection.reusable or not self._reuse:
            return await self._exchange_on_new(number, body)
        exchange = await connection.send(body, self._step.output_tokens)
        if exchange.failure is not None and exchange.failure.reason == "connection_reset" and connection.stale:
            return await self._exchange_on_new(number, body)
        return exchange

    async def _exchange_on_new(self, number: int, body: bytes) -> Exchange:
        try:
            connection = await Connection.open(self._target, self._stamp, self._intake)
        except RequestFailed as failure:
            return Exchange.never_sent(failure, time.monotonic())
        self._connections[number] = connection
        if self._over:
            return Exchange.never_sent(None, time.monotonic())
        return await connection.send(body, self._step.output_tokens)

    def _note(self, number: int, exchange: Exchange) -> None:
        arrivals = exchange.answer.arrivals
        if arrivals:
            self._warm.setdefault(number, arrivals[0])
        self._last_activity = max(self._last_activity, arrivals[-1] if arrivals else time.monotonic())
        if exchange.failure is None:
            self._failures_in_a_row = 0
            return
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= max(GIVE_UP_AFTER, self._streams) and not self._stopping:
            self.outcome.gave_up = exchange.failure.reason
            self._cancel_all()

    def _cancel_all(self) -> None:
        self._stopping = self._over = True
        for connection in self._connections.values():
            connection.cancel()

    async def _patrol(self) -> None:
        told = self.outcome.started
        while True:
            await asyncio.sleep(_PATROL)
            now = time.monotonic()
            if self._watch is not None and now - told >= INTERVAL:
                told = now
                self._tell(self._watch)
            connections = list(self._connections.values())
            self._self_watch.look(connections)
            for connection in connections:
                connection.check(now)

    def _tell(self, watch: Callable[[int, int], None]) -> None:
        under_way = sum(connection.tokens for connection in self._connections.values())
        settling = sum(exchange.answer.tokens or 0 for exchange in self._settling)
        watch(self.outcome.tokens + settling + under_way, self.outcome.sent + len(self._settling))

    async def _settle(self) -> None:
        """Adds finished exchanges to the outcome one a round, so that many ends at once do not hold up the streams."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._settling:
                self.outcome.add(self._settling.popleft())
                await asyncio.sleep(0)

    async def _end_on_time(self, duration: float, tasks: list[asyncio.Task[None]]) -> None:
        await asyncio.sleep(self.outcome.started + duration - time.monotonic())
        self._self_watch.load_ends()
        self._stopping = True
        self._full_ends()
        _done, late = await asyncio.wait(tasks, timeout=self._drain)
        self._cancel_all()
        if late:
            # What is left now is a stream that waits for a connection.
            _done, late = await asyncio.wait(late, timeout=_PATROL)
        for task in late:
            task.cancel()
