# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the order of a search's measurements within its time budget."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning.ledger import TuningRun, read_ledger, write_ledger

LOAD = {"prompt_tokens": 512, "output_tokens": 128, "concurrency": 32, "duration": 30.0}
OPTIONS = {
    "goal": "throughput",
    "space": {"max_num_seqs": [8, 16]},
    "initial_settings": [],
    "trials": 12,
    "time_budget": 7200.0,
    "seed": 0,
    "min_throughput": 0.5,
    "max_ttft": None,
    "load": LOAD,
    "repeats": 3,
    "start_timeout": 600.0,
    "served": {},
    "environment": {},
    "extra_args": "",
}
START = 1000.0


def run(**options: t.Any) -> TuningRun:
    started_at = options.pop("started_at", START)
    return TuningRun.from_options({**OPTIONS, **options}, started_at)


class Clock:
    """A search whose measurements last as long as the test chooses."""

    def __init__(self, tuning: TuningRun) -> None:
        self.tuning = tuning
        self.now = START
        self.ledger: list[dict[str, t.Any]] = []

    def measure(self, figure: float | None, seconds: float = 60.0) -> dict[str, t.Any]:
        """Choose and record the next measurement, and return it."""
        measurement = self.tuning.next_measurement(self.ledger, self.now)
        if measurement["server"] is not None:
            self.now += seconds
            results = [{"output_throughput": figure} for _step in measurement["steps"]]
            probe = {} if figure is None else {"results": results}
            self.ledger += self.tuning.entries_of(measurement, probe, "out of memory", self.now)
        return measurement


def test_order_is_original_trials_best_original() -> None:
    clock = Clock(run())
    order = [clock.measure(figure) for figure in (100.0, 130.0, 120.0, 131.0, 101.0, 1.0)]
    assert [(one["kind"], one["server"]) for one in order] == [
        ("original", "original"),
        ("trial", "trial"),
        ("trial", "trial"),
        ("confirmation", "trial"),
        ("confirmation", "original"),
        (None, None),
    ]
    assert [len(one["steps"]) for one in order] == [1, 1, 1, 3, 3, 0]
    assert [one["load_seconds"] for one in order[2:4]] == [105.0, 315.0]
    assert order[-1]["settings"] is None


def test_failed_measurements_are_not_repeated_in_the_same_run() -> None:
    clock = Clock(run())
    kinds = [clock.measure(figure)["kind"] for figure in (None, 130.0, None, None, None)]
    # The best settings failed in their final measurement, so the original settings are not measured again.
    assert kinds == ["original", "trial", "trial", "confirmation", None]


def test_original_that_failed_is_measured_by_the_next_run() -> None:
    clock = Clock(run())
    clock.measure(None)
    later = run(started_at=clock.now + 1)
    assert later.next_measurement(clock.ledger, clock.now + 1)["kind"] == "original"
    measured = [{**clock.ledger[0], "state": "measured", "figures": {"output_throughput": 1.0}}]
    assert later.next_measurement(measured, clock.now + 1)["kind"] == "trial"


def test_best_whose_original_is_missing_is_measured_again_in_the_next_run() -> None:
    clock = Clock(run())
    for figure in (100.0, 130.0, 120.0, 131.0):
        clock.measure(figure)
    clock.tuning = run(started_at=clock.now + 1)
    clock.now += 1
    assert [clock.measure(figure)["server"] for figure in (131.0, 100.0, 1.0)] == ["trial", "original", None]


def test_trials_end_when_the_budget_is_needed_for_the_final_measurements() -> None:
    # Six final loads of 35 s and two starts of 60 s are kept back, and a load of 30 s for the trial.
    needed = 6 * 35.0 + 2 * 60.0 + 30.0
    measured = [{"output_throughput": 100.0}]
    for budget, kind in ((needed + 0.1, "trial"), (needed, None)):
        tuning = run(time_budget=budget)
        original = tuning.entries_of(tuning.next_measurement([], START), {"results": measured}, None, START)
        assert tuning.next_measurement(original, START)["kind"] == kind


def test_longest_trial_of_this_run_decides_whether_another_one_fits() -> None:
    tuning = run(time_budget=1000.0)
    clock = Clock(tuning)
    clock.measure(100.0, seconds=0.0)
    clock.measure(130.0, seconds=300.0)
    # 700 s are left, of which 210 s and a start of 270 s are kept back: less than the longest trial of 300 s.
    assert clock.measure(131.0)["kind"] == "confirmation"
    assert run(time_budget=1000.0, started_at=clock.now + 1).next_measurement(clock.ledger, clock.now + 1)["kind"] == (
        "trial"
    )


def test_start_of_a_trial_is_limited_by_the_budget_and_the_final_start_is_not() -> None:
    tuning = run(time_budget=700.0)
    clock = Clock(tuning)
    clock.measure(100.0, seconds=0.0)
    assert clock.measure(130.0, seconds=400.0)["start_timeout"] == 700.0 - 210.0 - 60.0
    assert clock.measure(130.0)["start_timeout"] == 600.0


def test_each_step_of_a_probe_is_an_entry() -> None:
    tuning = run()
    measurement = {**tuning.next_measurement([], START), "kind": "confirmation"}
    probe = {"results": [{"output_throughput": 1.0}, {"void": True, "output_throughput": 2.0}], "server": {}}
    first, second = tuning.entries_of(measurement, probe, None, START + 70)
    assert (first["state"], first["reason"], first["seconds"], first["time"]) == ("measured", None, 70.0, START + 70)
    assert (second["state"], second["figures"]) == ("failed", None)
    assert "load client" in second["reason"]
    assert first["conditions"] == second["conditions"] == tuning.search.conditions


@pytest.mark.parametrize("goal", ["throughput", "ttft", "itl", "context"])
def test_default_space_depends_on_the_goal(goal: str) -> None:
    assert ("max_model_len" in run(space={}, goal=goal).search.space) is (goal == "context")


@pytest.mark.parametrize(
    ("served", "searched"),
    [
        ({}, True),
        ({"command": ["serve", "a/b", "--tensor-parallel-size", "4"], "env": {"NCCL_DEBUG": "INFO"}}, True),
        ({"command": ["serve", "a/b", "-pp", "2"], "env": {}}, True),
        ({"command": ["serve", "a/b", "--tensor-parallel-size", "1"], "env": {}}, False),
        ({"command": ["serve", "a/b", "-tp", "4"], "env": {"NCCL_P2P_DISABLE": "1"}}, False),
    ],
)
def test_default_space_has_nccl_level_only_if_it_makes_a_difference(served: dict[str, t.Any], searched: bool) -> None:
    assert ("NCCL_P2P_LEVEL" in run(space={}, goal="ttft", served=served).search.space) is searched
    assert "NCCL_P2P_LEVEL" in run(space={"NCCL_P2P_LEVEL": ["SYS"]}, served=served).search.space


def test_conditions_depend_on_server_and_load() -> None:
    conditions = {
        run(**options).search.conditions
        for options in ({}, {"served": {"image": "a"}}, {"load": {**LOAD, "concurrency": 8}}, {"trials": 3})
    }
    assert len(conditions) == 3


def test_ledger_file_keeps_its_entries(tmp_path: Path) -> None:
    path = tmp_path / "new/gpu-01.json"
    assert read_ledger(path) == []
    write_ledger(path, [{"kind": "trial", "settings": {"a": None}}])
    assert read_ledger(path) == [{"kind": "trial", "settings": {"a": None}}]


def test_entry_of_an_invalid_result_is_failed_with_the_value() -> None:
    tuning = run()
    probe = {"results": [{"output_throughput": float("nan")}]}
    (entry,) = tuning.entries_of(tuning.next_measurement([], START), probe, None, START)
    assert entry["state"] == "failed"
    assert entry["reason"].startswith("invalid result of throughput_probe: results[0].output_throughput must be")
