# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the comparison of a benchmark run with its baseline."""

from __future__ import annotations

import dataclasses
import typing as t
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.analysis import cells
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.regression import compare_runs, judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.store import Baseline, Identity
from ansible_collections.multigpu.vllm.tests.support.sweep_results import sweep_results

IDENTITY: t.Final = Identity("node-01", "RTX 4000 Ada", "qwen", "0.32.0")
Json = dict[str, t.Any]


def run(speed: float = 1.0, seed: int = 1, **changes: t.Any) -> list[Json]:
    return cells(sweep_results(speed, seed, **changes)["load"]["results"])


def stored(measured: list[Json], **changes: t.Any) -> Baseline:
    usual = Baseline(Path("b.json"), "2026-11-23T17:00:00+00:00", IDENTITY, 4, measured)
    return dataclasses.replace(usual, **changes)


def verdict(
    comparison: Json | None, identity: Identity = IDENTITY, size: int | None = 4, *, accept: bool = False
) -> Finding:
    return judge(comparison, identity, size, accept=accept)


def test_regression_of_a_slower_run_fails_with_the_figures() -> None:
    before, now = run(), run(0.8, 2)
    finding = verdict(compare_runs(now, stored(before)))
    assert finding.status is Status.FAIL
    assert finding.measured == pytest.approx(0.8 * finding.expected, rel=0.03)
    assert finding.unit == "tokens/s"
    assert f"{finding.measured:.0f} instead of {finding.expected:.0f} tok/s (-" in finding.summary
    assert "over all combinations; most of all " in finding.summary
    assert finding.evidence["slower"]
    assert finding.cause
    assert "benchmark_update_baseline" in str(finding.remedy)


def test_regression_of_a_faster_run_passes() -> None:
    comparison = compare_runs(run(1.3, 2), stored(run()))
    assert {row["verdict"] for row in comparison["rows"] if row["metric"] == "output_throughput"} == {"faster"}
    assert verdict(comparison).status is Status.PASS


def test_compare_runs_rows_are_all_figures_and_one_over_all() -> None:
    rows = compare_runs(run(1.0, 2), stored(run()))["rows"]
    assert len(rows) == 1 + 3 * 6
    assert (rows[0]["metric"], rows[0]["concurrency"]) == ("output_throughput", None)
    assert all(row["rounds"] == [5, 5] for row in rows)


def slower_at(streams: int, factor: float, figure: str = "output_throughput") -> list[Json]:
    """Return a second run in which one figure is worse at one number of streams, for the larger prompts."""
    measured = run(1.0, 2)
    for cell in measured:
        if (cell["concurrency"], cell["prompt_tokens"]) != (streams, 1024):
            continue
        for entry in cell["rounds"]:
            if figure == "output_throughput":
                entry[figure] *= factor
            else:
                entry[figure] = {name: value / factor for name, value in entry[figure].items()}
    return measured


def test_regression_names_one_slow_combination() -> None:
    finding = verdict(compare_runs(slower_at(32, 0.86), stored(run())))
    assert finding.status is Status.FAIL
    assert "at 32 streams, 1024-token prompts" in finding.summary
    assert [(row["metric"], row["concurrency"]) for row in finding.evidence["slower"]] == [("output_throughput", 32)]


def test_regression_of_a_latency_alone_fails() -> None:
    finding = verdict(compare_runs(slower_at(8, 0.5, "ttft"), stored(run())))
    assert finding.status is Status.FAIL
    assert "ms TTFT p50 (+" in finding.summary
    assert finding.unit == "s"


def test_compare_runs_ignores_an_unnoticeable_latency_change() -> None:
    def tiny(seed: int, value: float) -> list[Json]:
        measured = run(1.0, seed)
        for cell in measured:
            for number, entry in enumerate(cell["rounds"]):
                entry["ttft"] = dict.fromkeys(("p50", "p95", "p99"), value + number * 1e-5)
        return measured

    # TTFT doubles, but only by 10 ms, which no user notices.
    rows = compare_runs(tiny(2, 0.02), stored(tiny(1, 0.01)))["rows"]
    assert {row["verdict"] for row in rows if row["metric"] == "ttft"} == {"same"}


def test_regression_of_a_stalled_server_fails() -> None:
    now = run(1.0, 2)
    for cell in now:
        for entry in cell["rounds"]:
            entry.update(output_throughput=0.0, ttft=None, itl=None)
    finding = verdict(compare_runs(now, stored(run())))
    assert finding.status is Status.FAIL
    assert "0.0 instead of" in finding.summary


def test_compare_runs_excludes_combinations_without_throughput() -> None:
    before = run()
    for entry in before[0]["rounds"]:
        entry["output_throughput"] = 0.0
    rows = compare_runs(run(1.0, 2), stored(before))["rows"]
    assert sum(row["metric"] == "output_throughput" for row in rows) == 6


def test_regression_of_an_accepted_change_warns() -> None:
    assert verdict(compare_runs(run(0.8, 2), stored(run())), accept=True).status is Status.WARN


def test_regression_with_another_vllm_version_warns() -> None:
    older = dataclasses.replace(IDENTITY, vllm_version="0.30.0")
    finding = verdict(compare_runs(run(0.8, 2), stored(run(), identity=older)))
    assert finding.status is Status.WARN
    assert "vLLM 0.30.0" in finding.summary
    assert finding.cause == "vLLM changed from 0.30.0 to 0.32.0 between the two runs."


def test_regression_with_another_parallel_size_names_the_cause() -> None:
    finding = verdict(compare_runs(run(0.8, 2), stored(run())), size=1)
    assert "tensor-parallel size changed from 4 to 1" in str(finding.cause)


def test_regression_without_a_baseline_is_not_tested() -> None:
    assert verdict(None).status is Status.NOT_TESTED


def test_regression_with_too_few_rounds_is_not_tested() -> None:
    finding = verdict(compare_runs(run(0.5, 2, repeats=2), stored(run())))
    assert finding.status is Status.NOT_TESTED
    assert "5 stored and 2 new measurements" in finding.summary


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"concurrency": [1, 64]}, "not in the baseline"),
        ({"duration": 5.0}, "rounds of 5 s and 10 s are not comparable"),
    ],
)
def test_compare_runs_leaves_out_different_measurements(change: dict, reason: str) -> None:
    comparison = compare_runs(run(1.0, 2, **change), stored(run()))
    assert reason in {entry["reason"] for entry in comparison["left_out"]}


def test_regression_without_common_combinations_is_not_tested() -> None:
    finding = verdict(compare_runs(run(0.5, 2, output_tokens=64), stored(run())))
    assert finding.status is Status.NOT_TESTED
    assert "not in the baseline" in finding.summary


def test_compare_runs_leaves_out_invalid_rounds() -> None:
    now = run(1.0, 2)
    now[0]["rounds"][2]["invalid"] = "the load client was too slow"
    comparison = compare_runs(now, stored(run()))
    assert [entry["reason"] for entry in comparison["left_out"]] == ["the load client was too slow"]
    assert len(comparison["rows"]) == 1 + 3 * 5


def test_compare_runs_excludes_unknown_latencies() -> None:
    now = run(1.0, 2)
    for cell in now:
        cell["rounds"][0]["itl"] = None
    assert {row["metric"] for row in compare_runs(now, stored(run()))["rows"]} == {"output_throughput", "ttft"}
