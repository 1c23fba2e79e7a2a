# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ground of the HTML report's charts: axes and SVG paths.

Every plot is a square of 100 by 100 with y downwards, which the page stretches to the room it has. All text stays
outside the SVG, so it keeps its size on a phone.

Why no chart library: this must work offline, without a script, in light and dark, on a phone and for a screen reader,
in at most 100 KB a node. A chart with four lines of 120 points takes 46 KB with pygal 3.1, with a style sheet of its
own, fixed colours, text that shrinks with the picture and values that only a script shows; plotly and vega (altair)
draw in the browser by 1 to 4 MB of script; matplotlib adds 60 MB to the controller. The marks here take 2 KB.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Document = Mapping[str, t.Any]


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: ``at`` in per cent from its start."""

    at: float
    label: str


def nice_step(top: float, count: int) -> float:
    """The smallest 1, 2 or 5 times a power of ten that needs at most ``count`` steps to reach ``top``."""
    raw = top / count
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))


def number(value: float) -> str:
    """One decimal, and none where it would be a zero: paths stay short."""
    return f"{value:.1f}".rstrip("0").rstrip(".") if value else "0"


def path(points: Iterable[tuple[float, float]]) -> str:
    """A line through points ``(x, y from the bottom)``."""
    return "M" + "L".join(f"{number(x)} {number(100 - y)}" for x, y in points)


def area(upper: Sequence[tuple[float, float]], lower: Sequence[tuple[float, float]]) -> str:
    return path([*upper, *reversed(lower)]) + "Z"
