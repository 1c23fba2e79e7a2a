# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long to wait, and how often to try: one budget of time for everything that a task does."""

from __future__ import annotations

import random
import time
import typing as t
from collections import Counter

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import PATIENCE, GaveUp, Transient

#: Pauses between attempts where the API names none, in seconds: doubling from the first to the longest.
FIRST_PAUSE: t.Final = 1.0
LONGEST_PAUSE: t.Final = 15.0


class Clock:
    """The passing of time; tests replace it."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Patience:
    """One budget of time, in seconds, for all waits of a task together."""

    def __init__(
        self, budget: float, clock: Clock | None = None, jitter: t.Callable[[], float] = random.random
    ) -> None:
        self.clock = clock or Clock()
        self.budget = budget
        self.jitter = jitter
        self.started = self.clock.now()

    @property
    def elapsed(self) -> float:
        return self.clock.now() - self.started

    @property
    def remaining(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self.budget - self.elapsed)

    def attempts(self) -> Attempts:
        """For the attempts at one request."""
        return Attempts(self)


class Attempts:
    """Decides after each transient fault of one request whether to pause and try again."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._seen: Counter[str] = Counter()

    def pause(self, fault: Transient) -> None:
        """Wait before the next attempt.

        :raises GaveUp: where the time, or the number of attempts that make sense for this fault, is used up.
        """
        patience = self._patience
        self._seen[fault.kind] += 1
        limit = PATIENCE[fault.kind]
        if limit is not None and self._seen[fault.kind] >= limit:
            raise GaveUp(f"Gave up after {limit} attempts: {fault}.") from fault
        seconds = self._pause_after(fault)
        if seconds >= patience.remaining:
            waited = f"Gave up after {patience.elapsed:.0f} s of {patience.budget:.0f} s"
            asked = f" (the API asks to wait another {seconds:.0f} s)" if fault.retry_after else ""
            raise GaveUp(f"{waited}{asked}: {fault}.") from fault
        patience.clock.sleep(seconds)

    def _pause_after(self, fault: Transient) -> float:
        # Jitter keeps a fleet of waiting tasks from coming back all at once.
        if fault.retry_after is not None:
            return fault.retry_after + self._patience.jitter()
        growing = FIRST_PAUSE * 2 ** min(sum(self._seen.values()) - 1, 10)
        return min(growing, LONGEST_PAUSE) * (1 + 0.25 * self._patience.jitter())
