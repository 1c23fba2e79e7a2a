# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registered results as rules see them: what is missing carries its reason."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import Measurement, NodeFacts


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (None, "m was not run"),
        ({}, "m was not run"),
        ({"failed": True, "msg": "no\n  such   thing"}, "m failed: no such thing"),
        ({"skipped": True}, "m was skipped"),
        ({"skipped": True, "msg": "why"}, "why"),
        (
            {"unreachable": True, "msg": "Task failed: Failed to connect to the host via ssh: ssh: connect: refused"},
            "connection lost: connect: refused",
        ),
    ],
)
def test_a_missing_measurement_says_why(result: dict | None, reason: str) -> None:
    measurement = Measurement.from_result("m", result)
    assert not measurement.taken
    assert measurement.reason == reason


def test_check_mode_is_the_reason_of_a_skipped_load() -> None:
    assert Measurement.from_result("m", {"skipped": True}, check_mode=True).reason == "check mode makes no load"


def test_a_long_message_is_cut() -> None:
    reason = Measurement.from_result("m", {"failed": True, "msg": "x" * 1000}).reason
    assert reason is not None
    assert len(reason) < 250
    assert reason.endswith("...")


def test_what_follows_a_lost_connection_carries_the_reason_of_the_loss(results: dict) -> None:
    results["tensor_parallel"] = {"unreachable": True, "msg": "gone"}
    results["load"] = {"skipped": True}
    results["logs"] = {}
    node = NodeFacts.from_results("n", results)
    assert node.lost is not None
    assert [item.reason for item in node.measurements] == [None, *["connection lost: gone"] * 4]
    assert not any(item.crashed for item in node.measurements)


def test_pauses_between_steps_are_left_out(results: dict) -> None:
    node = NodeFacts.from_results("n", results)
    times = [sample["time"] for sample in node.samples]
    assert times[0] == 0.0
    assert not any(4.0 < time < 4.5 or 9.0 < time < 10.0 for time in times)
    assert len(times) < len(results["load"]["gpu_samples"]["samples"])


def test_steps_that_were_skipped_are_no_steps(results: dict) -> None:
    results["load"]["results"][1]["skipped"] = "does not fit"
    assert [step["name"] for step in NodeFacts.from_results("n", results).steps] == ["prompt-128", "sustained"]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((4, 1, 1), 4), ((2, 2, 1), 4), ((2, None, 2), 4), ((None, 1, 1), None)],
)
def test_group_size_is_the_product_of_the_parallel_sizes(
    results: dict, sizes: tuple[int | None, ...], expected: int | None
) -> None:
    keys = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    results["tensor_parallel"].update(zip(keys, sizes, strict=True))
    assert NodeFacts.from_results("n", results).group_size == expected


def test_extended_findings_keep_what_a_finding_has(results: dict) -> None:
    results["logs"]["findings"] = [
        {"check": "nccl.errors", "status": "fail", "summary": "boom", "class": "nccl_timeout", "count": 3}
    ]
    (finding,) = NodeFacts.from_results("n", results).findings("nccl")
    assert finding.summary == "boom"
