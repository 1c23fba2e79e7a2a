# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the answers of a node with a stored reference, and those of several nodes with each other."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding
from ansible_collections.multigpu.vllm.plugins.module_utils.output.run import without_test
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import output
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.recorded_answers import RecordedAnswers
from ansible_collections.multigpu.vllm.tests.support.answers import recording

Build = Callable[..., NodeFacts]


def result(case: str, **fields: t.Any) -> dict[str, t.Any]:
    return {**without_test("no reference"), "recording": recording(case, **fields)}


def stored(case: str, arguments: dict[str, t.Any] | None = None, **fields: t.Any) -> RecordedAnswers:
    return RecordedAnswers.of("the reference", recording(case, **fields), {} if arguments is None else arguments)


def findings(node: NodeFacts) -> dict[str, Finding]:
    (section,) = [section for section in judge(node) if section.area == "output"]
    return {item.check: item for item in section.findings}


@pytest.mark.parametrize(
    ("case", "reference", "status"),
    [
        ("tp2", stored("tp1"), "pass"),
        ("zero", stored("tp1"), "fail"),
        ("zero", None, "not_tested"),
        ("zero", stored("tp1", {"quantization": "fp8"}), "not_tested"),
        ("zero", stored("tp1", model="/models/other"), "not_tested"),
        ("zero", stored("tp1", seed=1), "not_tested"),
    ],
)
def test_reference_is_compared_only_with_the_same_model(
    node: Build, results: dict[str, t.Any], case: str, reference: RecordedAnswers | None, status: str
) -> None:
    results["output"] = result(case)
    found = findings(node(results, output_reference=reference))
    assert found["output.reference"].status == status


def test_reference_of_a_server_with_unknown_arguments_only_warns(node: Build, results: dict[str, t.Any]) -> None:
    results["output"] = result("zero")
    results["tensor_parallel"]["arguments"] = results["logs"]["engine"]["arguments"] = None
    reference = RecordedAnswers.of("the reference", recording("tp1"), None)
    assert findings(node(results, output_reference=reference))["output.reference"].status == "warn"


def test_section_is_left_out_if_the_answers_were_not_to_be_checked(node: Build, results: dict[str, t.Any]) -> None:
    for skipped in ({}, {"skipped": True}):
        results["output"] = skipped
        assert "output" not in [section.area for section in judge(node(results))]
    results["output"] = {"failed": True, "msg": "boom"}
    assert {item.status for item in findings(node(results)).values()} == {"not_tested"}


def test_recording_without_tokens_is_an_invalid_result(node: Build, results: dict[str, t.Any]) -> None:
    results["output"] = result("tp1")
    results["output"]["recording"]["answers"][0]["generated"][0] = {"tokens": [], "logprobs": []}
    with pytest.raises(ValueError, match="recording"):
        output.evaluate(node(results))


@pytest.mark.parametrize(
    ("cases", "status", "named"),
    [
        (["tp1", "tp2", "tp1"], "pass", "3 nodes compute the same answers"),
        (["zero", "tp1", "tp2"], "fail", "node-0 answers differently from the other 2 nodes"),
        (["tp1", "zero"], "warn", "node-0 and node-1"),
        (["tp1", "zero", "tp2", "zero"], "warn", "node-0, node-2 and node-1, node-3"),
    ],
)
def test_fleet_majority_is_right_and_two_nodes_accuse_nobody(cases: list[str], status: str, named: str) -> None:
    nodes = {f"node-{number}": stored(case) for number, case in enumerate(cases)}
    (finding,) = output.fleet(nodes)
    assert (finding.check, finding.status) == ("fleet.output", status)
    assert named in finding.summary
    assert ("outliers" in finding.evidence) == (status == "fail")


def test_fleet_compares_only_nodes_with_the_same_model() -> None:
    assert output.fleet({"a": stored("tp1"), "b": stored("zero", model="/models/other")}) == []


@pytest.mark.parametrize(
    ("cases", "names"),
    [
        ({"a": "tp1"}, ["a"]),
        ({"a": "zero", "b": "tp1", "c": "tp2"}, ["b"]),
        ({"a": "tp1", "b": "zero"}, []),
    ],
)
def test_references_are_trusted_nodes_of_a_majority(cases: dict[str, str], names: list[str]) -> None:
    nodes = {name: dataclasses.replace(stored(case), trusted=True) for name, case in cases.items()}
    assert output.references(nodes) == names
    assert output.references({name: stored(case) for name, case in cases.items()}) == []
