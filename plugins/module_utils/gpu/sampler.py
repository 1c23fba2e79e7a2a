# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sample all GPUs at a constant rate during a load test, and calculate how evenly they were utilised."""

from __future__ import annotations

import itertools
import math
import operator
import statistics
import threading
import time
import typing as t
from collections.abc import Callable, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils import background
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import LOADED
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.reader import Reader, open_reader

__all__ = ["MIN_INTERVAL", "GpuSampler", "open_reader", "sample_rate", "summarise", "synchronisation"]

Sample = dict[str, t.Any]

#: Minimum interval in seconds, because reading eight GPUs through NVML takes several milliseconds.
MIN_INTERVAL: t.Final = 0.05

#: Key of a GPU's summary -> function that returns this number from the GPU's entry in a sample.
SUMMARISED: t.Final[dict[str, Callable[[dict[str, t.Any]], float | None]]] = {
    **{key: operator.itemgetter(key) for key in ("utilization_gpu", "memory_used", "power_draw", "temperature")},
    "clocks_sm": lambda gpu: gpu["clocks"]["sm"],
}


class GpuSampler:
    """Take a sample from ``reader`` every ``interval`` seconds in a separate thread.

    Samples are due at multiples of ``interval`` since the start, so a slow reading does not delay later ones. A sample
    that is due during a slow reading is skipped. ``clock`` returns seconds; use the clock that the load test uses. The
    caller closes the reader.
    """

    def __init__(self, reader: Reader, interval: float = 0.1, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._interval = interval
        self._clock = clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="gpu-sampler", daemon=True)
        self._origin = 0.0
        self._samples: list[Sample] = []
        self._error: str | None = None

    def start(self, origin: float | None = None) -> None:
        """Start sampling. Record the time of each sample as the number of seconds since the time ``origin``.

        ``origin`` is a time on the sampler's clock. If it is None, the current time is used.
        """
        self._origin = self._clock() if origin is None else origin
        background.start(self._thread)

    def wait(self, seconds: float) -> bool:
        """Wait until sampling ends, but no longer than ``seconds``. Return whether it goes on."""
        self._thread.join(seconds)
        return self._thread.is_alive()

    def recent(self, count: int) -> list[Sample]:
        """Return the newest samples, at most ``count``, without stopping the sampler."""
        return self._samples[-count:]

    def stop(self) -> dict[str, t.Any]:
        """Stop sampling without taking another sample. Return the samples and the values calculated from them."""
        self._stopped.set()
        self._thread.join()
        return evaluate(self._samples, self._error)

    def _work(self) -> None:
        started = self._clock()
        delay = 0.0
        while not self._stopped.wait(delay):
            now = self._clock()
            try:
                self._samples.append({"time": now - self._origin, "gpus": self._reader.sample()})
            except GpuUnavailable as error:
                self._error = str(error)
                return
            delay = time_to_next(self._clock() - started, self._interval)


def evaluate(samples: list[Sample], error: str | None) -> dict[str, t.Any]:
    """Return the result of a sampling run, with the samples and the values calculated from them.

    :param error: reason why sampling ended early, or None.
    """
    return {
        "samples": samples,
        "summary": summarise(samples),
        "sample_rate": sample_rate(samples),
        "synchronisation": synchronisation(samples),
        "error": error,
    }


def time_to_next(elapsed: float, interval: float) -> float:
    """Return the time, in seconds, from ``elapsed`` to the next multiple of ``interval``. The result is never 0."""
    return (math.floor(elapsed / interval) + 1) * interval - elapsed


def sample_rate(samples: Sequence[Sample]) -> float | None:
    """Return the actual number of samples per second, or None if there are fewer than two samples."""
    if len(samples) < 2 or samples[-1]["time"] <= samples[0]["time"]:
        return None
    duration: float = samples[-1]["time"] - samples[0]["time"]
    return (len(samples) - 1) / duration


def summarise(samples: Sequence[Sample]) -> list[dict[str, t.Any]]:
    """For each GPU, return the mean, median and maximum of every value in ``SUMMARISED``, such as the utilisation.

    A value is None if no sample contains it.
    """
    return [
        {"index": index, **{key: _distribution(_values(samples, index, read)) for key, read in SUMMARISED.items()}}
        for index in _indexes(samples)
    ]


def synchronisation(samples: Sequence[Sample]) -> dict[str, t.Any]:
    """Calculate how evenly the GPUs were utilised.

    ``spread``: difference between the largest and the smallest utilisation, in percentage points, averaged over the
    samples. ``correlation``: Pearson's r, averaged over all pairs of GPUs without a constant utilisation.
    ``busy_fraction``: fraction of samples with at least 10 % utilisation, per GPU in the order of their index.
    ``memory_active``: mean percentage of time in which a GPU accessed its memory, also per GPU. A GPU that waits in an
    all-reduce counts as utilised; with equal shares of the work, the other GPUs wait for the GPU with the highest
    value. A value is None if it cannot be calculated, for example with fewer than two GPUs or constant utilisation.
    """
    indexes = _indexes(samples)
    series = [_values(samples, index, operator.itemgetter("utilization_gpu")) for index in indexes]
    active = [_values(samples, index, operator.itemgetter("utilization_memory")) for index in indexes]
    complete = [row for row in _rows(samples) if len(row) == len(indexes)] if len(indexes) > 1 else []
    columns = list(zip(*complete, strict=True))
    pairs = [r for one, other in itertools.combinations(columns, 2) if (r := _pearson(one, other)) is not None]
    return {
        "spread": statistics.fmean(max(row) - min(row) for row in complete) if complete else None,
        "correlation": statistics.fmean(pairs) if pairs else None,
        "busy_fraction": [statistics.fmean(v >= LOADED for v in values) if values else None for values in series],
        "memory_active": [statistics.fmean(values) if values else None for values in active],
    }


def _indexes(samples: Sequence[Sample]) -> list[int]:
    return sorted({gpu["index"] for sample in samples for gpu in sample["gpus"]})


def _rows(samples: Sequence[Sample]) -> list[list[float]]:
    """Return the known utilisation values of each sample, ordered by GPU index."""
    ordered = (sorted(sample["gpus"], key=operator.itemgetter("index")) for sample in samples)
    return [[gpu["utilization_gpu"] for gpu in gpus if gpu["utilization_gpu"] is not None] for gpus in ordered]


def _values(samples: Sequence[Sample], index: int, read: Callable[[dict[str, t.Any]], float | None]) -> list[float]:
    """Return the values that the function ``read`` extracts from the samples of GPU ``index``. Omit unknown values."""
    values = (read(gpu) for sample in samples for gpu in sample["gpus"] if gpu["index"] == index)
    return [value for value in values if value is not None]


def _distribution(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"mean": statistics.fmean(values), "p50": statistics.median(values), "max": max(values)}


def _pearson(one: Sequence[float], other: Sequence[float]) -> float | None:
    try:
        return statistics.correlation(one, other)
    except statistics.StatisticsError:
        return None
