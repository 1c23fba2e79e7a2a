# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of one node from the action plugin."""

from __future__ import annotations

import typing as t
from pathlib import Path
from unittest import mock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.action import diagnose
from ansible_collections.multigpu.vllm.plugins.action.diagnose import ActionModule, selected_areas
from ansible_collections.multigpu.vllm.plugins.module_utils.output.run import without_test
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.store import Identity
from ansible_collections.multigpu.vllm.plugins.plugin_utils.history import answer_store
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import RULES
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.recorded_answers import RecordedAnswers
from ansible_collections.multigpu.vllm.tests.support.answers import recording

GPU_RESULT: t.Final = {
    "ansible_facts": {"gpu": {"count": 3, "devices": []}},
    "findings": [
        {
            "check": "hardware.gpu_count",
            "status": "fail",
            "summary": "3 of 4 GPUs",
            "expected": 4,
            "measured": 3,
            "cause": "c",
            "remedy": "r",
        }
    ],
}


@pytest.mark.parametrize(
    ("tags", "skipped", "areas"),
    [
        (["all"], [], list(RULES)),
        (["always"], [], list(RULES)),
        (["memory"], [], ["memory"]),
        (["memory", "hardware", "other"], [], ["hardware", "memory"]),
        (["all"], ["performance", "utilisation"], [a for a in RULES if a not in ("performance", "utilisation")]),
        (["memory", "nccl"], ["nccl"], ["memory"]),
        (["nccl_bandwidth"], [], ["nccl"]),
        (["output_check"], [], ["output"]),
    ],
)
def test_selected_areas_by_tags(tags: list[str], skipped: list[str], areas: list[str]) -> None:
    assert selected_areas(tags, skipped) == areas


def test_diagnose_of_a_failing_node(run_action: t.Callable[..., dict]) -> None:
    result = run_action(ActionModule, {"results": {"gpu": GPU_RESULT}, "tags": ["hardware"]})
    assert result["status"] == "fail"
    assert result["exceeds"] is True
    assert result["headline"] == "3 of 4 GPUs"
    assert result["failed_checks"] == ["hardware.gpu_count"]
    assert result["changed"] is False
    assert [section["selected"] for section in result["node"]["sections"]] == [True, *[False] * 6]


@pytest.mark.parametrize(("fail_on", "exceeds"), [("fail", True), ("warn", True), ("never", False)])
def test_diagnose_exceeds_by_fail_on(run_action: t.Callable[..., dict], fail_on: str, exceeds: bool) -> None:
    assert run_action(ActionModule, {"results": {"gpu": GPU_RESULT}, "fail_on": fail_on})["exceeds"] is exceeds


def test_diagnose_without_measurements_is_not_tested(run_action: t.Callable[..., dict]) -> None:
    result = run_action(ActionModule, {"results": {}})
    assert result["status"] == "not_tested"
    assert result["headline"].startswith("not tested: GPU hardware")


def test_diagnose_in_check_mode_has_its_reason(run_action: t.Callable[..., dict]) -> None:
    result = run_action(ActionModule, {"results": {"load": {"skipped": True}}}, check_mode=True)
    performance = result["node"]["sections"][4]
    assert {finding["summary"] for finding in performance["findings"]} == {"check mode runs no load test"}


@pytest.mark.parametrize(
    "args",
    [{}, {"results": {"other": {}}}, {"results": {}, "fail_on": "sometimes"}, {"results": {}, "hourly_price": 0}],
)
def test_diagnose_rejects_invalid_options(run_action: t.Callable[..., dict], args: dict) -> None:
    with pytest.raises(AnsibleActionFail):
        run_action(ActionModule, args)


def test_diagnose_ignores_a_damaged_baseline(run_action: t.Callable[..., dict], tmp_path: Path) -> None:
    load = {"server": {"model": "m", "version": "0.32.0"}, "results": []}
    node = NodeFacts.from_results("node-01", {"load": load})
    damaged = tmp_path / Identity.of(node).file_name
    damaged.write_text("{")
    arguments = {"results": {"gpu": GPU_RESULT, "load": load}, "baseline_dir": str(tmp_path), "tags": ["hardware"]}
    assert run_action(ActionModule, arguments, host=node.name)["headline"] == "3 of 4 GPUs"


def test_diagnose_of_an_invalid_result_fails_and_names_the_value(run_action: t.Callable[..., dict]) -> None:
    results = {"gpu": GPU_RESULT, "logs": {"engine": {"boots": float("nan")}}}
    result = run_action(ActionModule, {"results": results})
    reason = "invalid result of nccl_log_scan: engine.boots must be an integer from 0 to 9223372036854775807, got nan"
    assert (result["status"], result["headline"]) == ("fail", reason)
    assert result["node"]["errors"] == [{"module": "nccl_log_scan", "reason": reason}]
    assert "hardware.gpu_count" in result["failed_checks"]


@pytest.mark.parametrize("broken", [("load",), ("gpu", "load")])
def test_diagnose_of_a_result_that_the_checks_cannot_read_fails(
    run_action: t.Callable[..., dict], monkeypatch: pytest.MonkeyPatch, broken: tuple[str, ...]
) -> None:
    def judge(node: NodeFacts, areas: t.Collection[str]) -> list:
        if any(node.measurement(key).taken for key in broken):
            raise ZeroDivisionError("division by zero")
        return original(node, areas)

    original = diagnose.judge.judge
    monkeypatch.setattr(diagnose.judge, "judge", judge)
    result = run_action(ActionModule, {"results": {"gpu": GPU_RESULT, "load": {"results": []}}})
    assert result["status"] == "fail"
    assert [error["module"] for error in result["node"]["errors"]] == [
        {"gpu": "gpu_facts", "load": "throughput_probe"}[key] for key in broken
    ]
    assert "the checks cannot read it (ZeroDivisionError: division by zero)" in result["headline"]


def test_diagnose_compares_the_answers_with_a_stored_reference(
    run_action: t.Callable[..., dict], tmp_path: Path
) -> None:
    reference = RecordedAnswers.of("node-1", recording("tp1"), None)
    path = answer_store.store(tmp_path, reference, "2026-11-30T12:00:00+00:00")
    measured = {**without_test("no reference"), "recording": recording("zero")}
    options = {"results": {"output": measured}, "tags": ["output"]}
    for chosen in ({"output_dir": str(tmp_path)}, {"output_reference": str(path)}):
        result = run_action(ActionModule, {**options, **chosen})
        (section,) = [item for item in result["node"]["sections"] if item["area"] == "output"]
        statuses = {item["check"]: item["status"] for item in section["findings"]}
        # The arguments of the server are unknown, so it may be of another quantisation.
        assert statuses["output.reference"] == "warn"
    assert result["answers"]["identity"] == reference.identity
    assert result["answers"]["trusted"] is False
    assert run_action(ActionModule, options)["status"] == "not_tested"


def test_diagnose_unreadable_reference_is_a_warning(
    run_action: t.Callable[..., dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(diagnose, "Display", lambda: mock.Mock(warning=warnings.append))
    measured = {**without_test("no reference"), "recording": recording("tp1")}
    options = {"results": {"output": measured}, "output_reference": str(tmp_path / "missing.json")}
    assert run_action(ActionModule, options)["status"] == "not_tested"
    assert "missing.json cannot be read" in warnings[0]
