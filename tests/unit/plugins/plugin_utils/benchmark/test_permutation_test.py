# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.permutation_test import (
    RoundSeries,
    TooFewRepeats,
    compare_together,
)


def compare(before: list[float], now: list[float], *, lower_is_worse: bool = True) -> dict[str, t.Any]:
    """Run the permutation test on a single figure."""
    return compare_together({"": RoundSeries(before, now, lower_is_worse)})[""]


def _repeats(mean: float, seed: int, *, count: int = 5, noise: float = 0.02) -> list[float]:
    draw = random.Random(seed)
    return [draw.gauss(mean, noise * mean) for _unused in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_compare_flags_ten_per_cent_slower(seed: int) -> None:
    assert compare(_repeats(100, seed), _repeats(90, seed + 1000))["verdict"] == "slower"


@pytest.mark.parametrize("seed", range(20))
def test_compare_does_not_flag_equal_runs(seed: int) -> None:
    assert compare(_repeats(100, seed), _repeats(100, seed + 1000))["verdict"] != "slower"


def test_compare_does_not_flag_a_faster_run() -> None:
    result = compare([100.0, 101.0, 99.0], [130.0, 131.0, 129.0])
    assert result["verdict"] != "slower"
    assert result["change"] == pytest.approx(0.3)


def test_compare_flags_higher_latencies() -> None:
    assert compare([10.0, 10.1, 9.9, 10.0], [13.0, 13.1, 12.9, 13.0], lower_is_worse=False)["verdict"] == "slower"
    assert compare([10.0, 10.1, 9.9, 10.0], [7.0, 7.1, 6.9, 7.0], lower_is_worse=False)["verdict"] != "slower"


def test_compare_ignores_a_small_significant_change() -> None:
    result = compare([100.0, 100.1, 99.9, 100.0, 100.0], [98.0, 98.1, 97.9, 98.0, 98.0])
    assert result["p_value"] < 0.01
    assert result["verdict"] != "slower"


def test_compare_ignores_a_noisy_difference() -> None:
    assert compare([100.0, 60.0, 140.0], [90.0, 130.0, 50.0])["verdict"] != "slower"


def test_compare_p_value_of_complete_separation_is_exact() -> None:
    assert compare([10.0, 11.0, 12.0], [1.0, 2.0, 3.0])["p_value"] == pytest.approx(1 / 20)


def test_compare_samples_splits_of_many_repeats() -> None:
    assert compare(_repeats(100, 1, count=20), _repeats(90, 2, count=20))["verdict"] == "slower"


def test_compare_with_too_few_repeats_names_the_minimum() -> None:
    with pytest.raises(TooFewRepeats, match="2 stored and 5 new measurements.*needs at least 3"):
        compare([1.0, 2.0], [1.0] * 5)


def test_compare_with_a_stored_zero_is_an_error() -> None:
    with pytest.raises(ValueError, match="positive"):
        compare([0.0] * 3, [1.0] * 3)


def _family(seed: int, slower: set[int], *, figures: int = 24, count: int = 5) -> dict[int, RoundSeries]:
    """Return as many figures as a sweep has, with equal noise; those in ``slower`` are 10 % slower."""
    return {
        figure: RoundSeries(
            _repeats(100, 1000 * seed + figure, count=count),
            _repeats(90 if figure in slower else 100, 1000 * seed + 500 + figure, count=count),
        )
        for figure in range(figures)
    }


@pytest.mark.parametrize("seed", range(20))
def test_compare_together_flags_one_slow_figure_among_many(seed: int) -> None:
    comparisons = compare_together(_family(seed, {7}))
    assert {figure for figure, comparison in comparisons.items() if comparison["verdict"] == "slower"} == {7}


def test_compare_together_limits_false_alarms_of_many_figures() -> None:
    alone = together = 0
    for seed in range(100):
        family = {
            figure: RoundSeries(
                _repeats(100, 1000 * seed + figure, noise=0.1), _repeats(100, 1000 * seed + 500 + figure, noise=0.1)
            )
            for figure in range(1, 13)
        }
        alone += any(compare(series.before, series.now)["verdict"] == "slower" for series in family.values())
        together += any(comparison["verdict"] == "slower" for comparison in compare_together(family).values())
    # SIGNIFICANCE allows one in twenty; separate tests of each figure would be wrong in every third run.
    assert together <= 8
    assert alone > 30


def test_compare_together_ignores_changes_below_the_minimum_effect() -> None:
    series = RoundSeries([100.0, 100.1, 99.9], [92.0, 92.1, 91.9], minimum_effect=0.1)
    assert compare_together({"a": series})["a"]["verdict"] != "slower"


def test_compare_does_not_flag_constant_figures() -> None:
    assert compare([5.0] * 4, [5.0] * 4)["p_value"] == 1.0


def test_compare_together_requires_series_of_equal_length() -> None:
    with pytest.raises(ValueError, match="must have the same length"):
        compare_together({"a": RoundSeries([1.0] * 3, [1.0] * 3), "b": RoundSeries([1.0] * 4, [1.0] * 3)})
