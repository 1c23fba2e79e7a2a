# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a probe is, told by the load while it runs and read from another thread."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step

#: Seconds between two reports of the load; a reader shows one or two of them.
INTERVAL: t.Final = 0.5
#: Seconds without its reader after which a probe ends. A connection that is given up takes about as long.
PATIENCE: t.Final = 60.0

State = dict[str, t.Any]


class LoadProgress:
    """Collects what ``snapshot`` tells; an attribute is set in one go, so a reader in another thread needs no lock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begin = clock()
        self._state: State = {"phase": "preparing"}
        self._step_begin = self._begin
        self._recent: Callable[[int], list[State]] = lambda _count: []

    def begin(self, step: Step, steps: Sequence[Step], attempt: int = 1) -> None:
        """``step`` runs now, for the ``attempt``-th time; a step that is none of ``steps`` prepares them."""
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
        """The step that runs has brought ``tokens`` output tokens, and ``finished`` of its requests have ended."""
        elapsed = self._clock() - self._step_begin
        self._state = {**self._state, "tokens": tokens, "finished": finished, "elapsed": elapsed}

    def end(self) -> None:
        """The step is over."""
        if self._state["phase"] == "load":
            self._state = {**self._state, "phase": "counting"}

    def watch_gpus(self, recent: Callable[[int], list[State]]) -> None:
        """``recent(count)`` gives the last samples of the GPUs."""
        self._recent = recent

    def snapshot(self) -> State:
        """``phase`` (``preparing``, ``load``, ``counting``), the step, its figures, and ``gpus`` of the last sample."""
        latest = self._recent(1)
        return {
            **self._state,
            "since": self._clock() - self._begin,
            "gpus": [
                {"index": gpu["index"], "utilization_gpu": gpu["utilization_gpu"]}
                for sample in latest
                for gpu in sample["gpus"]
            ],
        }
