# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the utilisation strips."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.timeline_plot import timeline


def utilisation(*rows: list[float | None], interval: float = 1.0, times: list[float] | None = None) -> dict[str, t.Any]:
    columns = len(rows[0])
    readings = [[row[column] for row in rows if row[column] is not None] for column in range(columns)]
    return {
        "interval": interval,
        "gpus": list(range(columns)),
        "mean": [sum(values) / len(values) if values else None for values in readings],
        "rows": [
            {"time": time, "utilization_gpu": row}
            for time, row in zip(times or [number * interval for number in range(len(rows))], rows, strict=True)
        ],
    }


def test_timeline_without_samples_is_none() -> None:
    assert timeline(None, []) is None
    assert timeline({"rows": []}, []) is None


def test_timeline_window_is_a_step() -> None:
    drawn = timeline(utilisation([100.0, 0.0], [50.0, 0.0]), [])
    assert drawn is not None
    busy, idle = drawn["strips"]
    assert busy["area"] == "M0 100V0H50V50H100V100"
    assert busy["line"] == "M0 0H50V50H100"
    assert idle["line"] == "M0 100H50V100H100"
    assert busy["summary"] == "Utilisation of GPU 0: mean 75 %, from 50 to 100 %"


def test_timeline_window_without_reading_is_a_gap() -> None:
    drawn = timeline(utilisation([90.0], [None], [90.0], [90.0]), [])
    assert drawn is not None
    assert drawn["strips"][0]["line"] == "M0 10H25M50 10H75V10H100"
    assert drawn["strips"][0]["area"] == "M0 100V10H25V100M50 100V10H75V10H100V100"


def test_timeline_pause_between_windows_is_a_gap() -> None:
    drawn = timeline(utilisation([90.0], [90.0], times=[0.0, 3.0]), [])
    assert drawn is not None
    assert drawn["strips"][0]["line"] == "M0 10H25M75 10H100"


def test_timeline_gpu_without_readings_has_a_summary() -> None:
    drawn = timeline(utilisation([None]), [])
    assert drawn is not None
    assert (drawn["strips"][0]["area"], drawn["strips"][0]["line"]) == ("", "")
    assert drawn["strips"][0]["summary"].endswith("no readings")


def test_timeline_load_steps_share_the_axis() -> None:
    load = [
        {"name": "prompt-128", "started": -0.1, "ended": 4.0},
        {"name": None, "started": 5.0, "ended": 10.0},
        {"name": "skipped", "started": None, "ended": None},
    ]
    drawn = timeline(utilisation(*[[90.0]] * 8), load)
    assert drawn is not None
    assert drawn["spans"] == [
        {"name": "prompt-128", "left": 0, "width": 40},
        {"name": "load", "left": 50, "width": 50},
    ]
    assert [tick.label for tick in drawn["ticks"]] == ["0", "2", "4", "6", "8", "10"]
    assert drawn["ticks"][-1].at == 100
