# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plot GPU utilisation over time, with one strip per GPU on a shared time axis, so that an idle GPU stands out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import plot


def timeline(utilisation: plot.Document | None, load: Sequence[plot.Document]) -> plot.Drawing | None:
    """Return the utilisation plot, or None if there are no samples.

    :returns: ``strips``, one per GPU on a shared time axis; ``spans``, the load steps with ``left`` and ``width`` as
        percentages; ``ticks``, labelled in seconds.
    """
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
    windows = [(row["time"], row["time"] + interval, row["utilization_gpu"]) for row in rows]
    columns = enumerate(zip(utilisation["gpus"], utilisation["mean"], strict=True))
    return {
        "strips": [
            _strip(gpu, mean, [(start, stop, values[column]) for start, stop, values in windows], at)
            for column, (gpu, mean) in columns
        ],
        "spans": [
            {"name": name or "load", "left": at(started), "width": at(ended) - at(started)}
            for name, started, ended in spans
        ],
        "ticks": [plot.Tick(at(number * step), f"{number * step:g}") for number in range(int(end / step + 1e-9) + 1)],
    }


def _strip(
    gpu: int, mean: float | None, windows: Sequence[tuple[float, float, float | None]], at: Callable[[float], float]
) -> plot.Drawing:
    """Draw the utilisation of one GPU: for each time window, a horizontal line at the mean utilisation.

    A time window without readings is left blank.
    """
    area: list[str] = []
    line: list[str] = []
    before = None
    for start, stop, value in windows:
        if value is None:
            before = None
            continue
        left, right, height = plot.number(at(start)), plot.number(at(stop)), plot.number(100 - value)
        joined = before is not None and abs(before - start) < 1e-6
        area.append(f"V{height}H{right}" if joined else f"{'V100' if area else ''}M{left} 100V{height}H{right}")
        line.append(f"V{height}H{right}" if joined else f"M{left} {height}H{right}")
        before = stop
    shares = [value for _start, _stop, value in windows if value is not None]
    shown = "no readings"
    if shares and mean is not None:
        shown = f"mean {mean:.0f} %, from {min(shares):.0f} to {max(shares):.0f} %"
    return {
        "index": gpu,
        "area": "".join(area) + ("V100" if area else ""),
        "line": "".join(line),
        "mean": mean,
        "summary": f"Utilisation of GPU {gpu}: {shown}",
    }
