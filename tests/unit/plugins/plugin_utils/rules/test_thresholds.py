# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test user-defined thresholds over the report entry of one host."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import thresholds

HOST: t.Final = {
    "status": "warn",
    "reachable": True,
    "facts": {"gpus": {"count": 4}, "output_throughput": 612.4},
    "memory": [{"index": 0, "used": 18, "total": 20}, {"index": 1, "used": 12, "total": 20}],
    "load": [
        {"name": "prompt-128", "output_throughput": 104.2, "skipped": None},
        {"name": "prompt-4096", "output_throughput": None, "skipped": "does not fit"},
    ],
}


@pytest.mark.parametrize(
    ("threshold", "status"),
    [
        ({"query": "facts.output_throughput", "min": 600}, "pass"),
        ({"query": "facts.output_throughput", "min": 612.4}, "pass"),
        ({"query": "facts.output_throughput", "min": 613}, "fail"),
        ({"query": "facts.output_throughput", "max": 612.4}, "pass"),
        ({"query": "facts.output_throughput", "max": 600}, "fail"),
        ({"query": "facts.output_throughput", "min": 600, "max": 620}, "pass"),
        ({"query": "facts.output_throughput", "min": 600, "max": 610}, "fail"),
        ({"query": "facts.gpus.count", "equals": 4}, "pass"),
        ({"query": "facts.gpus.count", "equals": 2}, "fail"),
        ({"query": "status", "equals": "pass"}, "fail"),
        ({"query": "reachable", "equals": True}, "pass"),
        ({"query": "memory[].used", "max": 19}, "pass"),
        ({"query": "memory[].used", "max": 15}, "fail"),
        ({"query": "memory[].index", "equals": [0, 1]}, "pass"),
        ({"query": "memory[].index", "equals": [0, 1, 2]}, "fail"),
        ({"query": "memory[].total", "equals": 20}, "pass"),
        ({"query": "max(memory[].used)", "max": 19}, "pass"),
        ({"query": "load[?name=='prompt-128'].output_throughput | [0]", "min": 100}, "pass"),
        # A value that was not measured neither passes nor fails.
        ({"query": "load[?name=='prompt-4096'].output_throughput | [0]", "min": 1}, "not_tested"),
        ({"query": "load[].skipped", "equals": "x"}, "fail"),
        ({"query": "facts.no_such_thing", "min": 1}, "not_tested"),
        ({"query": "load[?name=='none'].output_throughput", "min": 1}, "not_tested"),
        ({"query": "status", "min": 1}, "not_tested"),
        ({"query": "reachable", "min": 0}, "not_tested"),
        ({"query": "max(status)", "min": 1}, "not_tested"),
    ],
)
def test_evaluate_status(threshold: dict, status: str) -> None:
    (finding,) = thresholds.evaluate(HOST, [threshold])
    assert finding.check == "user.threshold"
    assert finding.status.value == status
    if status == "fail":
        assert finding.cause
        assert finding.remedy


def test_evaluate_summary_has_message_and_values() -> None:
    (finding,) = thresholds.evaluate(HOST, [{"query": "memory[].used", "max": 15, "message": "Room for a neighbour"}])
    assert finding.summary == "Room for a neighbour: 18 is not at most 15"
    assert finding.evidence["values"] == [18, 12]


@pytest.mark.parametrize(
    ("items", "hint"),
    [
        ("facts", "must be a list"),
        (["facts"], "entry 1 must be a mapping"),
        ([{"min": 1}], "query is missing"),
        ([{"query": "a"}], "set at least one of min, max, equals"),
        ([{"query": "a", "min": "fast"}], "min must be a number, got 'fast'"),
        ([{"query": "a", "max": True}], "max must be a number, got True"),
        ([{"query": "a", "minimum": 1}], "unknown key minimum"),
        ([{"query": "a[", "min": 1}], "invalid JMESPath query"),
        ([{"query": "load[?", "min": 1}], "invalid JMESPath query"),
        ([{"query": "open('/etc/passwd')", "min": 1}], "unknown JMESPath function open()"),
        ([{"query": "load[?evil(@)].name", "equals": 1}], "unknown JMESPath function evil()"),
        ([{"query": "max(memory, memory)", "min": 1}], "max() takes 1 arguments"),
        ([{"query": "a", "min": 1}, {"query": "}", "min": 1}], "entry 2"),
    ],
)
def test_problems_describe_an_invalid_threshold(items: t.Any, hint: str) -> None:
    (problem,) = thresholds.problems(items)
    assert hint in problem


def test_problems_lists_every_error() -> None:
    assert len(thresholds.problems([{"query": "a["}, {"query": "b"}, {"query": "c", "min": 1}])) == 2


@pytest.mark.parametrize(
    "query", ["not_null(a, b, c)", "join(', ', b)", "sort_by(load, &name)[0].name", "a.b[?c > `1`]"]
)
def test_problems_accepts_jmespath_functions(query: str) -> None:
    assert thresholds.problems([{"query": query, "equals": 1}]) == []


def test_problems_without_jmespath_names_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "JMESPATH_MISSING", ImportError("jmespath"))
    (problem,) = thresholds.problems([{"query": "a", "min": 1}])
    assert "Python library jmespath" in problem
    assert thresholds.problems([]) == []


def test_judgement_errors_without_limits_are_empty() -> None:
    assert thresholds.judgement_errors([]) == thresholds.judgement_errors([], {}) == []


@pytest.mark.parametrize(
    "limits", [{"default": {"warn": 70}}, {"RTX 4000 Ada": {"warn": 70, "fail": 40}}, {"L40S": {"fail": 0}}]
)
def test_judgement_errors_for_valid_speed_limits_are_empty(limits: dict[str, t.Any]) -> None:
    assert thresholds.judgement_errors([], limits) == []


@pytest.mark.parametrize(
    ("limits", "hint"),
    [
        ([80], "must map GPU models"),
        ({"L40S": 80}, "must have the form"),
        ({"L40S": {}}, "must have the form"),
        ({"L40S": {"warning": 80}}, "must have the form"),
        ({"L40S": {"warn": "80"}}, "per cent"),
        ({"L40S": {"warn": -1}}, "per cent"),
        ({"L40S": {"warn": 40, "fail": 50}}, "fail (50) must not be above warn (40)"),
    ],
)
def test_judgement_errors_for_invalid_speed_limits_name_the_error(limits: object, hint: str) -> None:
    (problem,) = thresholds.judgement_errors([], limits)
    assert hint in problem


def test_judgement_errors_combine_thresholds_and_speed_limits() -> None:
    assert len(thresholds.judgement_errors([{"query": "["}], {"L40S": 1})) == 2
