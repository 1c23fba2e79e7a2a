# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute axes and SVG paths for the plots in the HTML report.

Every plot is a square of 100 by 100 units in which y increases downwards. The page stretches it to the available
width. Text stays outside the SVG, so it keeps its size on a phone.

No chart library meets all requirements: charts must work offline, without scripts, in light and dark mode, on phones
and with screen readers, and take at most 100 KB per node. A chart with four lines of 120 points takes 46 KB with pygal
3.1, which also needs a separate style sheet, has fixed colours, shrinks the text with the plot, and shows some values
only with a script. plotly and vega (altair) need 1 to 4 MB of scripts in the browser, and matplotlib adds 60 MB to the
controller. The paths computed here take 2 KB.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Document = Mapping[str, t.Any]
#: Data that a template draws: SVG paths, positions as percentages, and texts.
Drawing = dict[str, t.Any]


@dataclass(frozen=True)
class Tick:
    """An axis tick; ``at`` is its distance from the start of the axis, as a percentage of the axis length."""

    at: float
    label: str


def nice_step(top: float, count: int) -> float:
    """Return the distance between two axis ticks: the smallest round number that is at least ``top / count``.

    A round number is 1, 2 or 5 times a power of ten.
    """
    raw = top / count
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))


def linear_axis(largest: float) -> tuple[float, list[Tick]]:
    """Return the value at the end of an axis that begins at 0 and holds ``largest``, and its ticks."""
    step = nice_step(largest, 4)
    intervals = math.ceil(largest / step - 1e-9)
    return step * intervals, [Tick(100.0 * i / intervals, f"{i * step:,g}") for i in range(intervals + 1)]


def number(value: float) -> str:
    """Format a coordinate with at most one decimal, which keeps SVG paths short."""
    return f"{value:.1f}".rstrip("0").rstrip(".") if value else "0"


def path(points: Iterable[tuple[float, float]]) -> str:
    """Return an SVG path through points ``(x, y)``, where y is the distance from the bottom of the plot."""
    return "M" + "L".join(f"{number(x)} {number(100 - y)}" for x, y in points)


def area(upper: Sequence[tuple[float, float]], lower: Sequence[tuple[float, float]]) -> str:
    """Return a closed SVG path around the area between two lines.

    Each line is a sequence of points ``(x, y)``, where y is measured from the bottom.
    """
    return path([*upper, *reversed(lower)]) + "Z"
