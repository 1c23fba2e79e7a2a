# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cause is told once, with what it explains below it."""

from __future__ import annotations

import copy

from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import problem_list
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import UNICODE, WIDTH


def told(node: dict) -> str:
    return "\n".join(line for item in problem_list.problems(node) for line in problem_list.problem("", item, UNICODE))


def test_findings_of_a_cause_stand_below_it_and_nowhere_else(fleet: dict) -> None:
    node = fleet["hosts"]["socket"]
    (problem,) = problem_list.problems(node)
    assert problem.title == "The GPUs of this node talk over TCP sockets"
    text = told(node)
    assert text.count("NCCL transport: NCCL sends between the GPUs of this node over TCP sockets") == 0  # wrapped
    assert text.count("Seen   NCCL transport:") == 1
    assert text.count("Fix ") == 1
    assert all(len(line) <= WIDTH for line in text.splitlines())


def test_what_no_cause_explains_stands_for_itself(fleet: dict) -> None:
    node = copy.deepcopy(fleet["hosts"]["socket"])
    node["diagnoses"][0]["findings"] = ["nccl.transport"]
    titles = [item.title for item in problem_list.problems(node)]
    assert titles[0] == "The GPUs of this node talk over TCP sockets"
    assert titles[1:] == ["Throughput: one stream reaches 35 % of the expected speed"]


def test_failures_come_before_warnings(fleet: dict) -> None:
    node = copy.deepcopy(fleet["hosts"]["socket"])
    node["diagnoses"][0]["findings"] = []
    assert [item.status for item in problem_list.problems(node)] == ["fail", "fail", "warn"]


def test_doubt_is_named_and_gain_where_there_is_one(fleet: dict) -> None:
    node = copy.deepcopy(fleet["hosts"]["socket"])
    node["diagnoses"][0] |= {"confidence": "medium", "expected_gain": "twice as fast"}
    assert "(medium confidence)" in " ".join(told(node).split())
    assert "Gain   twice as fast" in told(node)
    node["diagnoses"][0] |= {"confidence": "high", "expected_gain": None}
    assert "confidence" not in told(node)
    assert "Gain" not in told(node)


def test_short_form_leaves_the_evidence_out(fleet: dict) -> None:
    (problem,) = problem_list.problems(fleet["hosts"]["socket"])
    assert not any("Seen" in line for line in problem_list.problem("", problem, UNICODE, evidence=False))


def test_a_healthy_node_has_no_problem(fleet: dict) -> None:
    assert problem_list.problems(fleet["hosts"]["healthy"]) == []
