# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the action benchmark_judge: from module results and stored baselines to the verdict on a node."""

from __future__ import annotations

import typing as t
from pathlib import Path
from unittest import mock

import pytest
from ansible_collections.multigpu.vllm.plugins.action import benchmark_report
from ansible_collections.multigpu.vllm.plugins.action.benchmark_judge import ActionModule
from ansible_collections.multigpu.vllm.tests.support.sweep_results import sweep_results

Json = dict[str, t.Any]
Bench = t.Callable[..., Json]


@pytest.fixture
def bench(run_action: t.Callable[..., Json], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return ``bench(results, **options)``, which judges and reports one node like ``benchmark.yml``."""
    monkeypatch.setattr("ansible.plugins.action.display", mock.Mock())
    common = {"baseline_dir": str(tmp_path / "baselines")}

    def run(results: Json, **options: t.Any) -> Json:
        judged = run_action(ActionModule, {"results": results, "targets": {"ttft": 2.0}, **common, **options})
        update = {"update_baseline": options.get("update_baseline", False)}
        arguments = {"nodes": {"node-01": judged}, "path": str(tmp_path / "r.json"), "options": {"targets": {}}}
        run_action(benchmark_report.ActionModule, arguments | common | update)
        return judged

    return run


def verdicts(judged: Json) -> set[str]:
    return {row["verdict"] for row in judged["node"]["comparison"]["rows"]}


@pytest.mark.parametrize("seed", range(20))
def test_benchmark_judge_flags_ten_per_cent_slower(bench: Bench, seed: int) -> None:
    assert not bench(sweep_results(1.0, seed))["exceeds"]
    judged = bench(sweep_results(0.9, seed + 1000))
    assert judged["exceeds"]
    assert judged["headline"].startswith("slower than the baseline of ")


@pytest.mark.parametrize("seed", range(20))
def test_benchmark_judge_does_not_flag_equal_runs(bench: Bench, seed: int) -> None:
    bench(sweep_results(1.0, seed))
    judged = bench(sweep_results(1.0, seed + 1000))
    assert not judged["exceeds"]
    assert verdicts(judged) == {"same"}


@pytest.mark.parametrize("seed", range(20))
def test_benchmark_judge_needs_three_rounds_for_ten_per_cent(bench: Bench, seed: int) -> None:
    bench(sweep_results(1.0, seed, repeats=3, noise=0.01))
    assert bench(sweep_results(0.9, seed + 1000, repeats=3, noise=0.01))["exceeds"]
    assert not bench(sweep_results(1.0, seed + 2000, repeats=3, noise=0.01))["exceeds"]


def test_benchmark_judge_keeps_the_baseline_until_updated(bench: Bench) -> None:
    bench(sweep_results(1.0, 1))
    assert bench(sweep_results(0.8, 2))["exceeds"]
    assert bench(sweep_results(0.8, 3))["exceeds"]
    accepted = bench(sweep_results(0.8, 4), update_baseline=True)
    assert (accepted["status"], accepted["exceeds"]) == ("warn", False)
    assert bench(sweep_results(0.8, 5))["status"] == "pass"


@pytest.mark.parametrize(("fail_on", "exceeds"), [("fail", False), ("warn", True), ("never", False)])
def test_benchmark_judge_fail_on_decides_about_warnings(bench: Bench, fail_on: str, exceeds: bool) -> None:
    bench(sweep_results(1.0, 1, version="0.30.0"))
    judged = bench(sweep_results(0.8, 2), fail_on=fail_on)
    assert (judged["status"], judged["exceeds"]) == ("warn", exceeds)


def test_benchmark_judge_without_measurements_fails(bench: Bench) -> None:
    judged = bench({})
    assert (judged["status"], judged["exceeds"]) == ("fail", True)
    assert judged["headline"] == "throughput_probe was not run"


def test_benchmark_judge_in_check_mode_is_not_tested(run_action: t.Callable[..., Json], tmp_path: Path) -> None:
    arguments = {"results": {"load": {"skipped": True}}, "baseline_dir": str(tmp_path)}
    assert run_action(ActionModule, arguments, check_mode=True)["status"] == "not_tested"
