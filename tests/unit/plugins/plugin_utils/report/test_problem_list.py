# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that each cause is listed once, with the findings that it explains."""

from __future__ import annotations

import copy

from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import problem_list
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import UNICODE, WIDTH


def rendered(node: dict) -> str:
    return "\n".join(line for item in problem_list.problems(node) for line in problem_list.problem("", item, UNICODE))


def test_problems_findings_are_listed_under_their_cause_only(fleet: dict) -> None:
    node = fleet["hosts"]["socket"]
    (problem,) = problem_list.problems(node)
    assert problem.title == "The GPUs of this node talk over TCP sockets"
    text = rendered(node)
    assert text.count("NCCL transport: NCCL sends between the GPUs of this node over TCP sockets") == 0  # wrapped
    assert text.count("Seen   NCCL transport:") == 1
    assert text.count("Fix ") == 1
    assert all(len(line) <= WIDTH for line in text.splitlines())


def test_problems_unexplained_finding_is_listed_separately(fleet: dict) -> None:
    node = copy.deepcopy(fleet["hosts"]["socket"])
    node["diagnoses"][0]["findings"] = ["nccl.transport"]
    titles = [item.title for item in problem_list.problems(node)]
    assert titles[0] == "The GPUs of this node talk over TCP sockets"
    assert titles[1:] == ["Throughput: one stream reaches 35 % of the expected speed"]


def test_problems_failures_precede_warnings(fleet: dict) -> None:
    node = copy.deepcopy(fleet["hosts"]["socket"])
    node["diagnoses"][0]["findings"] = []
    assert [item.status for item in problem_list.problems(node)] == ["fail", "fail", "warn"]


def test_problem_shows_doubt_and_gain_if_present(fleet: dict) -> None:
    node = copy.deepcopy(fleet["hosts"]["socket"])
    node["diagnoses"][0] |= {"confidence": "medium", "expected_gain": "twice as fast"}
    assert "(medium confidence)" in " ".join(rendered(node).split())
    assert "Gain   twice as fast" in rendered(node)
    node["diagnoses"][0] |= {"confidence": "high", "expected_gain": None}
    assert "confidence" not in rendered(node)
    assert "Gain" not in rendered(node)


def test_problem_without_evidence(fleet: dict) -> None:
    (problem,) = problem_list.problems(fleet["hosts"]["socket"])
    assert not any("Seen" in line for line in problem_list.problem("", problem, UNICODE, evidence=False))


def test_problems_healthy_node_has_none(fleet: dict) -> None:
    assert problem_list.problems(fleet["hosts"]["healthy"]) == []
