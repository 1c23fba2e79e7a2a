# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the facts of a node from registered results, and the reason for each missing measurement."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts, failed, passed, warned
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import MEASUREMENTS, Measurement, NodeFacts


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (None, "m was not run"),
        ({}, "m was not run"),
        ({"failed": True, "msg": "no\n  such   thing"}, "m failed: no such thing"),
        (
            {"failed": True, "msg": "Timed out", "timedout": {"period": 9}},
            "m had not finished after validate_max_duration",
        ),
        ({"skipped": True}, "m was skipped"),
        ({"skipped": True, "msg": "why"}, "why"),
        (
            {"unreachable": True, "msg": "Task failed: Failed to connect to the host via ssh: ssh: connect: refused"},
            "connection lost: connect: refused",
        ),
    ],
)
def test_measurement_without_result_has_a_reason(result: dict | None, reason: str) -> None:
    measurement = Measurement.from_result("m", result)
    assert not measurement.taken
    assert measurement.reason == reason


def test_measurement_skipped_in_check_mode_has_its_reason() -> None:
    assert Measurement.from_result("m", {"skipped": True}, check_mode=True).reason == "check mode runs no load test"


def test_measurement_reason_is_shortened() -> None:
    reason = Measurement.from_result("m", {"failed": True, "msg": "x" * 1000}).reason
    assert reason is not None
    assert len(reason) < 250
    assert reason.endswith("...")


def test_measurements_after_a_lost_connection_have_its_reason(results: dict) -> None:
    results["tensor_parallel"] = {"unreachable": True, "msg": "gone"}
    results["load"] = {"skipped": True}
    results["logs"] = {}
    node = NodeFacts.from_results("n", results)
    assert node.lost is not None
    assert [item.reason for item in node.measurements] == [None, *["connection lost: gone"] * (len(MEASUREMENTS) - 1)]
    assert not any(item.crashed for item in node.measurements)


def test_samples_exclude_pauses_between_steps(results: dict) -> None:
    node = NodeFacts.from_results("n", results)
    times = [sample["time"] for sample in node.samples]
    assert times[0] == 0.0
    assert not any(4.0 < time < 4.5 or 9.0 < time < 10.0 for time in times)
    assert len(times) < len(results["load"]["gpu_samples"]["samples"])


def test_steps_exclude_skipped_steps(results: dict) -> None:
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


def test_group_size_that_the_check_did_not_find_comes_from_the_log(results: dict) -> None:
    results["tensor_parallel"].update(tensor_parallel_size=None, pipeline_parallel_size=None)
    results["logs"]["engine"] = {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}
    node = NodeFacts.from_results("n", results)
    assert (node.tensor_parallel_size, node.stages, node.group_size) == (2, 2, 4)


def test_findings_drop_extended_keys(results: dict) -> None:
    results["logs"]["findings"] = [
        {**failed("nccl.errors", "boom", cause="c", remedy="r").as_dict(), "class": "nccl_timeout", "count": 3}
    ]
    (finding,) = NodeFacts.from_results("n", results).findings("nccl")
    assert finding.summary == "boom"


@pytest.mark.parametrize(
    ("replaced_by", "summaries"),
    [
        ([], ["a", "b", "c"]),
        ([passed("nccl.bandwidth", "rule")], ["a", "b", "rule"]),
        ([failed("nccl.errors", "rule")], ["a", "b", "c", "rule"]),
    ],
)
def test_findings_replaced_by_rules_keep_faults(results: dict, replaced_by: list, summaries: list[str]) -> None:
    reported = [
        failed("nccl.errors", "a", cause="c", remedy="r"),
        warned("nccl.transport", "b", cause="c", remedy="r"),
        passed("nccl.bandwidth", "c"),
    ]
    results["logs"]["findings"] = as_dicts(reported)
    node = NodeFacts.from_results("n", results)
    assert [item.summary for item in node.findings("nccl", replaced_by)] == summaries


@pytest.mark.parametrize(("value", "is_on"), [("1", True), ("true", True), ("0", False), ("", False), (None, False)])
def test_is_set_by_value(results: dict, value: str | None, is_on: bool) -> None:
    results["tensor_parallel"]["environment"] = {} if value is None else {"NCCL_P2P_DISABLE": value}
    assert NodeFacts.from_results("n", results).is_set("NCCL_P2P_DISABLE") is is_on


def test_settings_without_process_come_from_the_log(results: dict) -> None:
    results["tensor_parallel"] = {}
    results["logs"]["engine"] = {"arguments": {"max_num_seqs": 8}, "environment": {"NCCL_DEBUG": "1"}}
    node = NodeFacts.from_results("n", results)
    assert (node.argument("max_num_seqs"), node.argument("seed", 0), node.variable("NCCL_DEBUG")) == (8, 0, "1")
    results["logs"]["engine"] = {}
    node = NodeFacts.from_results("n", results)
    assert (node.arguments, node.environment, node.argument("seed"), node.variable("X")) == (None, None, None, None)
