# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this node slower than it was, beyond noise?

Two sets of repeats are compared by an exact permutation test on the difference of their means: of all ways to deal
the measurements into two sets of these sizes, how many differ at least this much in this direction? It assumes no
distribution, which five repeats could not support. Source: Good, "Permutation, Parametric and Bootstrap Tests of
Hypotheses", Springer 2005. A difference below the minimum effect is never called a regression, however certain.

Many figures of one run are compared together: each deal is made of whole rounds, and a figure counts only where it
stands out among the largest differences of all figures. So the chance of one false alarm in a run stays that of a
single test, however many figures there are. Source: Westfall and Young, "Resampling-Based Multiple Testing",
Wiley 1993 (single-step maxT).
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
import typing as t
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

#: Largest chance of calling equal runs different.
SIGNIFICANCE: t.Final = 0.05

#: Smaller changes are noise to a user: a coefficient of variation up to 5 % is called good.
MINIMUM_EFFECT: t.Final = 0.05

#: Fewer repeats than this on either side cannot reach SIGNIFICANCE (3 against 3: 1 in 20).
MINIMUM_REPEATS: t.Final = 3

#: Above this many ways to deal the measurements, a seeded sample of them is taken.
_EXACT_LIMIT: t.Final = 4_000

K = t.TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class RoundSeries:
    """Repeats of one figure (any unit), stored and new; ``minimum_effect`` is the smallest change worth a word."""

    before: Sequence[float]
    now: Sequence[float]
    lower_is_worse: bool = True
    minimum_effect: float = MINIMUM_EFFECT


@dataclass(frozen=True)
class Comparison:
    """``change`` is (now - before) / before of the means, ``p_value`` the chance of it under equal speed."""

    before: float
    now: float
    change: float
    p_value: float
    regressed: bool
    repeats: tuple[int, int]


class TooFewRepeats(Exception):
    """Too few measurements to tell a change from noise."""

    def __init__(self, before: int, now: int) -> None:
        super().__init__(
            f"{before} stored and {now} new measurements; telling a change from noise needs {MINIMUM_REPEATS} of each"
        )


def compare(before: Sequence[float], now: Sequence[float], *, lower_is_worse: bool = True) -> Comparison:
    """Compare repeats of one metric (any unit) of one configuration.

    :raises TooFewRepeats: below ``MINIMUM_REPEATS`` on either side.
    :raises ValueError: where the stored mean is not positive.
    """
    return compare_together({"": RoundSeries(before, now, lower_is_worse)})[""]


def compare_together(family: Mapping[K, RoundSeries]) -> dict[K, Comparison]:
    """Compare all figures of one run at once; ``p_value`` is adjusted for their number.

    The n-th value of every series was measured in the same round, so that all have the same number of rounds.

    :raises TooFewRepeats: below ``MINIMUM_REPEATS`` on either side.
    :raises ValueError: where a stored mean is not positive, or the series differ in length.
    """
    sizes = {(len(series.before), len(series.now)) for series in family.values()}
    if not sizes:
        return {}
    if len(sizes) > 1:
        raise ValueError(f"series of different lengths: {sorted(sizes)}")
    (size,) = sizes
    if min(size) < MINIMUM_REPEATS:
        raise TooFewRepeats(*size)
    p_values = _permutation_p([_standardised(series) for series in family.values()], size)
    return {key: _comparison(series, p) for (key, series), p in zip(family.items(), p_values, strict=True)}


def _comparison(series: RoundSeries, p_value: float) -> Comparison:
    old, new = statistics.fmean(series.before), statistics.fmean(series.now)
    if old <= 0:
        raise ValueError(f"the stored mean is {old}; a speed or a time is positive")
    change = (new - old) / old
    worse = -change if series.lower_is_worse else change
    regressed = worse >= series.minimum_effect and p_value <= SIGNIFICANCE
    return Comparison(old, new, change, p_value, regressed, (len(series.before), len(series.now)))


def _standardised(series: RoundSeries) -> list[float]:
    """All values with mean 0 and length 1, turned so that a regression makes the stored ones large.

    The sum over any deal's first set is then its correlation with the values, up to a factor that all series share. It
    grows with Student's t of that deal, so that figures of different units and noise can be held against each other.
    """
    pooled = [*series.before, *series.now]
    mean = statistics.fmean(pooled)
    length = math.sqrt(math.fsum((value - mean) ** 2 for value in pooled))
    # What never varies tells nothing, and rounding must not make it tell something.
    if length <= 1e-12 * abs(mean):
        return [0.0] * len(pooled)
    sign = 1.0 if series.lower_is_worse else -1.0
    return [sign * (value - mean) / length for value in pooled]


def _permutation_p(rows: Sequence[Sequence[float]], size: tuple[int, int]) -> list[float]:
    """For every row the share of deals in which the largest sum of any row reaches the observed sum of this one."""
    rounds, first = sum(size), size[0]
    if math.comb(rounds, first) <= _EXACT_LIMIT:
        deals: t.Iterable[Sequence[int]] = itertools.combinations(range(rounds), first)
    else:
        draw = random.Random(0)
        deals = itertools.chain([range(first)], (draw.sample(range(rounds), first) for _deal in range(_EXACT_LIMIT)))
    largest = [max(sum(row[index] for index in deal) for row in rows) for deal in deals]
    observed = [sum(row[:first]) for row in rows]
    return [sum(value >= reached - 1e-9 for value in largest) / len(largest) for reached in observed]
