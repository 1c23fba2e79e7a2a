# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the plots of throughput and latency."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import load_plots

NOTHING = {"output_throughput": None, "itl": None}


def step(prompt: int, concurrency: int, throughput: float | None, **other: t.Any) -> dict[str, t.Any]:
    latency = {"p50": 0.05, "p95": 0.08}
    values = {
        "void": False,
        "skipped": None,
        "ttft": latency,
        "itl": {"p50": 0.01, "p95": 0.01},
        "expectation": NOTHING,
    }
    return {
        "prompt_tokens": prompt,
        "concurrency": concurrency,
        "output_throughput": throughput,
        **values,
        **other,
    }


def test_load_groups_default_run_has_both_axes() -> None:
    groups = load_plots.load_groups([step(128, 1, 90.0), step(1024, 1, 66.0), step(128, 8, 500.0)])
    assert [group["title"] for group in groups] == [
        "Against prompt size, 1 stream",
        "Against concurrency, prompts of 128 tokens",
    ]
    assert [panel["title"] for panel in groups[0]["panels"]] == [metric.title for metric in load_plots.METRICS]
    assert [tick.label for tick in groups[1]["panels"][0]["x_ticks"]] == ["1", "8"]
    assert [label["text"] for label in groups[1]["panels"][0]["labels"]] == ["90.0", "500"]


def test_load_groups_sweep_has_a_line_per_prompt_size() -> None:
    sweep = [step(prompt, streams, 90.0 * streams) for prompt in (128, 1024) for streams in (1, 2, 4)]
    _by_prompt, by_concurrency = load_plots.load_groups(sweep)
    assert by_concurrency["title"] == "Against concurrency"
    assert by_concurrency["series"] == ("prompts of 128 tokens", "prompts of 1,024 tokens")
    (throughput, *_rest) = by_concurrency["panels"]
    assert [series["line"].count("L") for series in throughput["series"]] == [2, 2]
    assert throughput["labels"] == [], "labels of several lines would overlap"
    assert "prompts of 1,024 tokens: 90.0 tok/s at 1, 180 tok/s at 2" in throughput["summary"]


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [step(128, 1, 90.0)],
        [step(128, 1, 90.0), step(1024, 8, 66.0)],
        [step(128, 1, 90.0), step(1024, 1, 66.0, void=True)],
        [step(128, 1, 90.0), step(1024, 1, None, skipped="too long")],
        [step(128, 1, 90.0), step(1024, 1, None)],
    ],
)
def test_load_groups_single_valid_point_draws_nothing(steps: list) -> None:
    assert load_plots.load_groups(steps) == []


def test_load_groups_metric_without_values_has_no_panel() -> None:
    (group,) = load_plots.load_groups([step(128, 1, 9.0, ttft=None), step(1024, 1, 9.0, ttft={"p50": None})])
    assert [panel["title"] for panel in group["panels"]] == ["Throughput", "Inter-token latency"]


def test_panel_spread_is_drawn_only_if_percentiles_differ() -> None:
    (group,) = load_plots.load_groups([step(128, 1, 90.0), step(1024, 1, 66.0)])
    spread = {panel["title"]: panel["series"][0]["spread"] for panel in group["panels"]}
    assert spread["Throughput"] == spread["Inter-token latency"] == ""
    assert spread["Time to first token"].endswith("Z")


def test_panel_labels_and_ticks_are_inside_the_plot() -> None:
    expected = {"expected": 100.0, "warn": 80.0, "fail": 50.0, "source": "s"}
    steps = [step(2**power, 1, 12.0, expectation={**NOTHING, "output_throughput": expected}) for power in range(5, 13)]
    (group,) = load_plots.load_groups(steps)
    throughput = group["panels"][0]
    assert float(throughput["y_ticks"][-1].label) >= 100
    assert throughput["y_ticks"][-1].at == pytest.approx(100)
    assert all(0 <= label["x"] <= 100 and 0 <= label["y"] <= 100 for label in throughput["labels"])
    ticks = [tick.at for tick in throughput["x_ticks"]]
    assert all(after - before >= 10 for before, after in zip(ticks, ticks[1:], strict=False))


def test_panel_limits_cover_the_bad_side() -> None:
    slow = {"expected": 100.0, "warn": 80.0, "fail": 50.0, "source": "the table"}
    late = {"expected": 0.01, "warn": 0.0125, "fail": 0.02, "source": "roofline"}
    both = {"output_throughput": slow, "itl": late}
    (group,) = load_plots.load_groups([step(128, 1, 90.0, expectation=both), step(1024, 1, 90.0, expectation=both)])
    throughput, ttft, itl = group["panels"]
    assert throughput["limits"] is not None
    assert throughput["limits"]["source"] == "the table"
    assert throughput["limits"]["fail"].count(" 100") == 2, "the fail area extends down to zero"
    assert ttft["limits"] is None
    assert itl["limits"] is not None
    assert itl["limits"]["fail"].count(" 0") == 2, "the fail area extends to the top"


def test_panel_limit_of_one_point_is_a_short_segment() -> None:
    expected = {"expected": 100.0, "warn": 80.0, "fail": 50.0, "source": "s"}
    alone = step(128, 1, 90.0, expectation={**NOTHING, "output_throughput": expected})
    (group,) = load_plots.load_groups([alone, step(128, 8, 500.0)])
    assert group["panels"][0]["limits"]["expected"].startswith("M4 ")
    assert "L14 " in group["panels"][0]["limits"]["expected"]
