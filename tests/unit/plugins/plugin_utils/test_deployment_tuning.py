# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search over a known optimum, and everything around it that needs no library."""

from __future__ import annotations

import importlib.util
import itertools
import math
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils import deployment_tuning as tuning

SPACE: dict[str, list[t.Any]] = {
    "max_num_seqs": [8, 16, 32, 64, 128, 256],
    "max_num_batched_tokens": [1024, 2048, 4096, 8192, 16384],
    "gpu_memory_utilization": [0.85, 0.9, 0.95],
}
needs_optuna = pytest.mark.skipif(not importlib.util.find_spec("optuna"), reason="optuna is not installed")


def speed(settings: dict[str, t.Any]) -> float | None:
    """Tokens per second with one hill; the largest memory share fails with the most streams."""
    if settings["gpu_memory_utilization"] == 0.95 and settings["max_num_seqs"] == 256:
        return None
    streams = math.exp(-((math.log2(settings["max_num_seqs"] / 64)) ** 2) / 8)
    chunk = math.exp(-((math.log2(settings["max_num_batched_tokens"] / 4096)) ** 2) / 40)
    return 1000 * streams * chunk * (0.9 + settings["gpu_memory_utilization"] / 10)


def everything() -> list[dict[str, t.Any]]:
    return [dict(zip(SPACE, values, strict=True)) for values in itertools.product(*SPACE.values())]


def search(seed: int, trials: int = 12) -> list[dict[str, t.Any]]:
    ledger: list[dict[str, t.Any]] = []
    for _number in range(trials):
        settings = tuning.next_trial(ledger, SPACE, seed=seed)
        assert settings is not None
        ledger.append({"settings": settings, "value": speed(settings)})
    return ledger


@needs_optuna
@pytest.mark.parametrize("seed", range(5))
def test_twelve_trials_come_near_the_optimum(seed: int) -> None:
    found = tuning.best(search(seed))
    assert found is not None
    assert found["value"] >= 0.95 * max(value for value in map(speed, everything()) if value is not None)


@needs_optuna
def test_nothing_is_tried_twice_and_everything_is_tried_at_last() -> None:
    space = {"max_num_seqs": [8, 16], "max_num_batched_tokens": [1024, 2048]}
    ledger: list[dict[str, t.Any]] = []
    while (settings := tuning.next_trial(ledger, space)) is not None:
        assert settings not in [entry["settings"] for entry in ledger]
        ledger.append({"settings": settings, "value": None})
    assert len(ledger) == 4


@needs_optuna
def test_the_same_ledger_and_seed_give_the_same_answer() -> None:
    ledger = search(3, trials=6)
    assert tuning.next_trial(ledger, SPACE, seed=3) == tuning.next_trial(ledger, SPACE, seed=3)


@needs_optuna
def test_settings_from_outside_the_space_do_not_confuse_the_sampler() -> None:
    ledger = [{"settings": {"max_num_seqs": 7}, "value": 5.0}]
    assert tuning.next_trial(ledger, SPACE) is not None


def test_what_is_to_be_first_is_first() -> None:
    first = [{"max_num_seqs": 8}, {"max_num_seqs": 16}]
    assert tuning.next_trial([], {"max_num_seqs": [8, 16]}, first=first) == first[0]
    ledger = [{"settings": first[0], "value": 1.0}]
    assert tuning.next_trial(ledger, {"max_num_seqs": [8, 16]}, first=first) == first[1]


@pytest.mark.parametrize("space", [{}, {"max_num_seqs": []}, {"max_num_seqs": 8}])
def test_a_space_without_choice_is_refused(space: dict[str, t.Any]) -> None:
    with pytest.raises(tuning.InvalidSpace):
        tuning.next_trial([], space)


def test_a_controller_without_optuna_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(tuning.OptunaMissing, match="pip install optuna"):
        tuning.next_trial([], SPACE)


@pytest.mark.parametrize(("goal", "number"), [("throughput", 1), ("ttft", 2), ("itl", 2)])
def test_the_goal_says_what_is_best(goal: str, number: int) -> None:
    ledger = [{"settings": {"a": 0}, "value": None}, {"settings": {"a": 1}, "value": 9.0},
              {"settings": {"a": 2}, "value": 3.0}, {"settings": {"a": 3}, "value": 9.0}]  # fmt: skip
    found = tuning.best(ledger, goal)
    assert found is not None
    assert found["settings"] == {"a": number}


def test_where_all_failed_nothing_is_best() -> None:
    assert tuning.best([{"settings": {}, "value": None}]) is None
    assert tuning.best([]) is None


@pytest.mark.parametrize(
    ("result", "goal", "value"),
    [
        ({"output_throughput": 812.5}, "throughput", 812.5),
        ({"ttft": {"p95": 0.25}}, "ttft", 0.25),
        ({"itl": None}, "itl", None),
        ({"output_throughput": 812.5, "void": True}, "throughput", None),
        ({"output_throughput": 812.5, "requests": {"failed": 1}}, "throughput", None),
        ({"output_throughput": 812.5, "requests": {"failed": 0}}, "throughput", 812.5),
        ({"skipped": "too long"}, "throughput", None),
        ({}, "throughput", None),
    ],
)
def test_a_step_that_says_nothing_has_no_value(result: dict[str, t.Any], goal: str, value: float | None) -> None:
    assert tuning.value_of(result, goal) == value
