# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.baseline import TooFewRepeats, compare


def _repeats(mean: float, seed: int, *, count: int = 5, noise: float = 0.02) -> list[float]:
    draw = random.Random(seed)
    return [draw.gauss(mean, noise * mean) for _ in range(count)]


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
