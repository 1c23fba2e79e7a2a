# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the latency statistics of a load step, using memory that does not grow with the number of tokens.

Definitions, for a request with ``n`` output tokens (times in seconds):

- TTFT, time to first token: arrival of the first token minus the time the request was written to the socket.
- E2E, end to end: arrival of the last token minus the time the request was written.
- In an open loop, both are measured from the time at which the request was *due*. A request that waited for a free
  stream or for a late client made its user wait too. Measuring from the late write would leave out exactly the waits
  that a slow server causes ("coordinated omission"). The TTFT measured from the write is reported as well.
- TPOT, time per output token: ``(E2E - TTFT) / (n - 1)``, one value per request, for ``n > 1``.
- ITL, inter-token latency: the gap between two arrivals divided by the tokens of the second one, one value per token
  (``k`` tokens after a gap ``g`` are ``k`` values of ``g / k``). The first arrival has no gap.

``vllm bench serve`` uses the same definitions, except that its ITL counts chunks, not tokens.
"""

from __future__ import annotations

import math
import typing as t
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import sub
from statistics import fmean, stdev

#: Number of buckets per factor of e: neighbouring bounds are 0.1 % apart, so a percentile is off by at most 0.05 %.
_RESOLUTION: t.Final = 1000
# Offset that makes the bucket numbers of all values above 1e-30 positive. This is needed because int() rounds positive
# numbers down, but negative numbers up.
_OFFSET: t.Final = 70 * _RESOLUTION
#: Smallest value, in seconds; smaller values are counted as this one.
_SHORTEST: t.Final = 1e-9

PERCENTILES: t.Final = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
#: Latencies that are kept exactly, with one value per request.
EXACT: t.Final = ("ttft", "ttft_sent", "tpot", "e2e")
Summary = dict[str, float]


class LogHistogram:
    """A histogram of positive values, in any unit. The upper bound of each bucket is 0.1 % above its lower bound."""

    __slots__ = ("_buckets", "count", "total")

    def __init__(self, values: Sequence[float] = ()) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.total = 0.0
        self.add(values)

    def add(self, values: Sequence[float]) -> None:
        """Add each of ``values`` to the histogram."""
        self._buckets.update([_bucket(value) for value in values])
        self.count += len(values)
        self.total += math.fsum(values)

    def add_weighted(self, value: float, weight: int) -> None:
        """Add ``value`` to the histogram ``weight`` times."""
        self._buckets[_bucket(value)] += weight
        self.count += weight
        self.total += value * weight

    def merge(self, other: LogHistogram) -> None:
        """Add all values of the histogram ``other``."""
        self._buckets.update(other._buckets)
        self.count += other.count
        self.total += other.total

    def as_dict(self) -> dict[str, t.Any]:
        """Return a dictionary with the ``bins``, the number of values (``count``) and their sum (``total``).

        ``bins`` contains a pair ``[bin number, count]`` for each bin that is not empty, in ascending order.
        Bin ``i`` holds values from ``exp((i - 70000) / 1000)`` to ``exp((i + 1 - 70000) / 1000)``.
        """
        bins = [list(item) for item in sorted(self._buckets.items())]
        return {"bins": bins, "count": self.count, "total": self.total}

    @classmethod
    def from_dict(cls, data: Mapping[str, t.Any]) -> LogHistogram:
        """Restore a histogram from the result of ``as_dict``."""
        histogram = cls()
        histogram._buckets.update(dict(data["bins"]))
        histogram.count, histogram.total = data["count"], data["total"]
        return histogram

    def values(self) -> list[float]:
        """Return all values that were added, each rounded to the middle of its bin."""
        return [_middle(bucket) for bucket, count in sorted(self._buckets.items()) for _value in range(count)]

    def quantile(self, fraction: float) -> float | None:
        """Return the quantile for ``fraction`` (0 to 1; 0.5 is the median), or None if the histogram is empty."""
        rank = fraction * (self.count - 1)
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen > rank:
                return _middle(bucket)
        return None

    def summary(self) -> Summary | None:
        """Return the exact mean and approximate ``PERCENTILES``, or None if there are no values."""
        if not self.count:
            return None
        return {"mean": self.total / self.count} | {
            name: t.cast(float, self.quantile(fraction)) for name, fraction in PERCENTILES.items()
        }


def _bucket(value: float) -> int:
    return int(math.log(value if value > _SHORTEST else _SHORTEST) * _RESOLUTION + _OFFSET)


def _middle(bucket: int) -> float:
    return math.exp((bucket + 0.5 - _OFFSET) / _RESOLUTION)


def quantile(ordered: Sequence[float], fraction: float) -> float:
    """Compute a quantile by linear interpolation, which is also numpy's default method.

    :param ordered: at least one value, in ascending order.
    :param fraction: the quantile to compute, from 0 to 1.
    """
    position = fraction * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def summarise(values: Sequence[float]) -> Summary | None:
    """Return the mean and the ``PERCENTILES`` of ``values``, or None if there are no values."""
    if not values:
        return None
    ordered = sorted(values)
    return {"mean": fmean(ordered)} | {name: quantile(ordered, fraction) for name, fraction in PERCENTILES.items()}


def variation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation divided by the mean.

    Return None if there are fewer than two values or if the mean is 0.
    """
    mean = fmean(values) if len(values) > 1 else 0.0
    return stdev(values) / mean if mean else None


class TokenTimeline:
    """A histogram of token arrivals over time, in bins of 10 ms.

    Bin 0 starts at ``origin``, in seconds on the clock of the arrivals.
    """

    __slots__ = ("_bins", "origin")

    BINS_PER_SECOND: t.Final = 100

    def __init__(self, origin: float = 0.0, bins: Iterable[tuple[int, float]] = ()) -> None:
        self._bins = Counter(t.cast("dict[int, int]", dict(bins)))
        self.origin = origin

    def add(self, arrivals: Iterable[float], counts: Sequence[int], scale: float = 1.0) -> None:
        """For each index ``i``, add ``counts[i] * scale`` tokens that arrived at the time ``arrivals[i]``."""
        origin, width = self.origin, self.BINS_PER_SECOND
        bins = [int((stamp - origin) * width) for stamp in arrivals]
        if scale == 1.0 and len(counts) == sum(counts):
            self._bins.update(bins)
            return
        scaled = t.cast("dict[int, float]", self._bins)
        for index, count in zip(bins, counts, strict=True):
            scaled[index] += count * scale

    def bins(self) -> list[list[float]]:
        """Return a pair ``[bin number, tokens]`` for each bin, in ascending order. Bin 0 starts at ``self.origin``."""
        return [list(item) for item in sorted(self._bins.items())]

    def merge(self, other: TokenTimeline) -> None:
        """Add all tokens of the timeline ``other``."""
        shift = round((other.origin - self.origin) * self.BINS_PER_SECOND)
        for index, count in other._bins.items():
            self._bins[index + shift] += count

    def tokens(self, start: float, end: float) -> float:
        """Return the number of tokens that arrived between ``start`` and ``end``.

        Both are in seconds since the start of bin 0.
        """
        first, last = round(start * self.BINS_PER_SECOND), round(end * self.BINS_PER_SECOND)
        return sum(count for index, count in self._bins.items() if first <= index < last)

    def per_second(self, start: float, end: float) -> list[dict[str, float]]:
        """Return ``{time, tokens}`` for each full or partial second from ``start`` to ``end``.

        Both are in seconds since the start of bin 0.
        """
        steps = range(max(0, math.ceil(end - start)))
        return [{"time": start + step, "tokens": self.tokens(start + step, start + step + 1)} for step in steps]


class Latencies:
    """The latencies of all requests: TTFT, TPOT and E2E as exact values, and ITL as a histogram.

    ``ttft_sent`` is filled only in open loops.
    """

    __slots__ = ("e2e", "itl", "tpot", "ttft", "ttft_sent")

    def __init__(self) -> None:
        self.ttft = array("d")
        self.ttft_sent = array("d")
        self.e2e = array("d")
        self.tpot = array("d")
        self.itl = LogHistogram()

    def add(
        self, sent: float, arrivals: Sequence[float], counts: Sequence[int], tokens: int | None, due: float | None
    ) -> tuple[float, float | None]:
        """Add a completed request and return its TTFT and TPOT.

        :param sent: time at which the request was written.
        :param arrivals: as in ``StreamResponse``, at least one.
        :param counts: as in ``StreamResponse``, one for each arrival.
        :param tokens: number of output tokens that the server reported; if None (unknown), TPOT and ITL are left out.
        :param due: time at which an open loop was scheduled to send the request; None in a closed loop.
        """
        if due is not None:
            self.ttft_sent.append(arrivals[0] - sent)
            sent = due
        ttft, e2e = arrivals[0] - sent, arrivals[-1] - sent
        self.ttft.append(ttft)
        self.e2e.append(e2e)
        if tokens is None or tokens < 2 or len(arrivals) < 2:
            return ttft, None
        tpot = (e2e - ttft) / (tokens - 1)
        self.tpot.append(tpot)
        gaps = list(map(sub, arrivals[1:], arrivals))
        later = counts[1:]
        counted = sum(counts)
        if counted == tokens and len(later) == sum(later):
            self.itl.add(gaps)
            return ttft, tpot
        # If the server reports no token count per chunk, assume that every chunk has the mean number of tokens.
        scale = tokens / counted
        for gap, count in zip(gaps, later, strict=True):
            self.itl.add_weighted(gap / (count * scale), round(count * scale) or 1)
        return ttft, tpot

    def merge(self, other: Latencies) -> None:
        """Add the latencies of all requests in ``other``."""
        for name in EXACT:
            getattr(self, name).extend(getattr(other, name))
        self.itl.merge(other.itl)

    def summary(self) -> dict[str, Summary | None]:
        """Return the mean and the ``PERCENTILES`` of each latency, in seconds. Latencies without values are None."""
        return {name: summarise(getattr(self, name)) for name in EXACT} | {"itl": self.itl.summary()}
