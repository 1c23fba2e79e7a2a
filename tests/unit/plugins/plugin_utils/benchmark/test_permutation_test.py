# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.permutation_test import (
    RoundSeries,
    TooFewRepeats,
    compare,
    compare_together,
)


def _repeats(mean: float, seed: int, *, count: int = 5, noise: float = 0.02) -> list[float]:
    draw = random.Random(seed)
    return [draw.gauss(mean, noise * mean) for _unused in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_ten_per_cent_slower_is_flagged(seed: int) -> None:
    assert compare(_repeats(100, seed), _repeats(90, seed + 1000)).regressed


@pytest.mark.parametrize("seed", range(20))
def test_equal_runs_are_not(seed: int) -> None:
    assert not compare(_repeats(100, seed), _repeats(100, seed + 1000)).regressed


def test_a_faster_run_is_no_regression() -> None:
    result = compare([100.0, 101.0, 99.0], [130.0, 131.0, 129.0])
    assert not result.regressed
    assert result.change == pytest.approx(0.3)


def test_for_latencies_higher_is_worse() -> None:
    assert compare([10.0, 10.1, 9.9, 10.0], [13.0, 13.1, 12.9, 13.0], lower_is_worse=False).regressed
    assert not compare([10.0, 10.1, 9.9, 10.0], [7.0, 7.1, 6.9, 7.0], lower_is_worse=False).regressed


def test_a_certain_but_small_change_is_not_reported() -> None:
    result = compare([100.0, 100.1, 99.9, 100.0, 100.0], [98.0, 98.1, 97.9, 98.0, 98.0])
    assert result.p_value < 0.01
    assert not result.regressed


def test_a_noisy_difference_is_not_reported() -> None:
    assert not compare([100.0, 60.0, 140.0], [90.0, 130.0, 50.0]).regressed


def test_exact_p_value_of_complete_separation() -> None:
    assert compare([10.0, 11.0, 12.0], [1.0, 2.0, 3.0]).p_value == pytest.approx(1 / 20)


def test_many_repeats_are_sampled_and_still_found() -> None:
    assert compare(_repeats(100, 1, count=20), _repeats(90, 2, count=20)).regressed


def test_too_few_repeats_say_what_is_needed() -> None:
    with pytest.raises(TooFewRepeats, match="2 stored and 5 new measurements.*needs 3"):
        compare([1.0, 2.0], [1.0] * 5)


def test_a_stored_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        compare([0.0] * 3, [1.0] * 3)


def _family(seed: int, slower: set[int], *, figures: int = 24, count: int = 5) -> dict[int, RoundSeries]:
    """As many figures as a sweep has, all with the same noise; those of ``slower`` lost a tenth."""
    return {
        figure: RoundSeries(
            _repeats(100, 1000 * seed + figure, count=count),
            _repeats(90 if figure in slower else 100, 1000 * seed + 500 + figure, count=count),
        )
        for figure in range(figures)
    }


@pytest.mark.parametrize("seed", range(20))
def test_one_slow_figure_is_found_among_many(seed: int) -> None:
    found = compare_together(_family(seed, {7}))
    assert {figure for figure, comparison in found.items() if comparison.regressed} == {7}


def test_many_equal_figures_do_not_add_up_to_a_false_alarm() -> None:
    alone = together = 0
    for seed in range(100):
        family = {
            figure: RoundSeries(
                _repeats(100, 1000 * seed + figure, noise=0.1), _repeats(100, 1000 * seed + 500 + figure, noise=0.1)
            )
            for figure in range(1, 13)
        }
        alone += any(compare(series.before, series.now).regressed for series in family.values())
        together += any(comparison.regressed for comparison in compare_together(family).values())
    # One in twenty is what SIGNIFICANCE allows; a test for each figure by itself is wrong in every third run.
    assert together <= 8
    assert alone > 30


def test_a_smaller_change_than_asked_for_is_not_reported() -> None:
    series = RoundSeries([100.0, 100.1, 99.9], [92.0, 92.1, 91.9], minimum_effect=0.1)
    assert not compare_together({"a": series})["a"].regressed


def test_what_never_varies_is_no_regression() -> None:
    assert compare([5.0] * 4, [5.0] * 4).p_value == 1.0


def test_all_series_hold_the_same_rounds() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        compare_together({"a": RoundSeries([1.0] * 3, [1.0] * 3), "b": RoundSeries([1.0] * 4, [1.0] * 3)})
    assert compare_together({}) == {}
