# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plot GPU utilisation over time, one strip per GPU on a common axis, so that an idle GPU is obvious."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import plot


@dataclass(frozen=True)
class Strip:
    """The utilisation of one GPU over time: area and outline."""

    index: int
    area: str
    line: str
    mean: float | None
    summary: str


@dataclass(frozen=True)
class Span:
    """A load step on the time axis, in per cent."""

    name: str
    left: float
    width: float


@dataclass(frozen=True)
class UtilisationTimeline:
    """The utilisation of all GPUs on one time axis."""

    strips: tuple[Strip, ...]
    spans: tuple[Span, ...]
    ticks: tuple[plot.Tick, ...]


def timeline(utilisation: plot.Document | None, load: Sequence[plot.Document]) -> UtilisationTimeline | None:
    """Return one strip per GPU on a common time axis, or None if there are no samples."""
    if utilisation is None or not utilisation["rows"]:
        return None
    rows, interval = utilisation["rows"], utilisation["interval"]
    spans = [
        (step["name"], step["started"], step["ended"]) for step in load if None not in (step["started"], step["ended"])
    ]
    end: float = max([rows[-1]["time"] + interval, *(ended for _name, _started, ended in spans)])

    def at(seconds: float) -> float:
        return 100.0 * min(max(seconds, 0.0), end) / end

    step = plot.nice_step(end, 6)
    return UtilisationTimeline(
        strips=tuple(
            _strip(
                gpu, column, [(row["time"], row["utilization_gpu"][column]) for row in rows], interval, utilisation, at
            )
            for column, gpu in enumerate(utilisation["gpus"])
        ),
        spans=tuple(Span(name or "load", at(started), at(ended) - at(started)) for name, started, ended in spans),
        ticks=tuple(plot.Tick(at(number * step), f"{number * step:g}") for number in range(int(end / step + 1e-9) + 1)),
    )


def _strip(
    gpu: int,
    column: int,
    readings: Sequence[tuple[float, float | None]],
    interval: float,
    utilisation: plot.Document,
    at: Callable[[float], float],
) -> Strip:
    """Draw steps instead of slopes: each window shows its mean; a window without readings is empty."""
    area: list[str] = []
    line: list[str] = []
    before = None
    for time, value in readings:
        if value is None:
            before = None
            continue
        left, right, height = plot.number(at(time)), plot.number(at(time + interval)), plot.number(100 - value)
        joined = before is not None and abs(before - time) < 1e-6
        area.append(f"V{height}H{right}" if joined else f"{'V100' if area else ''}M{left} 100V{height}H{right}")
        line.append(f"V{height}H{right}" if joined else f"M{left} {height}H{right}")
        before = time + interval
    mean = utilisation["mean"][column]
    shares = [value for _time, value in readings if value is not None]
    shown = "no readings"
    if shares and mean is not None:
        shown = f"mean {mean:.0f} %, from {min(shares):.0f} to {max(shares):.0f} %"
    return Strip(
        gpu, "".join(area) + ("V100" if area else ""), "".join(line), mean, f"Utilisation of GPU {gpu}: {shown}"
    )
