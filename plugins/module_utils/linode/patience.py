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
    """Decides after each transient fault whether to pause and try again.

    ``budget``: seconds that this and all following waits may take together. A fault kind that ``PATIENCE`` limits is
    counted per *row* of faults: call :meth:`succeeded` after an answer that was good.
    """

    def __init__(
        self, budget: float, clock: Clock | None = None, jitter: t.Callable[[], float] = random.random
    ) -> None:
        self.clock = clock or Clock()
        self.budget = budget
        self.started = self.clock.now()
        self._jitter = jitter
        self._seen: Counter[str] = Counter()

    @property
    def elapsed(self) -> float:
        return self.clock.now() - self.started

    @property
    def remaining(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self.budget - self.elapsed)

    def succeeded(self) -> None:
        self._seen.clear()

    def pause(self, fault: Transient) -> None:
        """Wait before the next attempt.

        :raises GaveUp: where the time, or the number of attempts for this kind of fault, is used up.
        """
        self._seen[fault.kind] += 1
        limit = PATIENCE[fault.kind]
        if limit is not None and self._seen[fault.kind] >= limit:
            raise GaveUp(f"Gave up after {limit} attempts: {fault}") from fault
        seconds = self._pause_after(fault)
        if seconds >= self.remaining:
            waited = f"Gave up after {self.elapsed:.0f} s of {self.budget:.0f} s"
            asked = f" (the API asks to wait another {seconds:.0f} s)" if fault.retry_after else ""
            raise GaveUp(f"{waited}{asked}: {fault}") from fault
        self.clock.sleep(seconds)

    def _pause_after(self, fault: Transient) -> float:
        # Jitter keeps a fleet of waiting tasks from coming back all at once.
        if fault.retry_after is not None:
            return fault.retry_after + self._jitter()
        growing = FIRST_PAUSE * 2 ** min(sum(self._seen.values()) - 1, 10)
        return min(growing, LONGEST_PAUSE) * (1 + 0.25 * self._jitter())
