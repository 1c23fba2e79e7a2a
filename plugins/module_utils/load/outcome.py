# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect the outcome of one run of a load step, and merge the outcomes of several processes or hosts."""

from __future__ import annotations

import typing as t
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import Exchange
from ansible_collections.multigpu.vllm.plugins.module_utils.load.statistics import Latencies, TokenTimeline
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Targets

#: Shortest steady window for which a rate is computed, in seconds.
_MIN_WINDOW: t.Final = 1.0
#: Fields that ``merge`` adds up.
_SUMS: t.Final = (
    "completed completed_in_time within_targets cancelled completed_tokens completed_arrivals tokens uncounted "
    "completed_uncounted prompt_tokens prompts_counted held unsent cpu processes"
).split()


@dataclass
class LoadOutcome:
    """The outcome of one run of a load step. Times are values of ``time.monotonic``, in seconds."""

    started: float = 0.0
    ended: float = 0.0
    #: End of the measured time of a step with a ``duration``; requests that complete later do so during the drain.
    deadline: float | None = None
    completed: int = 0
    #: Requests that completed before the ``deadline``, or all completed requests if there is no deadline.
    completed_in_time: int = 0
    targets: Targets | None = None
    #: Requests that completed in time and met ``targets``.
    within_targets: int = 0
    cancelled: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    details: dict[str, str] = field(default_factory=dict)
    latencies: Latencies = field(default_factory=Latencies)
    timeline: TokenTimeline = field(default_factory=TokenTimeline)
    completed_tokens: int = 0
    #: Distinct times at which tokens of completed requests arrived.
    completed_arrivals: int = 0
    #: Output tokens of all requests, including failed and cancelled ones.
    tokens: int = 0
    #: Requests with an unknown number of output tokens.
    uncounted: int = 0
    completed_uncounted: int = 0
    prompt_tokens: int = 0
    #: Requests with a known number of prompt tokens.
    prompts_counted: int = 0
    #: Start and end of the time in which all streams were active. In an open loop: in which requests ended about as
    #: often as they started.
    full_from: float | None = None
    full_until: float | None = None
    #: Reason for the failures that ended the step early.
    gave_up: str | None = None
    #: Only in an open loop: lateness of each request in seconds, number of requests that waited for a free stream, and
    #: number of requests that were never sent.
    schedule_lag: array[float] = field(default_factory=lambda: array("d"))
    held: int = 0
    unsent: int = 0
    #: Processor seconds per second of all processes, and of the busiest process.
    cpu: float = 0.0
    busiest: float | None = None
    lag_p99: float | None = None
    backlog: float | None = None
    processes: int = 1
    #: Idle processor cores of this host.
    free_cores: float | None = None

    @property
    def failed(self) -> int:
        """Number of failed requests."""
        return sum(self.failures.values())

    @property
    def sent(self) -> int:
        """Number of requests that completed, failed or were cancelled."""
        return self.completed + self.failed + self.cancelled

    @property
    def duration(self) -> float:
        """Duration of the measurement, in seconds."""
        return self.ended - self.started

    @property
    def steady_window(self) -> tuple[float, float] | None:
        """Start and end of the period in which all streams were active, or None if it was too short to compute a rate.

        Both are in seconds relative to ``started``. The window ends when the first stream runs out of requests.
        """
        if self.full_from is None or self.full_until is None or self.full_until - self.full_from < _MIN_WINDOW:
            return None
        return self.full_from - self.started, self.full_until - self.started

    def merge(self, other: LoadOutcome) -> LoadOutcome:
        """Add the outcome of another process or host that ran the step at the same time, and return this outcome.

        Both outcomes must use the same time base.

        The outcomes of repeats can be added too, but then ``cpu``, ``processes``, ``free_cores`` and all times are
        meaningless.
        """
        self.started, self.ended = min(self.started, other.started), max(self.ended, other.ended)
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failures.update(other.failures)
        self.details = other.details | self.details
        self.latencies.merge(other.latencies)
        self.timeline.merge(other.timeline)
        self.schedule_lag.extend(other.schedule_lag)
        self.full_from = _combined(max, self.full_from, other.full_from)
        self.full_until = _combined(min, self.full_until, other.full_until)
        self.gave_up = self.gave_up or other.gave_up
        self.busiest = _largest(self.busiest, other.busiest)
        self.lag_p99 = _largest(self.lag_p99, other.lag_p99)
        self.backlog = _largest(self.backlog, other.backlog)
        self.free_cores = _combined(min, self.free_cores, other.free_cores)
        return self

    def add(self, exchange: Exchange) -> None:
        """Add the result of a finished exchange (a request and its response)."""
        answer = exchange.answer
        if exchange.due is not None and exchange.wanted:
            self.schedule_lag.append(exchange.sent - exchange.due)
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
        ttft, tpot = self.latencies.add(exchange.sent, answer.arrivals, answer.counts, answer.tokens, exchange.due)
        self.within_targets += self.targets is not None and in_time and self.targets.met(ttft, tpot)
        if answer.tokens is None:
            self.completed_uncounted += 1
        else:
            self.completed_tokens += answer.tokens
            self.completed_arrivals += len(answer.arrivals)
        if answer.prompt_tokens is not None:
            self.prompt_tokens += answer.prompt_tokens
            self.prompts_counted += 1


def _combined(choose: Callable[[float, float], float], one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else choose(one, other)


def _largest(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)
