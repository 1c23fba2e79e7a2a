# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find nodes whose measured values differ from those of similar nodes.

A group is described by its median and its median absolute deviation (MAD). Unlike mean and standard deviation, neither
changes much if one node is broken. Source: Iglewicz and Hoaglin, "How to Detect and Handle Outliers",
ASQC 1993: modified z-score 0.6745 * (x - median) / MAD, limit 3.5.
"""

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

#: Minimum size of a group. With fewer nodes, median and MAD describe only noise, so callers use the roofline instead.
MINIMUM_NODES: t.Final = 5

#: Modified z-score above which a node is an outlier (Iglewicz and Hoaglin).
SCORE_LIMIT: t.Final = 3.5

#: Deviation from the median below which a node is never an outlier: load measurements vary by up to 10 % between runs
#: (load/statistics.py).
RELATIVE_FLOOR: t.Final = 0.10

#: Ratio of standard deviation to MAD for normally distributed noise.
_MAD_TO_SIGMA: t.Final = 1.4826


@dataclass(frozen=True)
class Outlier:
    """A node whose measured value differs too much from the median of its group.

    ``deviation`` is (value - median) / median, ``score`` the modified z-score.
    """

    node: str
    value: float
    median: float
    deviation: float
    score: float


def find_outliers(values: Mapping[str, float], *, floor: float = RELATIVE_FLOOR) -> list[Outlier]:
    """Return the outliers in a group of nodes with the same GPU model and configuration, largest deviation first.

    ``values`` maps node names to one metric in any unit. Outliers in both directions are returned; the caller decides
    which direction is bad. If there are fewer than ``MINIMUM_NODES`` values, the list is empty.
    """
    if len(values) < MINIMUM_NODES or not (median := statistics.median(values.values())):
        return []
    sigma = _MAD_TO_SIGMA * statistics.median(abs(value - median) for value in values.values())
    outliers = []
    for node, value in values.items():
        distance = abs(value - median)
        # sigma is 0 if more than half of the values are equal; then only the floor decides.
        score = distance / sigma if sigma else float("inf")
        if distance > floor * abs(median) and score > SCORE_LIMIT:
            outliers.append(Outlier(node, value, median, (value - median) / median, score))
    return sorted(outliers, key=lambda outlier: abs(outlier.deviation), reverse=True)
