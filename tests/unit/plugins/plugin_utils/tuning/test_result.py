# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the gain of a tuning search and its uncertainty."""

from __future__ import annotations

import random
import typing as t

import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning import result as results
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning.search import Search

SEARCH = Search({"max_num_seqs": [8, 64], "NCCL_P2P_LEVEL": [None, "SYS"]})
BEST = {"max_num_seqs": 64, "NCCL_P2P_LEVEL": "SYS"}


def entries(kind: str, settings: dict[str, t.Any], *values: float | None) -> list[dict[str, t.Any]]:
    return [
        {"kind": kind, "settings": settings, "state": "failed" if value is None else "measured", "reason": None,
         "figures": None if value is None else {"output_throughput": value}, "conditions": ""}
        for value in values
    ]  # fmt: skip


def ledger(original: list[float], winner: list[float | None]) -> list[dict[str, t.Any]]:
    records = entries("original", {}, 100.0) + entries("trial", BEST, 130.0)
    return records + entries("confirmation", BEST, *winner) + entries("confirmation", {}, *original)


def test_outcome_of_a_clear_gain_is_proven() -> None:
    result = results.outcome(ledger([100.0, 101.0, 99.0], [120.0, 121.0, 119.0]), SEARCH)
    assert result["proven"]
    assert result["gain"] == pytest.approx(0.2)
    # Standard error of the difference of two means of three with variance 1, four degrees of freedom.
    assert result["uncertainty"] == pytest.approx(2.776 * (2 / 3) ** 0.5 / 100)
    assert "+20.0 % better, ± 2.3" in results.summary(ledger([100.0, 101.0, 99.0], [120.0, 121.0, 119.0]), SEARCH)


def test_outcome_within_the_noise_is_not_proven() -> None:
    noisy = ledger([100.0, 110.0, 90.0], [104.0, 96.0, 112.0])
    assert not results.outcome(noisy, SEARCH)["proven"]
    assert "may be noise" in results.summary(noisy, SEARCH)
    assert yaml.safe_load(results.variables_file(noisy, SEARCH, {}, "gpu-01", "8 streams")) == {}


def test_outcome_of_noise_alone_is_rarely_proven() -> None:
    chance = random.Random(1)
    figures = [[chance.gauss(100, 3) for _number in range(6)] for _run in range(400)]
    claimed = [run for run in figures if results.outcome(ledger(run[:3], [*run[3:]]), SEARCH)["proven"]]
    assert len(claimed) / len(figures) < 0.04


@pytest.mark.parametrize(("more", "gain"), [(True, -0.5), (False, 0.5)])
def test_difference_of_latencies_is_positive_if_they_fall(more: bool, gain: float) -> None:
    assert results.difference([2.0, 2.0], [1.0, 1.0], more) == (gain, 0.0)


def test_outcome_of_a_single_figure_is_not_proven() -> None:
    assert results.difference([1.0], [2.0, 2.0], True) is None
    assert not results.outcome(ledger([100.0], [130.0]), SEARCH)["proven"]
    assert "needs two final measurements" in results.summary(ledger([100.0], [130.0]), SEARCH)


def test_outcome_of_a_winner_that_failed_once_is_not_proven() -> None:
    assert not results.outcome(ledger([100.0, 100.0], [130.0, 131.0, None]), SEARCH)["proven"]


def test_best_that_failed_its_final_measurement_needs_no_other() -> None:
    failed = entries("original", {}, 100.0) + entries("trial", BEST, 130.0) + entries("confirmation", BEST, None)
    result = results.outcome(failed, SEARCH)
    assert (result["confirm"], result["failed_again"], result["proven"]) == (False, True, False)
    assert "failed or was too slow in its final measurement" in results.summary(failed, SEARCH)
    assert yaml.safe_load(results.variables_file(failed, SEARCH, {}, "gpu-01", "8 streams")) == {}


def test_outcome_for_latency_needs_a_measured_original() -> None:
    records = ledger([1.0, 1.0], [0.5, 0.5])
    for entry in records:
        entry["figures"] = {"output_throughput": 1.0, "ttft_p95": entry["figures"]["output_throughput"]}
    search = Search(SEARCH.space, "ttft")
    assert results.outcome(records, search)["floor_known"]
    unknown = entries("original", {}, None) + records[1:]
    assert results.outcome(unknown, search)["gain"] == pytest.approx(0.5)
    assert not results.outcome(unknown, search)["proven"]
    assert "unknown what is too slow" in results.summary(unknown, search)


def test_final_measurements_are_due_until_both_are_made() -> None:
    assert results.outcome(ledger([], []), SEARCH)["confirm"]
    assert results.outcome(ledger([], [120.0]), SEARCH)["confirm"]
    assert not results.outcome(ledger([100.0], [120.0]), SEARCH)["confirm"]


def test_final_measurements_are_not_due_without_a_better_trial() -> None:
    none = entries("original", {}, 200.0) + entries("trial", BEST, 130.0, None)
    result = results.outcome(none, SEARCH)
    assert (result["best"], result["confirm"], result["tried"], result["failed"]) == (None, False, 2, 1)
    assert "none was better" in results.summary(none, SEARCH)


def test_variables_file_has_the_whole_environment() -> None:
    text = results.variables_file(ledger([100.0, 101.0], [120.0, 121.0]), SEARCH, {"A": "1"}, "gpu-01", "8 streams")
    assert yaml.safe_load(text) == {
        "vllm_max_num_seqs": 64,
        "vllm_environment": {"A": "1", "NCCL_P2P_LEVEL": "SYS"},
    }
    assert "# gpu-01: 1 settings tried" in text
    assert "# Load: 8 streams." in text


class Tagged(int):
    """A number as Ansible's templates return it."""


def test_variables_file_accepts_tagged_numbers() -> None:
    records = entries("original", {}, 100.0) + entries("trial", {"max_num_seqs": Tagged(64)}, 130.0)
    records += entries("confirmation", {"max_num_seqs": 64}, 120.0, 121.0) + entries("confirmation", {}, 100.0, 101.0)
    assert yaml.safe_load(results.variables_file(records, SEARCH, {}, "a", "b")) == {"vllm_max_num_seqs": 64}
