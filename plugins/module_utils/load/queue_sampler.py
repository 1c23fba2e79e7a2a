# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the server's queue while a load step runs, because vLLM shows its length only at the moment of the request."""

from __future__ import annotations

import threading
import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils import background
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import VllmApi
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.metrics import MAX_REASONS, MetricSet

#: Seconds between two readings. vLLM formats its metrics in the process that also sends the tokens, so frequent
#: readings would delay tokens.
INTERVAL: t.Final = 2.0
#: Longest wait for a reading that has not returned at the end of the step, in seconds.
_LAST: t.Final = 1.0

Queue = dict[str, t.Any]


class QueueSampler:
    """Reads the server's queue in a thread from ``start`` to ``stop``."""

    def __init__(self, api: VllmApi, interval: float = INTERVAL) -> None:
        self._api, self._interval = api, interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._queue: Queue | None = None

    def start(self) -> None:
        background.start(self._thread)

    def stop(self) -> Queue | None:
        """Return the longest queue, see ``longest``, or None if it was never read."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(_LAST)
        return self._queue

    def _read(self) -> None:
        while not self._ended.wait(self._interval):
            try:
                metrics = self._api.metrics()
            except RequestFailed:
                return
            if metrics is None:
                return
            self._queue = longest(self._queue, metrics)


def longest(queue: Queue | None, metrics: MetricSet) -> Queue:
    """Return the maximum of ``queue``, an earlier result of this function, and the queue in ``metrics``.

    ``running`` and ``waiting`` are numbers of requests, ``reasons`` maps a reason of vLLM to the number of requests
    that wait for it (empty in vLLM versions without reasons), and ``readings`` counts the calls.
    """
    queue = queue or {"running": 0, "waiting": 0, "reasons": {}, "readings": 0}
    reasons = {name: round(number) for name, number in metrics.waiting_by_reason.items()}
    earlier: dict[str, int] = queue["reasons"]
    names = list({**earlier, **reasons})[:MAX_REASONS]
    lengths = {name: round(metrics.sum(f"vllm:num_requests_{name}") or 0) for name in ("running", "waiting")}
    return {
        **{name: max(queue[name], length) for name, length in lengths.items()},
        "reasons": {name: max(reasons.get(name, 0), earlier.get(name, 0)) for name in names},
        "readings": queue["readings"] + 1,
    }
