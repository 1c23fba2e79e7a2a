# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which node is not like its peers.

The middle of a group is its median and the width its median absolute deviation (MAD): neither moves when one node is
broken, which a mean and a standard deviation do. Source: Iglewicz and Hoaglin, "How to Detect and Handle Outliers",
ASQC 1993: modified z-score 0.6745 * (x - median) / MAD, limit 3.5.
"""

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

#: Below this many nodes the median and MAD describe noise, so callers fall back to the roofline.
MINIMUM_NODES: t.Final = 5

#: Modified z-score above which a node stands out (Iglewicz and Hoaglin).
SCORE_LIMIT: t.Final = 3.5

#: A node within this part of the median is never called an outlier, however alike its peers are: run-to-run
#: variation up to 10 % is fair for a load measurement (shared definition in load/statistics.py).
RELATIVE_FLOOR: t.Final = 0.10

#: Scale from a MAD to a standard deviation for normal noise.
_MAD_TO_SIGMA: t.Final = 1.4826


@dataclass(frozen=True)
class Outlier:
    """A node apart from its group: ``deviation`` is (value - median) / median, ``score`` the modified z-score."""

    node: str
    value: float
    median: float
    deviation: float
    score: float
    nodes: int


class TooFewNodes(Exception):
    """A group is too small to judge a node by its peers."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        super().__init__(f"{nodes} comparable nodes; judging by peers needs {MINIMUM_NODES}")


def find_outliers(values: Mapping[str, float], *, floor: float = RELATIVE_FLOOR) -> list[Outlier]:
    """Nodes of one comparable group (same GPU model and configuration) that stand apart, worst first.

    ``values`` maps node name to one metric in any unit, both tails count; the caller knows which one is bad.

    :raises TooFewNodes: for fewer than ``MINIMUM_NODES`` values.
    """
    if len(values) < MINIMUM_NODES:
        raise TooFewNodes(len(values))
    median = statistics.median(values.values())
    if not median:
        return []
    sigma = _MAD_TO_SIGMA * statistics.median(abs(value - median) for value in values.values())
    found = []
    for node, value in values.items():
        distance = abs(value - median)
        # With more than half of the values equal sigma is 0: then the floor alone decides.
        score = distance / sigma if sigma else float("inf")
        if distance > floor * abs(median) and score > SCORE_LIMIT:
            found.append(Outlier(node, value, median, (value - median) / median, score, len(values)))
    return sorted(found, key=lambda outlier: abs(outlier.deviation), reverse=True)
