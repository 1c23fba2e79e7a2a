# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this node slower than it was, beyond noise?

Two sets of repeats are compared by an exact permutation test on the difference of their means: of all ways to deal
the measurements into two sets of these sizes, how many differ at least this much in this direction? It assumes no
distribution, which five repeats could not support. Source: Good, "Permutation, Parametric and Bootstrap Tests of
Hypotheses", Springer 2005. A difference below ``MINIMUM_EFFECT`` is never called a regression, however certain.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
import typing as t
from collections.abc import Sequence
from dataclasses import dataclass

#: Largest chance of calling equal runs different.
SIGNIFICANCE: t.Final = 0.05

#: Smaller changes are noise to a user: a coefficient of variation up to 5 % is called good.
MINIMUM_EFFECT: t.Final = 0.05

#: Fewer repeats than this on either side cannot reach SIGNIFICANCE (3 against 3: 1 in 20).
MINIMUM_REPEATS: t.Final = 3

#: Above this many ways to deal the measurements, a seeded sample of them is taken.
_EXACT_LIMIT: t.Final = 20_000


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
    if min(len(before), len(now)) < MINIMUM_REPEATS:
        raise TooFewRepeats(len(before), len(now))
    old, new = statistics.fmean(before), statistics.fmean(now)
    if old <= 0:
        raise ValueError(f"the stored mean is {old}; a speed or a time is positive")
    worse = (old - new) if lower_is_worse else (new - old)
    p_value = _permutation_p(before, now, worse, 1 if lower_is_worse else -1)
    regressed = worse / old >= MINIMUM_EFFECT and p_value <= SIGNIFICANCE
    return Comparison(old, new, (new - old) / old, p_value, regressed, (len(before), len(now)))


def _permutation_p(before: Sequence[float], now: Sequence[float], observed: float, sign: int) -> float:
    """One-sided p-value of a difference of means at least as large as ``observed``."""
    pooled = [*before, *now]
    total, size = sum(pooled), len(before)
    if math.comb(len(pooled), size) <= _EXACT_LIMIT:
        deals: t.Iterable[Sequence[float]] = itertools.combinations(pooled, size)
    else:
        draw = random.Random(0)
        deals = itertools.chain([before], (draw.sample(pooled, size) for _ in range(_EXACT_LIMIT)))
    tolerance = 1e-12 * abs(total)
    as_extreme = count = 0
    for deal in deals:
        first = sum(deal)
        difference = sign * (first / size - (total - first) / (len(pooled) - size))
        as_extreme += difference >= observed - tolerance
        count += 1
    return as_extreme / count
