# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one load step in a closed loop: ``concurrency`` streams, each sending its next request when one has ended."""

from __future__ import annotations

import asyncio
import gc
import resource
import time
import typing as t
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import (
    Connection,
    Exchange,
    StampingSelector,
    Target,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.load.progress import INTERVAL
from ansible_collections.multigpu.vllm.plugins.module_utils.load.selfwatch import SelfWatch
from ansible_collections.multigpu.vllm.plugins.module_utils.load.statistics import Latencies, Timeline
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step, Targets
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
#: Files that a process needs beside its connections.
_SPARE_FILES: t.Final = 64
#: Shortest steady window worth a number, in seconds.
_MIN_WINDOW: t.Final = 1.0


@dataclass
class Outcome:
    """What one run of a step gave. Times are seconds of ``time.monotonic`` (``started``, ``ended``)."""

    started: float = 0.0
    ended: float = 0.0
    #: End of a ``duration`` step's measured time; requests that complete later do so in the drain.
    deadline: float | None = None
    completed: int = 0
    completed_in_time: int = 0
    targets: Targets | None = None
    #: Requests that completed in time and met ``targets``.
    within_targets: int = 0
    cancelled: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    details: dict[str, str] = field(default_factory=dict)
    latencies: Latencies = field(default_factory=Latencies)
    timeline: Timeline = field(default_factory=Timeline)
    completed_tokens: int = 0
    #: Output tokens of all requests, also of failed and cancelled ones.
    tokens: int = 0
    #: Requests of which the output tokens are not known.
    uncounted: int = 0
    completed_uncounted: int = 0
    prompt_tokens: int = 0
    prompts_counted: int = 0
    full_from: float | None = None
    full_until: float | None = None
    gave_up: str | None = None
    cpu: float | None = None
    lag_p99: float | None = None

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def sent(self) -> int:
        return self.completed + self.failed + self.cancelled

    @property
    def duration(self) -> float:
        return self.ended - self.started

    @property
    def steady_window(self) -> tuple[float, float] | None:
        """From the first token of the last stream to start until the first stream had nothing more to do.

        Relative to ``started``, in seconds; ``None`` where it is too short for a number.
        """
        if self.full_from is None or self.full_until is None or self.full_until - self.full_from < _MIN_WINDOW:
            return None
        return self.full_from - self.started, self.full_until - self.started

    def add(self, exchange: Exchange) -> None:
        answer = exchange.answer
        if answer.tokens is not None:
            self.tokens += answer.tokens
        elif answer.arrivals or (exchange.failure is None and not exchange.cancelled):
            self.uncounted += 1
        if answer.arrivals and answer.tokens:
            self.timeline.add(answer.arrivals, answer.counts, answer.tokens / sum(answer.counts))
        if exchange.cancelled:
            self.cancelled += 1
        elif exchange.failure is not None:
            self.failures[exchange.failure.reason] += 1
            self.details.setdefault(exchange.failure.reason, exchange.failure.detail)
        else:
            self._add_completed(exchange)

    def _add_completed(self, exchange: Exchange) -> None:
        answer = exchange.answer
        self.completed += 1
        in_time = self.deadline is None or answer.arrivals[-1] <= self.deadline
        self.completed_in_time += in_time
        ttft, tpot = self.latencies.add(exchange.sent, answer.arrivals, answer.counts, answer.tokens)
        self.within_targets += self.targets is not None and in_time and self.targets.met(ttft, tpot)
        if answer.tokens is None:
            self.completed_uncounted += 1
        else:
            self.completed_tokens += answer.tokens
        if answer.prompt_tokens is not None:
            self.prompt_tokens += answer.prompt_tokens
            self.prompts_counted += 1


class StepRun:
    """One run of ``step``.

    :param body: gives the next request body.
    :param drain: seconds that requests under way get after a ``duration`` step's end, before they are cancelled.
    :param watch: is told now and then how many output tokens came, and how many requests have ended.
    """

    def __init__(
        self,
        target: Target,
        stamp: Callable[[], float],
        step: Step,
        body: Callable[[], bytes],
        drain: float,
        reuse_connections: bool = True,
        watch: Callable[[int, int], None] | None = None,
    ) -> None:
        self._target = target
        self._stamp = stamp
        self._step = step
        self._body = body
        self._drain = drain
        self._reuse = reuse_connections
        self._watch = watch
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
        self._last_activity = 0.0
        self._streams = min(step.concurrency, step.requests or step.concurrency)
        self.outcome = Outcome(targets=step.targets)

    async def run(self) -> Outcome:
        outcome, streams = self.outcome, self._streams
        await self._open_all(streams)
        watch = SelfWatch()
        watch.start()
        outcome.started = outcome.timeline.origin = self._last_activity = time.monotonic()
        tasks = [asyncio.create_task(self._stream(number)) for number in range(streams)]
        helpers = [asyncio.create_task(self._patrol()), asyncio.create_task(self._settle())]
        if self._step.duration is not None:
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
        outcome.cpu, outcome.lag_p99 = used["cpu"], used["lag_p99"]
        if len(self._warm) == streams:
            outcome.full_from = max(self._warm.values())
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
                    self._connections[number] = await Connection.open(self._target, self._stamp)
                except RequestFailed as failure:
                    self._unopened[number] = failure

        await asyncio.gather(*(open_one(number) for number in range(streams)))

    async def _stream(self, number: int) -> None:
        await asyncio.sleep(number // GROUP * GROUP_INTERVAL)
        while self._take():
            exchange = await self._exchange(number)
            self._note(number, exchange)
            self._settling.append(exchange)
            self._wake.set()
        if self.outcome.full_until is None:
            self.outcome.full_until = time.monotonic()

    def _take(self) -> bool:
        """Whether there is one more request to send; takes it."""
        if self._stopping or self._left == 0:
            return False
        if self._left is not None:
            self._left -= 1
        return True

    async def _exchange(self, number: int) -> Exchange:
        if number in self._unopened:
            return Exchange.never_sent(self._unopened.pop(number), time.monotonic())
        connection = self._connections.get(number)
        if connection is None or not connection.reusable or not self._reuse:
            return await self._exchange_on_new(number)
        exchange = await connection.send(self._body(), self._step.output_tokens)
        if exchange.failure is not None and exchange.failure.reason == "connection_reset" and connection.stale:
            return await self._exchange_on_new(number)
        return exchange

    async def _exchange_on_new(self, number: int) -> Exchange:
        try:
            connection = await Connection.open(self._target, self._stamp)
        except RequestFailed as failure:
            return Exchange.never_sent(failure, time.monotonic())
        self._connections[number] = connection
        if self._over:
            return Exchange.never_sent(None, time.monotonic())
        return await connection.send(self._body(), self._step.output_tokens)

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
            for connection in list(self._connections.values()):
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
        self._stopping = True
        if self.outcome.full_until is None:
            self.outcome.full_until = time.monotonic()
        _done, late = await asyncio.wait(tasks, timeout=self._drain)
        self._cancel_all()
        if late:
            # What is left now is a stream that waits for a connection.
            _done, late = await asyncio.wait(late, timeout=_PATROL)
        for task in late:
            task.cancel()


def max_concurrency() -> int:
    """How many connections this process may open."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (65536 if hard == resource.RLIM_INFINITY else hard) - _SPARE_FILES


def _allow_files(connections: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run_step(
    target: Target,
    step: Step,
    body: Callable[[], bytes],
    drain: float = 5.0,
    reuse_connections: bool = True,
    watch: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Run ``step`` once, in an event loop of its own; ``body`` gives the next request body.

    :param drain: seconds that requests under way get after a ``duration`` step's end, before they are cancelled.
    :param watch: is told every half second how many output tokens came, and how many requests have ended.
    """
    _allow_files(step.concurrency)
    selector = StampingSelector()
    loop = asyncio.SelectorEventLoop(selector)
    # A pause of the garbage collector would look like a pause of the server.
    gc.collect()
    gc.disable()
    try:
        run = StepRun(target, lambda: selector.stamp, step, body, drain, reuse_connections, watch)
        return loop.run_until_complete(run.run())
    finally:
        gc.enable()
        loop.close()
