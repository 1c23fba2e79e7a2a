# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the summary of a benchmark sweep: figures, knee and goodput by prompt size and streams."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.analysis import cells, knees, meets
from ansible_collections.multigpu.vllm.tests.support.sweep_results import sweep_results

NO_TARGETS: t.Final = {"ttft": None, "itl": None}


def measured(**changes: t.Any) -> list[dict[str, t.Any]]:
    return sweep_results(**changes)["load"]["results"]


def rounds(*speeds: float | None, **change: t.Any) -> list[dict[str, t.Any]]:
    """Return rounds of one combination with these throughputs."""
    results = measured(prompt_tokens=[128], concurrency=[8], repeats=len(speeds))
    return [result | {"output_throughput": speed} | change for result, speed in zip(results, speeds, strict=True)]


def test_cell_has_mean_and_variation_of_its_rounds() -> None:
    (cell,) = cells(rounds(90.0, 100.0, 110.0))
    assert (cell["prompt_tokens"], cell["output_tokens"], cell["concurrency"]) == (128, 128, 8)
    assert cell["output_throughput"] == pytest.approx(100.0)
    assert cell["variation"] == pytest.approx(0.1)
    assert [entry["output_throughput"] for entry in cell["rounds"]] == [90.0, 100.0, 110.0]


def test_cells_are_ordered_by_size_and_streams() -> None:
    combinations = [(cell["prompt_tokens"], cell["concurrency"]) for cell in cells(reversed(measured()))]
    assert combinations == [(128, 1), (128, 8), (128, 32), (1024, 1), (1024, 8), (1024, 32)]


def test_cell_percentiles_are_medians_of_the_rounds() -> None:
    results = rounds(100.0, 100.0, 100.0)
    for result, value in zip(results, (0.1, 0.2, 9.0), strict=True):
        result["ttft"] = {"mean": value, "p50": value, "p95": value, "p99": value}
    (cell,) = cells(results)
    assert cell["ttft"]["p50"] == 0.2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"void": True, "client": {"reason": "the load client used 97 % of one core"}}, "97 % of one core"),
        ({"gave_up": "unavailable"}, "ended early: unavailable"),
        ({"output_throughput": None}, "reports no token usage"),
        ({"skipped": "too long"}, "too long"),
    ],
)
def test_cell_excludes_invalid_rounds(fault: dict, reason: str) -> None:
    good, bad = rounds(100.0, 50.0)
    (cell,) = cells([good, bad | fault])
    assert cell["output_throughput"] == 100.0
    assert cell["variation"] is None
    assert reason in cell["rounds"][1]["invalid"]
    assert cell["reason"] is None
    (cell,) = cells([bad | fault])
    assert cell["output_throughput"] is None
    assert reason in cell["reason"]


def test_cell_counts_a_round_without_tokens_as_slow() -> None:
    (cell,) = cells(rounds(100.0, None, tokens=0))
    assert cell["output_throughput"] == 50.0


def test_cell_goodput_counts_failed_requests() -> None:
    figures = {"duration": 10.0, "request_throughput": 1.0, "requests": {"completed": 12, "failed": 2, "cancelled": 0}}
    first, second = rounds(100.0, 100.0, **figures)
    (cell,) = cells([first | {"within_targets": 9, "goodput": 0.9}, second | {"within_targets": 3, "goodput": 0.3}])
    assert cell["goodput"] == pytest.approx(0.6)
    # Ten requests completed in time and two failed in each round.
    assert cell["within_targets"] == pytest.approx(12 / 24)
    assert cell["requests"] == {"completed": 20, "failed": 4}


def test_cell_without_targets_has_no_goodput() -> None:
    (cell,) = cells(rounds(100.0, within_targets=None, goodput=None))
    assert cell["goodput"] is None
    assert cell["within_targets"] is None


def cell(streams: int, speed: float | None, ttft: float, itl: float = 0.01, size: int = 128) -> dict[str, t.Any]:
    return {
        "prompt_tokens": size,
        "output_tokens": 128,
        "concurrency": streams,
        "requests": {"completed": 9, "failed": 0},
        "rounds": [{"duration": 10.0}],
        "output_throughput": speed,
        "goodput": 1.0,
        "reason": None if speed else "too long",
        "ttft": {"p50": ttft / 2, "p95": ttft, "p99": ttft},
        "itl": {"p50": itl / 2, "p95": itl, "p99": itl},
    }


CURVE: t.Final = [cell(1, 50, 0.1), cell(8, 300, 0.5), cell(32, 600, 1.9), cell(64, 700, 4.0)]


@pytest.mark.parametrize(
    ("targets", "streams"),
    [
        ({"ttft": 2.0, "itl": 0.1}, 32),
        ({"ttft": 1.9, "itl": None}, 32),
        ({"ttft": 0.4, "itl": None}, 1),
        (NO_TARGETS, 64),
        ({}, 64),
    ],
)
def test_knee_is_the_highest_throughput_within_the_targets(targets: dict, streams: int) -> None:
    (knee,) = knees(CURVE, targets)
    assert knee["concurrency"] == streams
    assert knee["at_limit"] is (streams == 64)
    assert knee["reason"] is None


def test_knee_is_below_slower_combinations() -> None:
    (knee,) = knees([*CURVE, cell(128, 650, 1.0)], NO_TARGETS)
    assert (knee["concurrency"], knee["at_limit"]) == (64, False)


def test_knee_without_a_whole_request_explains_the_unknown_goodput() -> None:
    short = {**cell(4, 90, 0.5, itl=0.2), "goodput": 0.0, "requests": {"completed": 0, "failed": 0}}
    (knee,) = knees([short], NO_TARGETS)
    assert (knee["concurrency"], knee["goodput"]) == (4, None)
    # TTFT 250 ms and 127 times 100 ms.
    assert knee["reason"] == (
        "no request ended within a round of 10 s, so the goodput is unknown; a request takes about 13 s, set"
        " benchmark_duration to at least 26"
    )


def test_knees_are_separate_for_each_prompt_size() -> None:
    result = knees([*CURVE, cell(1, 40, 0.3, size=1024), cell(8, 90, 2.5, size=1024)], {"ttft": 2.0})
    assert [(knee["prompt_tokens"], knee["concurrency"]) for knee in result] == [(128, 32), (1024, 1)]


def test_knee_missing_gives_the_latencies_of_the_lightest_load() -> None:
    (knee,) = knees(CURVE, {"ttft": 0.05, "itl": 0.005})
    assert knee["concurrency"] is None
    assert "at 1 stream: TTFT p95 0.1 s instead of 0.05 s, ITL p95 0.01 s instead of 0.005 s" in knee["reason"]


def test_knee_of_an_unmeasured_size_gives_the_reason() -> None:
    (knee,) = knees([cell(1, None, 0.1)], NO_TARGETS)
    assert (knee["concurrency"], knee["reason"]) == (None, "too long")


def test_meets_is_false_for_an_unknown_latency() -> None:
    assert not meets({"ttft": None, "itl": None}, {"ttft": 1.0})
    assert meets({"ttft": None, "itl": None}, NO_TARGETS)
