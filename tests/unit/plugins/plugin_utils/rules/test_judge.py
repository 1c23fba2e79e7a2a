# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that every check has a result, in order, and that the statuses follow from the results."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import (
    AREAS,
    Status,
    failed,
    not_tested,
    passed,
    warned,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import MEASUREMENTS, NodeFacts

Build = Callable[..., NodeFacts]
CHECK = "nccl.errors"


def test_rules_are_in_the_order_of_the_areas() -> None:
    assert list(judge.RULES) == list(AREAS)[: len(judge.RULES)]


@pytest.mark.parametrize("area", judge.RULES)
def test_rules_have_existing_checks_and_measurements(area: str) -> None:
    checks = judge.needs(area)
    assert checks
    for keys in checks.values():
        assert keys
        assert set(keys) <= set(MEASUREMENTS)


def test_tensor_parallel_returns_the_modules_findings(node: Build, results: dict) -> None:
    findings = judge.RULES["tensor_parallel"](node(results))
    # The results were recorded before vllm_tp_check had this check.
    recorded = [check for check in judge.needs("tensor_parallel") if check != "tensor_parallel.liveness"]
    assert [item.check for item in findings] == recorded


@pytest.mark.parametrize("missing", [(), tuple(MEASUREMENTS), *[(key,) for key in MEASUREMENTS]], ids=str)
def test_judge_answers_every_check(node: Build, results: dict, missing: tuple[str, ...]) -> None:
    for key in missing:
        results[key] = {"failed": True, "msg": "boom"}
    for section in judge.judge(node(results)):
        assert {item.check for item in section.findings} >= set(judge.needs(section.area))


def test_judge_without_measurements_is_not_tested(node: Build) -> None:
    sections = judge.judge(node({}))
    assert {item.status for section in sections for item in section.findings} == {Status.NOT_TESTED}
    assert judge.node_status(sections) is Status.NOT_TESTED


def test_judge_passes_a_healthy_node(node: Build, results: dict) -> None:
    sections = judge.judge(node(results))
    assert judge.wrong(sections) == []
    assert judge.node_status(sections) is Status.PASS


def test_judge_reports_the_reason_of_a_missing_measurement(node: Build, results: dict) -> None:
    results["load"] = {"failed": True, "msg": "boom"}
    performance = next(item for item in judge.judge(node(results)) if item.area == "performance")
    assert {item.summary for item in performance.findings} == {"throughput_probe failed: boom"}
    assert performance.status is Status.NOT_TESTED


def test_judge_ignores_areas_that_are_not_selected(node: Build, results: dict) -> None:
    results["load"] = {}
    sections = judge.judge(node(results), ["memory"])
    assert [section.area for section in sections if section.selected] == ["memory"]
    assert judge.node_status(sections) is Status.PASS
    assert all(item.summary == "not selected" for item in sections[0].findings)


@pytest.mark.parametrize(
    ("findings", "summaries"),
    [
        ([passed(CHECK, "a")], ["a"]),
        ([not_tested(CHECK, "a")], ["a"]),
        ([warned(CHECK, "a"), passed(CHECK, "b")], ["a"]),
        ([warned(CHECK, "a"), not_tested(CHECK, "b")], ["a"]),
        ([warned(CHECK, "a"), failed(CHECK, "b"), passed(CHECK, "c")], ["b", "a"]),
    ],
)
def test_judge_drops_good_answers_to_a_check_with_a_fault(
    node: Build, monkeypatch: pytest.MonkeyPatch, findings: list, summaries: list[str]
) -> None:
    monkeypatch.setitem(judge.RULES, "nccl", lambda _node: findings)
    section = next(item for item in judge.judge(node({})) if item.area == "nccl")
    assert [item.summary for item in section.findings if item.check == CHECK] == summaries


@pytest.mark.parametrize(
    ("idle_gpu", "oom", "status"),
    [
        (passed, passed, "pass"),
        (passed, not_tested, "pass"),
        (not_tested, passed, "not_tested"),
        (not_tested, failed, "fail"),
    ],
)
def test_section_passes_only_if_its_main_check_was_tested(idle_gpu, oom, status: str) -> None:
    section = judge.Section("memory", (idle_gpu("memory.idle_gpu", "a"), oom("memory.oom", "b")))
    assert section.status.value == status


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        (["pass", "not_tested"], "pass"),
        (["not_tested"], "not_tested"),
        ([], "not_tested"),
        (["pass", "warn"], "warn"),
        (["warn", "fail", "pass"], "fail"),
    ],
)
def test_verdict_ignores_checks_that_were_not_tested(statuses: list[str], verdict: str) -> None:
    assert judge.verdict(Status(item) for item in statuses) is Status(verdict)


def test_wrong_sorts_failures_before_warnings(node: Build, results: dict) -> None:
    results["logs"]["findings"].append(warned("hardware.xid", "old", cause="c", remedy="r").as_dict())
    results["logs"]["transports"] = {"transport_net_socket": 1}
    assert [item.check for item in judge.wrong(judge.judge(node(results)))] == ["nccl.transport", "hardware.xid"]


@pytest.mark.parametrize("missing", [(), *[(key,) for key in MEASUREMENTS]], ids=str)
@pytest.mark.parametrize("options", [{}, {"expected_throughput": 100.0}, {"expected_throughput": 1000.0}], ids=str)
def test_rules_return_one_good_answer_per_check(
    node: Build, results: dict, missing: tuple[str, ...], options: dict
) -> None:
    for key in missing:
        results[key] = {"failed": True, "msg": "boom"}
    for rules in judge.RULES.values():
        good = [item.check for item in rules(node(results, **options)) if not item.wrong]
        assert len(good) == len(set(good))
