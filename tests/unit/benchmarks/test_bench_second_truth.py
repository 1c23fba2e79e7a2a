# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kolmogorov-Smirnov distance between values and a histogram."""

from __future__ import annotations

import bench_second_truth as second_truth
import pytest


@pytest.mark.parametrize(
    ("histogram", "expected"),
    [
        ([(0.0, 1.5, 1), (1.5, 2.5, 1), (2.5, 3.5, 1), (3.5, 4.5, 1)], 0.0),
        ([(10.0, 11.0, 4)], 1.0),
        ([(0.0, 0.5, 4)], 1.0),
        ([(0.0, 1.5, 3), (3.5, 4.5, 1)], 0.5),
    ],
)
def test_distance_is_the_largest_gap_between_distributions(
    histogram: list[tuple[float, float, int]], expected: float
) -> None:
    assert second_truth.distance([4.0, 1.0, 3.0, 2.0], histogram)["d"] == expected


def test_distance_critical_value_depends_on_both_sample_sizes() -> None:
    assert second_truth.distance([1.0] * 100, [(0.9, 1.1, 100)])["critical"] == pytest.approx(1.358 * 0.02**0.5)


def test_edge_matches_the_bins_of_the_module() -> None:
    assert second_truth.edge(70000) == 1
    assert second_truth.edge(70001) / second_truth.edge(70000) == pytest.approx(1.001, abs=1e-6)
