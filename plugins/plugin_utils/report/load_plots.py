# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plot throughput and latency of the load steps against prompt size and against concurrency."""

from __future__ import annotations

import math
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.units import counted
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import plot
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.figures import three_digits

#: Margin for labels to the left of the first point and to the right of the last point, as a percentage of the plot
#: width.
_MARGIN: t.Final = 9.0
#: Width of one character in a label on the x axis, and minimum gap between two labels, as percentages of the width of a
#: narrow plot.
_CHARACTER: t.Final = 4.2
_GAP: t.Final = 3.0
#: Half the width of the line that marks a limit at a single point, as a percentage of the plot width.
_HALF_POINT: t.Final = 5.0

#: The p50 and p95 of a metric, keyed by the value on the x axis.
Points = Mapping[int, tuple[float, float]]


@dataclass(frozen=True)
class PlotMetric:
    """A plotted metric of the load steps. Measured values are multiplied by ``scale`` to convert them to ``unit``."""

    key: str
    title: str
    unit: str
    scale: float = 1.0
    lower_is_worse: bool = False

    def read(self, step: plot.Document) -> tuple[float, float] | None:
        """Return the metric's p50 and p95 in ``step``, converted to ``unit``, or None if ``step`` lacks the metric.

        If the metric has a single value instead of percentiles, return it as both p50 and p95.
        """
        value = step[self.key]
        percentiles = value if isinstance(value, Mapping) else {"p50": value}
        middle, high = percentiles.get("p50"), percentiles.get("p95")
        return None if middle is None else (self.scale * middle, self.scale * (middle if high is None else high))


METRICS: t.Final = (
    PlotMetric("output_throughput", "Throughput", "tok/s", lower_is_worse=True),
    PlotMetric("ttft", "Time to first token", "ms", 1000.0),
    PlotMetric("itl", "Inter-token latency", "ms", 1000.0),
)


def load_groups(load: Sequence[plot.Document]) -> list[plot.Drawing]:
    """Return plots of the load step results against prompt size and against concurrency.

    Skipped steps and steps limited by the load client are omitted. So are lines with a single point.

    :returns: groups of panels that share an x axis, each with ``title``, ``panels`` and ``series`` (the names of the
        lines in its panels).
    """
    steps = [
        step for step in load if not step["skipped"] and not step["void"] and step["output_throughput"] is not None
    ]
    groups = (
        _group(steps, "prompt size", "prompt tokens", "prompt_tokens", "concurrency"),
        _group(steps, "concurrency", "streams", "concurrency", "prompt_tokens"),
    )
    return [group for group in groups if group is not None]


def _group(steps: Sequence[plot.Document], title: str, x_title: str, x_key: str, line_key: str) -> plot.Drawing | None:
    """Return one plot per metric, with one line per value of ``line_key``; lines with a single point are left out."""
    lines: dict[int, dict[int, plot.Document]] = {}
    for step in steps:
        if step[x_key] is not None and step[line_key] is not None:
            lines.setdefault(step[line_key], {}).setdefault(step[x_key], step)
    drawn = {
        _line_name(line_key, key): dict(sorted(points.items()))
        for key, points in sorted(lines.items())
        if len(points) > 1
    }
    if not drawn:
        return None
    panels = [panel for metric in METRICS if (panel := _panel(metric, title, x_title, drawn)) is not None]
    alone = f", {next(iter(drawn))}" if len(drawn) == 1 else ""
    return {"title": f"Against {title}{alone}", "panels": panels, "series": tuple(drawn)}


def _line_name(key: str, value: int) -> str:
    return counted(value, "stream") if key == "concurrency" else f"prompts of {value:,} tokens"


def _panel(
    metric: PlotMetric, title: str, x_title: str, lines: Mapping[str, Mapping[int, plot.Document]]
) -> plot.Drawing | None:
    """Return the plot of one metric, or None if no step has this metric.

    The ``summary`` of the plot is a text for screen readers.
    """
    measured = {
        name: {x: value for x, step in points.items() if (value := metric.read(step)) is not None}
        for name, points in lines.items()
    }
    values = {name: points for name, points in measured.items() if points}
    if not values:
        return None
    expectations = {x: step["expectation"].get(metric.key) for points in lines.values() for x, step in points.items()}
    expected = {x: data for x, data in sorted(expectations.items()) if data is not None}
    x_at = _log_axis([x for points in lines.values() for x in points])
    top, y_ticks = plot.linear_axis(_top(metric, values.values(), expected.values()))

    def y_at(value: float) -> float:
        return 100.0 * value / top

    # Label the points only if there is a single line, because the labels of several lines would overlap.
    # The table in the report shows the values in any case.
    labels = _labels(next(iter(values.values())), x_at, y_at) if len(lines) == 1 else []
    placed = [[(x_at[x], y_at(middle), y_at(high)) for x, (middle, high) in line.items()] for line in values.values()]
    return {
        "title": metric.title,
        "unit": metric.unit,
        "x_title": x_title,
        "x_ticks": _x_ticks(x_at),
        "y_ticks": y_ticks,
        "series": tuple(_series(points) for points in placed),
        "labels": labels,
        "limits": _limits(metric, expected, x_at, y_at),
        "summary": _summary(metric, title, values),
    }


def _series(points: Sequence[tuple[float, float, float]]) -> plot.Drawing:
    """Return SVG paths for a line through the p50 values, its dots, and the area between p50 and p95.

    Each dot is a stroke of zero length.
    """
    middles, highs = [(x, middle) for x, middle, _high in points], [(x, high) for x, _middle, high in points]
    return {
        "line": plot.path(middles),
        "dots": "".join(f"M{plot.number(x)} {plot.number(100 - y)}h0" for x, y in middles),
        "spread": plot.area(highs, middles) if len(points) > 1 and middles != highs else "",
    }


def _log_axis(values: Iterable[int]) -> dict[int, float]:
    """Return the position of each value on the x axis, as a percentage of the plot width.

    The axis is logarithmic, because each value is usually twice the previous value.
    """
    positions = sorted(set(values))
    low, high = math.log(max(positions[0], 1)), math.log(max(positions[-1], 2))
    room = 100 - 2 * _MARGIN
    return {value: _MARGIN + room * (math.log(max(value, 1)) - low) / ((high - low) or 1) for value in positions}


def _x_ticks(positions: Mapping[int, float]) -> list[plot.Tick]:
    """Return an axis tick for every value whose label fits without overlapping the previous label."""
    ticks: list[plot.Tick] = []
    for value, at in positions.items():
        label = f"{value:,}"
        if not ticks or at - ticks[-1].at >= _CHARACTER * (len(label) + len(ticks[-1].label)) / 2 + _GAP:
            ticks.append(plot.Tick(at, label))
    return ticks


def _top(metric: PlotMetric, lines: Iterable[Points], expected: Iterable[plot.Document]) -> float:
    """Return the value at the upper end of the y axis, which leaves room for the label of the highest point."""
    measured = [high for points in lines for _middle, high in points.values()]
    # The y axis of a latency plot must include the warning and failure limits. A disabled limit is None.
    keys = ("expected",) if metric.lower_is_worse else ("expected", "warn", "fail")
    limits = [metric.scale * data[key] for data in expected for key in keys if data[key] is not None]
    return max([*(1.15 * value for value in measured), *(1.08 * value for value in limits)]) or 1.0


def _labels(points: Points, x_at: Mapping[int, float], y_at: Callable[[float], float]) -> list[plot.Drawing]:
    """Return one label per point, which shows the value of the point.

    ``x`` and ``y`` are the distances from the left and bottom edges of the plot, as percentages.
    """
    return [{"x": x_at[x], "y": y_at(middle), "text": three_digits(middle)} for x, (middle, _high) in points.items()]


def _limits(
    metric: PlotMetric, expected: Mapping[int, plot.Document], x_at: Mapping[int, float], y_at: Callable[[float], float]
) -> plot.Drawing | None:
    """Return SVG paths for the expected values and for the warning and failure areas.

    A single expected value is drawn as a short horizontal line.
    """
    if not expected:
        return None
    reach = [(x_at[x], data) for x, data in expected.items()]
    if len(reach) == 1:
        ((at, data),) = reach
        reach = [(at - _HALF_POINT, data), (at + _HALF_POINT, data)]

    end = 0.0 if metric.lower_is_worse else 100.0

    def edge(key: str) -> list[tuple[float, float]]:
        return [(at, end if data[key] is None else min(y_at(metric.scale * data[key]), 100.0)) for at, data in reach]

    far = [(at, end) for at, _data in reach]
    return {
        "expected": plot.path(edge("expected")),
        "warn": plot.area(edge("warn"), edge("fail")),
        "fail": plot.area(edge("fail"), far),
        "source": ", ".join(dict.fromkeys(data["source"] for data in expected.values())),
    }


def _summary(metric: PlotMetric, title: str, values: Mapping[str, Points]) -> str:
    lines = []
    for name, points in values.items():
        shown = (f"{three_digits(middle)} {metric.unit} at {x:,}" for x, (middle, _high) in points.items())
        lines.append(f"{name}: {', '.join(shown)}")
    return f"{metric.title} against {title}. {'; '.join(lines)}."
