# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a load step in an open loop: requests are due at scheduled times, however slow the server is.

Each request is sent by a free stream. If no stream is free, the request waits and counts as held.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import typing as t
from collections import deque
from collections.abc import Callable

from ansible_collections.multigpu.vllm.plugins.module_utils.load.engine import StepRun, StepSetup
from ansible_collections.multigpu.vllm.plugins.module_utils.load.epoll_reader import EpollReader
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome

#: A request of an open loop: when it is due (``time.monotonic`` seconds), and its body.
Request = tuple[float, bytes]


class OpenLoop(StepRun):
    """One run of a load step in an open loop, in which requests are due at scheduled times."""

    def __init__(self, setup: StepSetup, stamp: Callable[[], float], reader: EpollReader | None) -> None:
        super().__init__(setup, stamp, reader)
        self._streams = self._step.concurrency
        self._due_times = self._step.due_times(setup.rng)
        self._held: deque[Request] = deque()
        # The stream that most recently became free gets the next request, to keep the number of used connections low.
        self._free: list[asyncio.Future[Request | None]] = []
        self._arriving = True
        self._first_end: float | None = None
        self._arrivals: asyncio.Task[None] | None = None

    async def run(self) -> LoadOutcome:
        """Run the step and return its outcome."""
        outcome = await super().run()
        outcome.unsent += len(self._held)
        return outcome

    def _work(self) -> list[t.Coroutine[t.Any, t.Any, None]]:
        return [*super()._work(), self._arrive()]

    def _full_from(self) -> float | None:
        """Return the time at which the first request ended. From then on, requests end about as often as they start."""
        return self._first_end

    async def _arrive(self) -> None:
        self._arrivals = asyncio.current_task()
        try:
            while self._take():
                # Build the body before the request is due, because a long prompt takes time to build.
                due, body = self.outcome.started + next(self._due_times), self._setup.bodies()
                if self.outcome.deadline is not None and due >= self.outcome.deadline:
                    break
                await asyncio.sleep(due - time.monotonic())
                if self._stopping:
                    self.outcome.unsent += 1
                    break
                if self._free:
                    self._free.pop().set_result((due, body))
                else:
                    self.outcome.held += 1
                    self._held.append((due, body))
            if self._stopping and (duration := self._step.duration):
                # Requests that were due before the end of the step, but could not be started in time.
                late = itertools.takewhile(lambda due: due < duration, self._due_times)
                self.outcome.unsent += sum(1 for _due in late)
            self._mark_full_end()
        finally:
            self._arriving = False
            while self._free:
                self._free.pop().set_result(None)

    async def _next(self) -> Request | None:
        if self._stopping or not (self._held or self._arriving):
            return None
        if self._held:
            return self._held.popleft()
        free: asyncio.Future[Request | None] = asyncio.get_running_loop().create_future()
        self._free.append(free)
        return await free

    async def _stream(self, number: int) -> None:
        while (request := await self._next()) is not None:
            due, body = request
            exchange = await self._exchange(number, body)
            exchange.due = due
            if self._first_end is None and exchange.answer.arrivals:
                self._first_end = exchange.answer.arrivals[-1]
            self._finish(number, exchange)

    def _cancel_all(self) -> None:
        super()._cancel_all()
        if self._arrivals is not None:
            self._arrivals.cancel()
