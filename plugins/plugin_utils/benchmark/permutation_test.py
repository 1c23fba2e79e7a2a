# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test whether repeated measurements became worse than noise explains.

Two sets of repeats are compared by an exact permutation test on the difference of their means: the p-value is the share
of all ways to split the measurements into two sets of these sizes that differ at least as much in the same direction.
The test assumes no distribution; five repeats would not support one. Source: Good, "Permutation, Parametric and
Bootstrap Tests of Hypotheses", Springer 2005. A difference below the minimum effect is never a regression, however
certain it is.

All figures of a run are tested together. Each split assigns whole rounds, and a figure is compared with the largest
difference of all figures in that split. The chance of a false alarm in a run is therefore that of a single test,
however many figures there are. Source: Westfall and Young, "Resampling-Based Multiple Testing", Wiley 1993
(single-step maxT).
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
import typing as t
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

#: Maximum probability of reporting a difference between equal runs.
SIGNIFICANCE: t.Final = 0.05

#: Smaller relative changes do not matter to users: a coefficient of variation of up to 5 % counts as good.
MINIMUM_EFFECT: t.Final = 0.05

#: With fewer repeats on either side, SIGNIFICANCE cannot be reached (3 and 3 repeats: 1 in 20).
MINIMUM_REPEATS: t.Final = 3

#: If there are more ways to split the measurements, a seeded sample of this size is used.
_EXACT_LIMIT: t.Final = 4_000

K = t.TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class RoundSeries:
    """Values of one figure in the rounds of the stored run (``before``) and of the new run (``now``), in any unit.

    ``minimum_effect`` is the smallest relevant relative change.
    """

    before: Sequence[float]
    now: Sequence[float]
    lower_is_worse: bool = True
    minimum_effect: float = MINIMUM_EFFECT


@dataclass(frozen=True)
class Comparison:
    """Comparison of one figure: both means, relative ``change``, and ``p_value``, the probability of it by chance."""

    before: float
    now: float
    change: float
    p_value: float
    regressed: bool
    repeats: tuple[int, int]


class TooFewRepeats(Exception):
    """Too few measurements to distinguish a change from noise; the message names the numbers."""


def compare_together(family: Mapping[K, RoundSeries]) -> dict[K, Comparison]:
    """Compare all figures of one run together; ``p_value`` is adjusted for their number.

    The n-th values of all series must come from the same round.

    :raises TooFewRepeats: if there are fewer than ``MINIMUM_REPEATS`` on either side.
    :raises ValueError: if a stored mean is not positive, or the series differ in length.
    """
    sizes = {(len(series.before), len(series.now)) for series in family.values()}
    if not sizes:
        return {}
    if len(sizes) > 1:
        raise ValueError(f"series must have the same length, got {sorted(sizes)}")
    (size,) = sizes
    if min(size) < MINIMUM_REPEATS:
        before, now = size
        raise TooFewRepeats(
            f"{before} stored and {now} new measurements; detecting a change needs at least {MINIMUM_REPEATS} of each"
        )
    p_values = _permutation_p([_standardised(series) for series in family.values()], size)
    return {key: _comparison(series, p) for (key, series), p in zip(family.items(), p_values, strict=True)}


def _comparison(series: RoundSeries, p_value: float) -> Comparison:
    old, new = statistics.fmean(series.before), statistics.fmean(series.now)
    if old <= 0:
        raise ValueError(f"the stored mean must be positive, got {old}")
    change = (new - old) / old
    worse = -change if series.lower_is_worse else change
    regressed = worse >= series.minimum_effect and p_value <= SIGNIFICANCE
    return Comparison(old, new, change, p_value, regressed, (len(series.before), len(series.now)))


def _standardised(series: RoundSeries) -> list[float]:
    """Scale all values to mean 0 and Euclidean length 1, with a sign that makes stored values larger after a slowdown.

    The sum over the first set of a split is then its correlation with the values, up to a factor that all series share.
    It increases with Student's t of the split, so figures of different units and noise can be compared.
    """
    pooled = [*series.before, *series.now]
    mean = statistics.fmean(pooled)
    length = math.sqrt(math.fsum((value - mean) ** 2 for value in pooled))
    # Rounding errors must not make a constant figure significant.
    if length <= 1e-12 * abs(mean):
        return [0.0] * len(pooled)
    sign = 1.0 if series.lower_is_worse else -1.0
    return [sign * (value - mean) / length for value in pooled]


def _permutation_p(rows: Sequence[Sequence[float]], size: tuple[int, int]) -> list[float]:
    """Return the p-value of each row: the share of splits whose largest sum of all rows reaches the row's own."""
    rounds, first = sum(size), size[0]
    if math.comb(rounds, first) <= _EXACT_LIMIT:
        splits: t.Iterable[Sequence[int]] = itertools.combinations(range(rounds), first)
    else:
        draw = random.Random(0)
        samples = (draw.sample(range(rounds), first) for _number in range(_EXACT_LIMIT))
        splits = itertools.chain([range(first)], samples)
    largest = [max(sum(row[index] for index in split) for row in rows) for split in splits]
    observed = [sum(row[:first]) for row in rows]
    return [sum(value >= reached - 1e-9 for value in largest) / len(largest) for reached in observed]
