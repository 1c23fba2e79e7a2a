# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plot throughput and latency of the load steps against prompt size and against concurrency."""

from __future__ import annotations

import math
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import plot
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.figures import speed

#: Margin left of the first and right of the last point, in per cent of the plot, for their labels.
_MARGIN: t.Final = 9.0
#: Width of a character of an x label and the gap between two labels, in per cent of a narrow plot.
_CHARACTER: t.Final = 4.2
_GAP: t.Final = 3.0
#: Half the width of a limit drawn at a single point, in per cent.
_HALF_POINT: t.Final = 5.0


@dataclass(frozen=True)
class Label:
    """A value label at a point; ``x`` from the left and ``y`` from the bottom, in per cent."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class PlotSeries:
    """One line: its path, its dots (zero-length strokes) and the area between two percentiles (may be empty)."""

    name: str
    line: str
    dots: str
    spread: str


@dataclass(frozen=True)
class Limits:
    """The expectation: a path for the expected value and the areas that warn and fail; each may be empty."""

    expected: str
    warn: str
    fail: str
    source: str


@dataclass(frozen=True)
class Panel:
    """One metric against one quantity. ``summary`` describes the plot for screen readers."""

    title: str
    unit: str
    x_title: str
    x_ticks: tuple[plot.Tick, ...]
    y_ticks: tuple[plot.Tick, ...]
    series: tuple[PlotSeries, ...]
    labels: tuple[Label, ...]
    limits: Limits | None
    summary: str


@dataclass(frozen=True)
class Group:
    """Panels with a common x axis and common lines."""

    title: str
    panels: tuple[Panel, ...]
    series: tuple[str, ...]


@dataclass(frozen=True)
class PlotMetric:
    """A figure of a load step to plot. ``read`` returns (middle, upper end) in ``unit``, or None."""

    key: str
    title: str
    unit: str
    read: Callable[[plot.Document], tuple[float, float] | None]
    scale: float = 1.0
    lower_is_worse: bool = False


def _latency(key: str) -> Callable[[plot.Document], tuple[float, float] | None]:
    def read(step: plot.Document) -> tuple[float, float] | None:
        values = step[key] or {}
        middle, high = values.get("p50"), values.get("p95")
        return None if middle is None else (1000.0 * middle, 1000.0 * (middle if high is None else high))

    return read


def _throughput(step: plot.Document) -> tuple[float, float]:
    return step["output_throughput"], step["output_throughput"]


METRICS: t.Final = (
    PlotMetric("output_throughput", "Throughput", "tok/s", _throughput, lower_is_worse=True),
    PlotMetric("ttft", "Time to first token", "ms", _latency("ttft"), 1000.0),
    PlotMetric("itl", "Inter-token latency", "ms", _latency("itl"), 1000.0),
)


def load_groups(load: Sequence[plot.Document]) -> list[Group]:
    """Return plots against prompt size and against concurrency, each if more than one value was measured.

    Skipped steps and steps limited by the load client are omitted.
    """
    steps = [
        step for step in load if not step["skipped"] and not step["void"] and step["output_throughput"] is not None
    ]
    groups = (
        _group(steps, "prompt size", "prompt tokens", "prompt_tokens", "concurrency", _stream_label),
        _group(steps, "concurrency", "streams", "concurrency", "prompt_tokens", _prompt_label),
    )
    return [group for group in groups if group is not None]


def _stream_label(count: int) -> str:
    return f"{count} stream{'' if count == 1 else 's'}"


def _prompt_label(tokens: int) -> str:
    return f"prompts of {tokens:,} tokens"


def _group(
    steps: Sequence[plot.Document], title: str, x_title: str, x_key: str, line_key: str, name: Callable[[int], str]
) -> Group | None:
    """Return panels with one line per value of ``line_key``, each with at least two points of ``x_key``."""
    lines: dict[int, dict[int, plot.Document]] = {}
    for step in steps:
        if step[x_key] is not None and step[line_key] is not None:
            lines.setdefault(step[line_key], {}).setdefault(step[x_key], step)
    drawn = {name(key): dict(sorted(points.items())) for key, points in sorted(lines.items()) if len(points) > 1}
    if not drawn:
        return None
    panels = [panel for metric in METRICS if (panel := _panel(metric, title, x_title, drawn)) is not None]
    alone = f", {next(iter(drawn))}" if len(drawn) == 1 else ""
    return Group(f"Against {title}{alone}", tuple(panels), tuple(drawn))


def _panel(
    metric: PlotMetric, title: str, x_title: str, lines: Mapping[str, Mapping[int, plot.Document]]
) -> Panel | None:
    values = {
        name: {x: value for x, step in points.items() if (value := metric.read(step)) is not None}
        for name, points in lines.items()
    }
    if not any(values.values()):
        return None
    expectations = {x: step["expectation"].get(metric.key) for points in lines.values() for x, step in points.items()}
    expected = {x: data for x, data in sorted(expectations.items()) if data is not None}
    x_at = _log_axis([x for points in lines.values() for x in points])
    top = _top(metric, values.values(), expected.values())
    step = plot.nice_step(top, 4)
    top = step * math.ceil(top / step - 1e-9)

    def y_at(value: float) -> float:
        return 100.0 * value / top

    return Panel(
        title=metric.title,
        unit=metric.unit,
        x_title=x_title,
        x_ticks=_x_ticks(x_at),
        y_ticks=tuple(plot.Tick(y_at(number * step), f"{number * step:,g}") for number in range(round(top / step) + 1)),
        series=tuple(
            PlotSeries(
                name,
                plot.path((x_at[x], y_at(middle)) for x, (middle, _high) in points.items()),
                "".join(
                    f"M{plot.number(x_at[x])} {plot.number(100 - y_at(middle))}h0" for x, (middle, _h) in points.items()
                ),
                _spread([(x_at[x], y_at(middle), y_at(high)) for x, (middle, high) in points.items()]),
            )
            for name, points in values.items()
            if points
        ),
        labels=_labels(values, x_at, y_at),
        limits=_limits(metric, expected, x_at, y_at),
        summary=_summary(metric, title, values),
    )


def _log_axis(values: Iterable[int]) -> dict[int, float]:
    """Return positions in per cent on a logarithmic axis, because steps usually double prompts or streams."""
    positions = sorted(set(values))
    low, high = math.log(max(positions[0], 1)), math.log(max(positions[-1], 2))
    room = 100 - 2 * _MARGIN
    return {value: _MARGIN + room * (math.log(max(value, 1)) - low) / ((high - low) or 1) for value in positions}


def _x_ticks(positions: Mapping[int, float]) -> tuple[plot.Tick, ...]:
    """Return a label for every value that has room for one."""
    ticks: list[plot.Tick] = []
    for value, at in positions.items():
        label = f"{value:,}"
        if not ticks or at - ticks[-1].at >= _CHARACTER * (len(label) + len(ticks[-1].label)) / 2 + _GAP:
            ticks.append(plot.Tick(at, label))
    return tuple(ticks)


def _top(
    metric: PlotMetric, lines: Iterable[Mapping[int, tuple[float, float]]], expected: Iterable[plot.Document]
) -> float:
    """Return the upper end of the y axis, with room for the label of the highest value."""
    measured = [high for points in lines for _middle, high in points.values()]
    limits = [metric.scale * (data["expected"] if metric.lower_is_worse else _worst(data)) for data in expected]
    return max([*(1.15 * value for value in measured), *(1.08 * value for value in limits)]) or 1.0


def _worst(limits: plot.Document) -> float:
    """Return the highest latency limit; disabled limits are ignored."""
    highest: float = max(value for value in (limits["expected"], limits["warn"], limits["fail"]) if value is not None)
    return highest


def _spread(points: Sequence[tuple[float, float, float]]) -> str:
    if len(points) < 2 or all(middle == high for _x, middle, high in points):
        return ""
    return plot.area([(x, high) for x, _middle, high in points], [(x, middle) for x, middle, _high in points])


def _labels(
    values: Mapping[str, Mapping[int, tuple[float, float]]], x_at: Mapping[int, float], y_at: Callable[[float], float]
) -> tuple[Label, ...]:
    """Return value labels if there is a single line; labels of several lines would overlap, and the table has them."""
    if len(values) != 1:
        return ()
    (points,) = values.values()
    return tuple(Label(x_at[x], y_at(middle), short(middle)) for x, (middle, _high) in points.items())


def short(value: float) -> str:
    """Format a value next to its dot with three digits."""
    return f"{value:,.0f}" if value >= 100 else speed(value)


def _limits(
    metric: PlotMetric, expected: Mapping[int, plot.Document], x_at: Mapping[int, float], y_at: Callable[[float], float]
) -> Limits | None:
    """Return the expected value and the areas beyond the limits; a single point gets a short segment."""
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
    return Limits(
        expected=plot.path(edge("expected")),
        warn=plot.area(edge("warn"), edge("fail")),
        fail=plot.area(edge("fail"), far),
        source=", ".join(dict.fromkeys(data["source"] for data in expected.values())),
    )


def _summary(metric: PlotMetric, title: str, values: Mapping[str, Mapping[int, tuple[float, float]]]) -> str:
    parts = [
        f"{name}: " + ", ".join(f"{short(middle)} {metric.unit} at {x:,}" for x, (middle, _high) in points.items())
        for name, points in values.items()
        if points
    ]
    return f"{metric.title} against {title}. {'; '.join(parts)}."
