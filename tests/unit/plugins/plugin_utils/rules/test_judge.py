# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every promised check is answered, in order; verdicts follow from the answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import (
    AREAS,
    CHECKS,
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


def test_sections_follow_the_areas() -> None:
    assert list(judge.RULES) == list(AREAS)[: len(judge.RULES)]


@pytest.mark.parametrize("area", judge.RULES)
def test_promised_checks_exist_and_name_known_measurements(area: str) -> None:
    for check, needs in judge.RULES[area].CHECKS.items():
        assert check in CHECKS
        assert check.startswith(f"{area}.")
        assert needs
        assert set(needs) <= set(MEASUREMENTS)


@pytest.mark.parametrize("missing", [(), tuple(MEASUREMENTS), *[(key,) for key in MEASUREMENTS]], ids=str)
def test_every_promised_check_is_answered(node: Build, results: dict, missing: tuple[str, ...]) -> None:
    for key in missing:
        results[key] = {"failed": True, "msg": "boom"}
    for section in judge.judge(node(results)):
        assert {item.check for item in section.findings} >= set(judge.RULES[section.area].CHECKS)


def test_without_any_measurement_nothing_passes(node: Build) -> None:
    sections = judge.judge(node({}))
    assert {item.status for section in sections for item in section.findings} == {Status.NOT_TESTED}
    assert judge.node_status(sections) is Status.NOT_TESTED


def test_a_healthy_node_passes(node: Build, results: dict) -> None:
    sections = judge.judge(node(results))
    assert judge.wrong(sections) == []
    assert judge.node_status(sections) is Status.PASS


def test_the_reason_of_a_missing_measurement_reaches_its_checks(node: Build, results: dict) -> None:
    results["load"] = {"failed": True, "msg": "boom"}
    performance = next(item for item in judge.judge(node(results)) if item.area == "performance")
    assert {item.summary for item in performance.findings} == {"throughput_probe failed: boom"}
    assert performance.status is Status.NOT_TESTED


def test_areas_that_are_not_selected_do_not_count(node: Build, results: dict) -> None:
    results["load"] = {}
    sections = judge.judge(node(results), ["memory"])
    assert [section.area for section in sections if section.selected] == ["memory"]
    assert judge.node_status(sections) is Status.PASS
    assert all(item.summary == "not selected" for item in sections[0].findings)


@pytest.mark.parametrize(
    ("given", "settled"),
    [
        ([passed(CHECK, "a"), passed(CHECK, "b")], ["b"]),
        ([not_tested(CHECK, "a"), passed(CHECK, "b")], ["b"]),
        ([passed(CHECK, "a"), not_tested(CHECK, "b")], ["a"]),
        ([not_tested(CHECK, "a"), not_tested(CHECK, "b")], ["b"]),
        ([warned(CHECK, "a"), passed(CHECK, "b")], ["a"]),
        ([failed(CHECK, "a"), warned(CHECK, "b"), passed(CHECK, "c")], ["a", "b"]),
        ([failed(CHECK, "a"), failed(CHECK, "a")], ["a"]),
    ],
)
def test_what_is_wrong_outranks_good_answers(given: list, settled: list[str]) -> None:
    assert [item.summary for item in judge.settle(given)] == settled


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
def test_a_section_is_judged_by_what_was_tested(statuses: list[str], verdict: str) -> None:
    assert judge.verdict(Status(item) for item in statuses) is Status(verdict)


def test_failures_come_before_warnings(node: Build, results: dict) -> None:
    results["logs"]["findings"].append(warned("hardware.xid", "old", cause="c", remedy="r").as_dict())
    results["logs"]["transports"] = {"transport_net_socket": 1}
    assert [item.check for item in judge.wrong(judge.judge(node(results)))] == ["nccl.transport", "hardware.xid"]
