# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the result document of a benchmark, and which run becomes a baseline."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts, failed
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark import document, store
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.tests.support.sweep_results import sweep_results

Json = dict[str, t.Any]
TARGETS: t.Final = {"ttft": 2.0, "itl": 0.1}


def facts(results: Json, *, check_mode: bool = False) -> NodeFacts:
    return NodeFacts.from_results("node-01", results, check_mode=check_mode)


def entry(directory: Path, results: Json, *, update: bool = False) -> Json:
    return document.node_document(facts(results), TARGETS, directory, update=update)


def keep(directory: Path, results: Json) -> None:
    node = entry(directory, results)
    store.store(directory, store.Identity.of(facts(results)), node, "2026-11-23T17:00:00+00:00")


def test_node_document_of_a_first_run_has_identity_cells_and_knees(tmp_path: Path) -> None:
    node = entry(tmp_path, sweep_results())
    assert (node["status"], node["gpus"], node["tensor_parallel_size"]) == ("pass", 4, 4)
    assert (node["gpu_model"], node["vllm_version"]) == ("NVIDIA RTX 4000 Ada Generation", "0.32.0")
    assert len(node["cells"]) == 6
    assert [knee["prompt_tokens"] for knee in node["knees"]] == [128, 1024]
    assert node["comparison"] is None
    assert "there is no baseline" in node["headline"]


def test_node_document_headline_of_a_slower_run(tmp_path: Path) -> None:
    keep(tmp_path, sweep_results())
    node = entry(tmp_path, sweep_results(0.8, 1))
    assert node["status"] == "fail"
    assert node["headline"].startswith("slower than the baseline of 2026-11-23: ")


def test_node_document_ignores_slow_responses_under_load(tmp_path: Path) -> None:
    results = sweep_results()
    results["load"]["findings"] += as_dicts([failed("performance.ttft", "too slow", cause="c", remedy="r")])
    assert entry(tmp_path, results)["status"] == "pass"


def test_node_document_with_failed_requests_fails(tmp_path: Path) -> None:
    results = sweep_results()
    results["load"]["findings"] = as_dicts(
        [failed("performance.throughput", "5 requests failed", cause="c", remedy="r")]
    )
    node = entry(tmp_path, results)
    assert (node["status"], node["headline"]) == ("fail", "5 requests failed")
    assert not document.becomes_baseline(node, update=True)


@pytest.mark.parametrize(
    ("load", "headline"),
    [
        ({}, "throughput_probe was not run"),
        ({"failed": True, "msg": "boom"}, "throughput_probe failed: boom"),
        ({"unreachable": True, "msg": "timed out"}, "connection lost: timed out"),
    ],
)
def test_node_document_without_load_fails_with_the_reason(tmp_path: Path, load: Json, headline: str) -> None:
    node = entry(tmp_path, {**sweep_results(), "load": load})
    assert (node["status"], node["headline"], node["cells"]) == ("fail", headline, [])
    assert not document.becomes_baseline(node, update=True)


def test_node_document_in_check_mode_is_not_tested(tmp_path: Path) -> None:
    skipped = {"load": {"skipped": True, "msg": "no load was generated"}}
    node = document.node_document(facts(skipped, check_mode=True), TARGETS, tmp_path)
    assert node["status"] == "not_tested"


def test_node_document_with_an_invalid_baseline_fails(tmp_path: Path) -> None:
    (tmp_path / store.Identity.of(facts(sweep_results())).file_name).write_text("{", encoding="utf-8")
    node = entry(tmp_path, sweep_results())
    assert node["status"] == "fail"
    assert "cannot be used" in node["headline"]
    assert not document.becomes_baseline(node, update=False)
    node = entry(tmp_path, sweep_results(), update=True)
    assert node["status"] == "pass"
    assert document.becomes_baseline(node, update=True)


def test_node_document_without_gpu_facts_passes(tmp_path: Path) -> None:
    node = entry(tmp_path, {**sweep_results(), "gpu": {}})
    assert (node["gpu_model"], node["gpus"], node["status"]) == (None, None, "pass")
    assert document.becomes_baseline(node, update=False)


def test_becomes_baseline_only_the_first_run(tmp_path: Path) -> None:
    assert document.becomes_baseline(entry(tmp_path, sweep_results()), update=False)
    keep(tmp_path, sweep_results())
    for speed in (0.8, 1.0, 1.3):
        again = entry(tmp_path, sweep_results(speed, 1))
        assert not document.becomes_baseline(again, update=False)
        assert document.becomes_baseline(again, update=True)


def test_becomes_baseline_a_new_vllm_version(tmp_path: Path) -> None:
    keep(tmp_path, sweep_results(version="0.30.0"))
    node = entry(tmp_path, sweep_results(0.8, 1))
    assert node["status"] == "warn"
    assert document.becomes_baseline(node, update=False)


def test_becomes_baseline_is_false_with_too_few_rounds(tmp_path: Path) -> None:
    assert not document.becomes_baseline(entry(tmp_path, sweep_results(repeats=2)), update=True)


def test_results_document_counts_nodes_and_fails_missing_ones(tmp_path: Path) -> None:
    run = document.results_document({"a": entry(tmp_path, sweep_results()), "b": None}, {"options": {}})
    assert run["summary"] == {"status": "fail", "nodes": {"pass": 1, "not_tested": 0, "warn": 0, "fail": 1}}
    assert set(run["nodes"]["a"]) == set(run["nodes"]["b"])
    assert "no result" in run["nodes"]["b"]["headline"]
