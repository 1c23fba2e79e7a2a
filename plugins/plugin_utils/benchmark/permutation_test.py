# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test whether repeated measurements got worse by more than noise can explain.

Two sets of repeated measurements are compared with an exact permutation test on the difference between their means. The
p-value is the fraction of all possible splits into two sets of these sizes whose means differ at least as much, and in
the same direction. The test does not assume a particular distribution, because five repeats are too few to justify one.
Source: Good, "Permutation, Parametric and Bootstrap Tests of Hypotheses", Springer 2005. A difference below the minimum
effect is never a regression, however significant it is.

All metrics of a run are tested together. Each split assigns whole rounds, and each metric is compared with the largest
difference of any metric in that split. The probability of a false alarm in a run is therefore the same as in a single
test, however many metrics there are. Source: Westfall and Young, "Resampling-Based Multiple Testing", Wiley 1993
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

#: Maximum probability of reporting a difference between runs that do not really differ.
SIGNIFICANCE: t.Final = 0.05

#: Smallest relative change that matters to users: a coefficient of variation of up to 5 % counts as good.
MINIMUM_EFFECT: t.Final = 0.05

#: Minimum number of repeats in each run. With 3 and 3 repeats, the lowest possible p-value is 1/20, or SIGNIFICANCE.
MINIMUM_REPEATS: t.Final = 3

#: Maximum number of splits to enumerate. If there are more, a seeded random sample of this size is used.
_EXACT_LIMIT: t.Final = 4_000

K = t.TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class RoundSeries:
    """The values of one metric, one per round, in the stored run (``before``) and in the new run (``now``).

    ``minimum_effect`` is the smallest relevant relative change.
    """

    before: Sequence[float]
    now: Sequence[float]
    lower_is_worse: bool = True
    minimum_effect: float = MINIMUM_EFFECT


class TooFewRepeats(Exception):
    """There are too few measurements to distinguish a change from noise; the message says how many are needed."""


def compare_together(family: Mapping[K, RoundSeries]) -> dict[K, dict[str, t.Any]]:
    """Compare all metrics of a new run with those of a stored run.

    The n-th values of all series must come from the same round.

    :returns: for each series, both means (``before`` and ``now``), the relative ``change``, the ``verdict``
        (``slower``, ``faster`` or ``same``), its ``p_value``, adjusted for the number of metrics, and the numbers of
        ``rounds``.
    :raises TooFewRepeats: if either run has fewer than ``MINIMUM_REPEATS`` rounds.
    :raises ValueError: if a stored mean is not positive, or the series differ in length.
    """
    sizes = {(len(series.before), len(series.now)) for series in family.values()}
    if len(sizes) > 1:
        raise ValueError(f"series must have the same length, got {sorted(sizes)}")
    (size,) = sizes
    if min(size) < MINIMUM_REPEATS:
        before, now = size
        raise TooFewRepeats(
            f"{before} stored and {now} new measurements; detecting a change needs at least {MINIMUM_REPEATS} of each"
        )
    rows = [_standardised(series) for series in family.values()]
    slower, faster = _permutation_p(rows, size), _permutation_p([[-value for value in row] for row in rows], size)
    return {
        key: _comparison(series, *p_values)
        for (key, series), *p_values in zip(family.items(), slower, faster, strict=True)
    }


def _comparison(series: RoundSeries, p_slower: float, p_faster: float) -> dict[str, t.Any]:
    old, new = statistics.fmean(series.before), statistics.fmean(series.now)
    if old <= 0:
        raise ValueError(f"the stored mean must be positive, got {old}")
    change = (new - old) / old
    worse = -change if series.lower_is_worse else change
    slower = worse >= series.minimum_effect and p_slower <= SIGNIFICANCE
    faster = -worse >= series.minimum_effect and p_faster <= SIGNIFICANCE
    return {
        "before": old,
        "now": new,
        "change": change,
        "p_value": p_faster if faster else p_slower,
        "verdict": "slower" if slower else "faster" if faster else "same",
        "rounds": [len(series.before), len(series.now)],
    }


def _standardised(series: RoundSeries) -> list[float]:
    """Scale the values to mean 0 and Euclidean length 1. If lower values are better, also invert the sign.

    The sum over the first set of a split is then proportional to the correlation of the split with the values, by a
    factor that all series share. It increases with the split's Student's t, so metrics with different units and
    different noise can be compared.
    """
    pooled = [*series.before, *series.now]
    mean = statistics.fmean(pooled)
    length = math.sqrt(math.fsum((value - mean) ** 2 for value in pooled))
    # Rounding errors must not make a constant metric appear to change.
    if length <= 1e-12 * abs(mean):
        return [0.0] * len(pooled)
    sign = 1.0 if series.lower_is_worse else -1.0
    return [sign * (value - mean) / length for value in pooled]


def _permutation_p(rows: Sequence[Sequence[float]], size: tuple[int, int]) -> list[float]:
    """Return a p-value for each row. Each row contains the standardised values of one metric.

    A split divides the rounds of both runs into two sets. For each split, the values of the first set are summed in
    every row. The p-value of a row is the fraction of splits in which the largest of these sums is at least the
    row's sum over the rounds of the stored run.
    """
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
