# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide how long to pause before a failed request is repeated, and when to give up."""

from __future__ import annotations

import random
import time
import typing as t
from collections import Counter

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import RetriesExhausted, Transient

#: Kind of transient fault -> maximum number of attempts; None means that attempts continue until the time is used up.
#: Faults that usually have a permanent cause (a wrong api_url, a proxy's login page) fail after a few attempts, not
#: after the whole timeout.
MAX_ATTEMPTS: t.Final[dict[str, int | None]] = {
    "rate_limited": None,
    "busy": None,
    "unavailable": None,
    "interrupted": None,
    "server_error": 5,
    "unreachable": 5,
    "unreadable": 3,
    "label_hidden": 5,
}
#: Pauses between attempts in seconds if the API does not request a pause. They double, up to the longest pause.
FIRST_PAUSE: t.Final = 1.0
LONGEST_PAUSE: t.Final = 15.0


class Clock:
    """A monotonic clock with a sleep function. Tests replace this class."""

    def now(self) -> float:
        """Return the time in seconds on a clock that never goes backwards."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class RetryBudget:
    """Time budget in seconds that all waits and retries of a task share."""

    def __init__(
        self, budget: float, clock: Clock | None = None, jitter: t.Callable[[], float] = random.random
    ) -> None:
        self.clock = clock or Clock()
        self.budget = budget
        self.jitter = jitter
        self._started = self.clock.now()

    @property
    def elapsed(self) -> float:
        return self.clock.now() - self._started

    @property
    def remaining(self) -> float:
        """Return the number of seconds that are left in the budget, at least 0."""
        return max(0.0, self.budget - self.elapsed)


class RetryPolicy:
    """Count the transient faults of a request, and pause after each fault."""

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget
        self._faults: Counter[str] = Counter()

    def pause(self, fault: Transient) -> None:
        """Count ``fault``, and wait until the request may be sent again.

        :raises RetriesExhausted: if the time, or the number of attempts for this kind of fault, is used up.
        """
        budget = self._budget
        self._faults[fault.kind] += 1
        limit = MAX_ATTEMPTS[fault.kind]
        if limit is not None and self._faults[fault.kind] >= limit:
            raise RetriesExhausted(f"Gave up after {limit} attempts: {fault}.") from fault
        # The jitter prevents several waiting tasks from retrying at the same time.
        jitter = budget.jitter()
        backoff = min(FIRST_PAUSE * 2.0 ** min(sum(self._faults.values()) - 1, 10), LONGEST_PAUSE)
        seconds = backoff * (1 + 0.25 * jitter) if fault.retry_after is None else fault.retry_after + jitter
        if seconds >= budget.remaining:
            waited = f"Gave up after {budget.elapsed:.0f} s of {budget.budget:.0f} s"
            requested = f" (the API requests a pause of another {seconds:.0f} s)" if fault.retry_after else ""
            raise RetriesExhausted(f"{waited}{requested}: {fault}.") from fault
        budget.clock.sleep(seconds)
