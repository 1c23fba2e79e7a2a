# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.outliers import (
    MINIMUM_NODES,
    find_outliers,
)


def _fleet(size: int, noise: float, seed: int, *, mean: float = 100.0) -> dict[str, float]:
    draw = random.Random(seed)
    return {f"node-{index}": draw.gauss(mean, noise * mean) for index in range(size)}


def test_find_outliers_finds_one_slow_node_of_eight() -> None:
    for seed in range(50):
        fleet = _fleet(8, noise=0.005, seed=seed)
        fleet["node-3"] *= 0.88
        assert [outlier.node for outlier in find_outliers(fleet)] == ["node-3"]


def test_outlier_has_its_deviation() -> None:
    fleet = dict.fromkeys(("a", "b", "c", "d", "e"), 100.0) | {"f": 60.0}
    (outlier,) = find_outliers(fleet)
    assert (outlier.node, outlier.median) == ("f", 100.0)
    assert outlier.deviation == pytest.approx(-0.4)


@pytest.mark.parametrize("size", [5, 8, 20])
def test_find_outliers_of_equal_nodes_has_few_false_alarms(size: int) -> None:
    alarms = sum(len(find_outliers(_fleet(size, noise=0.03, seed=seed))) for seed in range(200))
    assert alarms / (200 * size) < 0.01


def test_find_outliers_finds_two_broken_nodes() -> None:
    fleet = _fleet(8, noise=0.01, seed=1) | {"node-0": 40.0, "node-1": 45.0}
    assert [outlier.node for outlier in find_outliers(fleet)] == ["node-0", "node-1"]


def test_find_outliers_ignores_small_differences() -> None:
    assert find_outliers({"a": 100.0, "b": 100.0, "c": 100.0, "d": 100.0, "e": 100.4}) == []


def test_find_outliers_of_too_few_nodes_is_empty() -> None:
    fleet = {f"node-{number}": 100.0 for number in range(MINIMUM_NODES - 1)} | {"slow": 10.0}
    assert [outlier.node for outlier in find_outliers(fleet)] == ["slow"]
    del fleet["node-0"]
    assert find_outliers(fleet) == []


def test_find_outliers_of_zeros_is_empty() -> None:
    assert find_outliers(dict.fromkeys("abcde", 0.0)) == []
