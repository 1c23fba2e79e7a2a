# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the benchmark results as text for the terminal."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark import document, store
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.text import results_text
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import ASCII, UNICODE, WIDTH, Style
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.tests.support.sweep_results import sweep_results

Json = dict[str, t.Any]


def show(
    directory: Path,
    results: Json,
    *,
    style: Style = UNICODE,
    targets: Json | None = None,
    files: t.Sequence[str] = ("r.json",),
) -> str:
    targets = {"ttft": 1.5, "itl": None} if targets is None else targets
    facts = NodeFacts.from_results("node-01", results)
    node = document.node_document(facts, targets, directory)
    if document.becomes_baseline(node, update=False):
        node["stored_baseline"] = str(
            store.store(directory, store.Identity.of(facts), node, "2026-11-23T17:00:00+00:00")
        )
    return results_text(document.results_document({"node-01": node}, {"options": {"targets": targets}}), files, style)


def expected_results(share: float) -> Json:
    """Return the results of a node at ``share`` of its expected speed, with exactly the rates that it expects."""
    results = sweep_results(noise=1e-9, concurrency=[1], prompt_tokens=[128])
    results["tensor_parallel"] |= {"tensor_parallel_size": 1, "model": {"num_layers": 40, "root": "a/b"}}
    results["logs"] = {"engine": {"model_memory": 9_000_000_000}}
    for device in results["gpu"]["ansible_facts"]["gpu"]["devices"]:
        device["memory_bandwidth"] = 360_000_000_000
    for step in results["load"]["results"]:
        token_time = (9e9 / (0.89 * 360e9) + 40 * 36e-6) / share
        step["tpot"] = step["itl"] = dict.fromkeys(("mean", "p50", "p95", "p99"), token_time)
        step["ttft"] = dict.fromkeys(("mean", "p50", "p95", "p99"), 1e-6)
        step["output_throughput"] = 128 / (1e-6 + 127 * token_time)
    return results


def row(text: str, *cells: str) -> str:
    """Return the only line of the table that begins with these cells."""
    (line,) = [line for line in text.splitlines() if line.split()[: len(cells)] == list(cells)]
    return line


@pytest.mark.parametrize("style", [UNICODE, ASCII])
@pytest.mark.parametrize("speed", [1.0, 0.8, 1.3])
def test_results_text_fits_the_width_in_any_encoding(tmp_path: Path, style: Style, speed: float) -> None:
    show(tmp_path, sweep_results())
    text = show(tmp_path, sweep_results(speed, 1), style=style)
    assert max(map(len, text.splitlines())) <= WIDTH
    if style.ascii_only:
        assert text.isascii()


def test_results_text_row_has_all_figures(tmp_path: Path) -> None:
    line = row(show(tmp_path, sweep_results(noise=1e-9, prompt_tokens=[128])), "8")
    # TTFT 50 ms + 76.8 ms, ITL 8 / 267 s; 21 responses end within a round, of which 10 meet the targets.
    assert line.split()[1:] == "266.7 - 0.0 % 127 165 30.0 39.0 48 %".split()


def test_results_text_marks_one_knee_per_prompt_size(tmp_path: Path) -> None:
    text = show(tmp_path, sweep_results())
    assert text.count("\n * ") == 2
    assert "Knee for 128-token prompts within TTFT 1500 ms (p95): 32 streams" in text
    assert "more streams were not tried" in " ".join(text.split())


def test_results_text_without_a_knee_gives_the_reason(tmp_path: Path) -> None:
    text = show(tmp_path, sweep_results(), targets={"ttft": 0.001})
    assert "\n * " not in text
    assert "No knee for 128-token prompts: no number of streams meets the targets" in text


def test_results_text_without_targets_mentions_it(tmp_path: Path) -> None:
    assert "(no latency target)" in show(tmp_path, sweep_results(), targets={"ttft": None})


def test_results_text_of_a_first_run_mentions_the_baseline(tmp_path: Path) -> None:
    text = " ".join(show(tmp_path, sweep_results()).split())
    assert "This run was stored as the baseline. Whether its speed is normal is not tested: the model's size" in text


@pytest.mark.parametrize(
    ("share", "shown", "status"),
    [
        (1.0, "This run was stored as the baseline. ───", "pass"),
        (0.7, "This run was stored as the baseline. A slow baseline hides later faults: one stream reaches", "warn"),
        (0.4, "This run was not stored as a baseline, because a check failed.", "fail"),
    ],
)
def test_results_text_of_a_first_run_compares_with_the_expected_speed(
    tmp_path: Path, share: float, shown: str, status: str
) -> None:
    text = " ".join(show(tmp_path, expected_results(share), targets={}).split())
    assert shown in text
    assert f"{100 * share:.0f} % of" in text
    assert ("ansible-playbook multigpu.vllm.validate --limit node-01" in text) is (status != "pass")


def test_results_text_has_the_speeds_of_the_guide(tmp_path: Path) -> None:
    text = " ".join(show(tmp_path, sweep_results(noise=1e-9)).split())
    assert "tok/s in the multi-GPU guide: 35-45 on 1, 60-80 on 2, 100-130 on 4 RTX 6000 Ada" in text
    assert "one stream on this node: 47.1" in text


def test_results_text_of_a_slowdown_has_figures_cause_and_fix(tmp_path: Path) -> None:
    show(tmp_path, sweep_results())
    text = show(tmp_path, sweep_results(0.8, 1))
    assert "Compared with the baseline of 2026-11-23 17:00 UTC" in text
    assert row(text, "all", "all").endswith("✗ slower")
    assert "✗ Regression: slower than the baseline of 2026-11-23" in text
    assert "Cause " in text
    assert "Fix " in text


def test_results_text_of_equal_runs_has_the_comparison(tmp_path: Path) -> None:
    show(tmp_path, sweep_results())
    text = show(tmp_path, sweep_results(1.0, 1))
    assert row(text, "all", "all").endswith("same")
    assert "not slower than the baseline of 2026-11-23" in text


def test_results_text_of_an_unmeasured_combination_has_the_reason(tmp_path: Path) -> None:
    results = sweep_results()
    for step in results["load"]["results"]:
        if step["concurrency"] == 32:
            step.update(skipped="too long for the model")
    assert show(tmp_path, results).count("     32  too long for the model\n") == 2


def test_results_text_names_combinations_not_compared(tmp_path: Path) -> None:
    show(tmp_path, sweep_results())
    text = " ".join(show(tmp_path, sweep_results(1.0, 1, concurrency=[1, 8, 64])).split())
    assert "2 combinations not compared, for example 128 tokens at 64 streams: not in the baseline" in text


def test_results_text_truncates_a_long_comparison(tmp_path: Path) -> None:
    sweep = {"concurrency": [1, 2, 4, 8, 16, 32, 64]}
    show(tmp_path, sweep_results(**sweep))
    assert "and 3 more rows in the results file" in show(tmp_path, sweep_results(1.0, 1, noise=1e-3, **sweep))


def test_results_text_of_a_missing_node_in_check_mode(tmp_path: Path) -> None:
    run = document.results_document({"missing": None}, {"options": {"targets": {}}})
    text = results_text(run, [], UNICODE)
    assert "nothing was measured" in text
    assert "no result" in text
    assert "Check mode: no load test ran" in text
