# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gain is told with its uncertainty, and none that may be noise."""

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
    found = entries("original", {}, 100.0) + entries("trial", BEST, 130.0)
    return found + entries("confirmation", BEST, *winner) + entries("confirmation", {}, *original)


def test_a_clear_gain_is_proven_and_told() -> None:
    found = results.outcome(ledger([100.0, 101.0, 99.0], [120.0, 121.0, 119.0]), SEARCH)
    assert found["proven"]
    assert found["gain"] == pytest.approx(0.2)
    # Standard error of the difference of two means of three with variance 1, four degrees of freedom.
    assert found["uncertainty"] == pytest.approx(2.776 * (2 / 3) ** 0.5 / 100)
    assert "+20.0 % better, ± 2.3" in results.summary(ledger([100.0, 101.0, 99.0], [120.0, 121.0, 119.0]), SEARCH)


def test_a_gain_within_the_noise_is_not_claimed() -> None:
    noisy = ledger([100.0, 110.0, 90.0], [104.0, 96.0, 112.0])
    assert not results.outcome(noisy, SEARCH)["proven"]
    assert "may be noise" in results.summary(noisy, SEARCH)
    assert yaml.safe_load(results.variables_file(noisy, SEARCH, {}, "gpu-01", "8 streams")) == {}


def test_noise_alone_is_seldom_called_a_gain() -> None:
    chance = random.Random(1)
    figures = [[chance.gauss(100, 3) for _number in range(6)] for _run in range(400)]
    claimed = [each for each in figures if results.outcome(ledger(each[:3], [*each[3:]]), SEARCH)["proven"]]
    assert len(claimed) / len(figures) < 0.04


@pytest.mark.parametrize(("more", "gain"), [(True, -0.5), (False, 0.5)])
def test_less_is_better_for_latency(more: bool, gain: float) -> None:
    assert results.difference([2.0, 2.0], [1.0, 1.0], more) == (gain, 0.0)


def test_one_figure_proves_nothing() -> None:
    assert results.difference([1.0], [2.0, 2.0], True) is None
    assert not results.outcome(ledger([100.0], [130.0]), SEARCH)["proven"]
    assert "no gain is proven" in results.summary(ledger([100.0], [130.0]), SEARCH)


def test_a_winner_that_fails_once_is_not_to_be_committed() -> None:
    assert not results.outcome(ledger([100.0, 100.0], [130.0, 131.0, None]), SEARCH)["proven"]


def test_a_best_that_failed_again_is_not_measured_a_third_time() -> None:
    failed = entries("original", {}, 100.0) + entries("trial", BEST, 130.0) + entries("confirmation", BEST, None)
    found = results.outcome(failed, SEARCH)
    assert (found["confirm"], found["failed_again"], found["proven"]) == (False, True, False)
    assert "failed or was too slow when it was measured again" in results.summary(failed, SEARCH)
    assert yaml.safe_load(results.variables_file(failed, SEARCH, {}, "gpu-01", "8 streams")) == {}


def test_without_a_measured_original_nothing_is_proven_for_latency() -> None:
    found = ledger([1.0, 1.0], [0.5, 0.5])
    for each in found:
        each["figures"] = {"output_throughput": 1.0, "ttft_p95": each["figures"]["output_throughput"]}
    search = Search(SEARCH.space, "ttft")
    assert results.outcome(found, search)["knows_floor"]
    unknown = entries("original", {}, None) + found[1:]
    assert results.outcome(unknown, search)["gain"] == pytest.approx(0.5)
    assert not results.outcome(unknown, search)["proven"]
    assert "not known what is too slow" in results.summary(unknown, search)


def test_the_best_is_measured_again_unless_it_was() -> None:
    assert results.outcome(ledger([], []), SEARCH)["confirm"]
    assert results.outcome(ledger([], [120.0]), SEARCH)["confirm"]
    assert not results.outcome(ledger([100.0], [120.0]), SEARCH)["confirm"]


def test_where_nothing_is_better_nothing_is_measured_again() -> None:
    none = entries("original", {}, 200.0) + entries("trial", BEST, 130.0, None)
    found = results.outcome(none, SEARCH)
    assert (found["best"], found["confirm"], found["tried"], found["failed"]) == (None, False, 2, 1)
    assert "none was better" in results.summary(none, SEARCH)


def test_the_file_holds_the_role_s_variables_and_the_whole_environment() -> None:
    text = results.variables_file(ledger([100.0, 101.0], [120.0, 121.0]), SEARCH, {"A": "1"}, "gpu-01", "8 streams")
    assert yaml.safe_load(text) == {
        "vllm_max_num_seqs": 64,
        "vllm_environment": {"A": "1", "NCCL_P2P_LEVEL": "SYS"},
    }
    assert "# gpu-01: 1 settings tried" in text
    assert "# Load: 8 streams." in text


class Tagged(int):
    """As Ansible's templates return numbers."""


def test_numbers_of_ansible_s_own_kind_become_plain_ones() -> None:
    found = entries("original", {}, 100.0) + entries("trial", {"max_num_seqs": Tagged(64)}, 130.0)
    found += entries("confirmation", {"max_num_seqs": 64}, 120.0, 121.0) + entries("confirmation", {}, 100.0, 101.0)
    assert yaml.safe_load(results.variables_file(found, SEARCH, {}, "a", "b")) == {"vllm_max_num_seqs": 64}
