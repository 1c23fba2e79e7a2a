# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of the user's own over one host's entry of the report."""

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
        # What was not measured is no pass, and no failure either.
        ({"query": "load[?name=='prompt-4096'].output_throughput | [0]", "min": 1}, "not_tested"),
        ({"query": "load[].skipped", "equals": "x"}, "fail"),
        ({"query": "facts.no_such_thing", "min": 1}, "not_tested"),
        ({"query": "load[?name=='none'].output_throughput", "min": 1}, "not_tested"),
        ({"query": "status", "min": 1}, "not_tested"),
        ({"query": "reachable", "min": 0}, "not_tested"),
        ({"query": "max(status)", "min": 1}, "not_tested"),
    ],
)
def test_verdicts(threshold: dict, status: str) -> None:
    (finding,) = thresholds.evaluate(HOST, [threshold])
    assert finding.check == "user.threshold"
    assert finding.status.value == status
    if status == "fail":
        assert finding.cause
        assert finding.remedy


def test_the_message_leads_and_the_values_that_break_it_are_named() -> None:
    (finding,) = thresholds.evaluate(HOST, [{"query": "memory[].used", "max": 15, "message": "Room for a neighbour"}])
    assert finding.summary == "Room for a neighbour: 18 is not at most 15"
    assert finding.evidence["values"] == [18, 12]


@pytest.mark.parametrize(
    ("items", "hint"),
    [
        ("facts", "is a list"),
        (["facts"], "entry 1: 'facts' is no mapping"),
        ([{"min": 1}], "query is missing"),
        ([{"query": "a"}], "give at least one of min, max, equals"),
        ([{"query": "a", "min": "fast"}], "min is 'fast', not a number"),
        ([{"query": "a", "max": True}], "max is True, not a number"),
        ([{"query": "a", "minimum": 1}], "unknown key minimum"),
        ([{"query": "a[", "min": 1}], "is not a JMESPath query"),
        ([{"query": "load[?", "min": 1}], "is not a JMESPath query"),
        ([{"query": "open('/etc/passwd')", "min": 1}], "calls open(), which JMESPath does not have"),
        ([{"query": "load[?evil(@)].name", "equals": 1}], "calls evil()"),
        ([{"query": "max(memory, memory)", "min": 1}], "gives max() 2 arguments, it takes 1"),
        ([{"query": "a", "min": 1}, {"query": "}", "min": 1}], "entry 2"),
    ],
)
def test_what_cannot_be_is_named_before_anything_is_measured(items: t.Any, hint: str) -> None:
    (problem,) = thresholds.problems(items)
    assert hint in problem


def test_every_mistake_is_named() -> None:
    assert len(thresholds.problems([{"query": "a["}, {"query": "b"}, {"query": "c", "min": 1}])) == 2


@pytest.mark.parametrize(
    "query", ["not_null(a, b, c)", "join(', ', b)", "sort_by(load, &name)[0].name", "a.b[?c > `1`]"]
)
def test_functions_that_jmespath_has_are_accepted(query: str) -> None:
    assert thresholds.problems([{"query": query, "equals": 1}]) == []


def test_without_jmespath_the_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "JMESPATH_MISSING", ImportError("jmespath"))
    (problem,) = thresholds.problems([{"query": "a", "min": 1}])
    assert "Python library jmespath" in problem
    assert thresholds.problems([]) == []
