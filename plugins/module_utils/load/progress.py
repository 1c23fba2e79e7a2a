# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Track the progress of a throughput probe. The load client updates the progress; another thread reads it."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step

#: Seconds between two updates by the load client.
INTERVAL: t.Final = 0.5

State = dict[str, t.Any]


class LoadProgress:
    """The progress of one probe.

    Attributes are always replaced as a whole, so that other threads can read them without a lock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begin = clock()
        self._state: State = {"phase": "preparing"}
        self._step_begin = self._begin
        self._recent: Callable[[int], list[State]] = lambda _count: []

    def begin(self, step: Step, steps: Sequence[Step], attempt: int = 1) -> None:
        """Record that ``step`` starts. If it is not in ``steps``, it is part of the preparation.

        :param attempt: number of the attempt to run the step, from 1.
        """
        self._step_begin = self._clock()
        if step not in steps:
            self._state = {"phase": "preparing", "name": step.name}
            return
        self._state = {
            "phase": "load",
            "name": step.name if attempt == 1 else f"{step.name} (attempt {attempt})",
            "number": steps.index(step) + 1,
            "count": len(steps),
            "total": step.duration,
            "requests": step.requests,
            "elapsed": 0.0,
            "finished": 0,
            "tokens": 0,
        }

    def update(self, tokens: int, finished: int) -> None:
        """Record how many output tokens have arrived and how many requests have finished in the current step."""
        elapsed = self._clock() - self._step_begin
        self._state = {**self._state, "tokens": tokens, "finished": finished, "elapsed": elapsed}

    def end(self) -> None:
        """Record that the current step has ended and its results are being computed."""
        if self._state["phase"] == "load":
            self._state = {**self._state, "phase": "counting"}

    def watch_gpus(self, recent: Callable[[int], list[State]]) -> None:
        """Use ``recent`` as the source of the GPU utilisation. ``recent(count)`` returns the last ``count`` samples."""
        self._recent = recent

    def snapshot(self) -> State:
        """Return the state of the probe: phase, current step, counts of tokens and requests, and GPU utilisation.

        ``phase`` is ``preparing``, ``load`` or ``counting``. ``gpus`` contains the latest sample of each GPU.
        ``since`` is the number of seconds since the probe started.
        """
        return {
            **self._state,
            "since": self._clock() - self._begin,
            "gpus": [
                {"index": gpu["index"], "utilization_gpu": gpu["utilization_gpu"]}
                for sample in self._recent(1)
                for gpu in sample["gpus"]
            ],
        }
