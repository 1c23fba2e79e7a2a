# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test axes and SVG paths."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import plot


@pytest.mark.parametrize(
    ("top", "count", "step"),
    [(100, 5, 20), (100, 4, 50), (192, 4, 50), (0.9, 4, 0.5), (8.0, 4, 2), (1000, 4, 500), (12.9, 6, 5), (60, 6, 10)],
)
def test_nice_step_is_round_and_limits_the_count(top: float, count: int, step: float) -> None:
    assert plot.nice_step(top, count) == pytest.approx(step)
    assert top / step <= count


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (12.0, "12"), (33.333, "33.3"), (100, "100"), (0.04, "0")])
def test_number_has_at_most_one_decimal(value: float, text: str) -> None:
    assert plot.number(value) == text


def test_path_and_area_flip_the_y_axis() -> None:
    assert plot.path([(0, 0), (50, 100)]) == "M0 100L50 0"
    assert plot.area([(0, 10), (9, 10)], [(0, 0), (9, 0)]) == "M0 90L9 90L9 100L0 100Z"


def test_linear_axis_holds_the_largest_value_between_round_ticks() -> None:
    end, ticks = plot.linear_axis(173.0)
    assert end == 200
    assert [(tick.at, tick.label) for tick in ticks] == [(0, "0"), (25, "50"), (50, "100"), (75, "150"), (100, "200")]
