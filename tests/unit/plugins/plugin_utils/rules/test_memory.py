# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the rules about GPU memory: idle GPUs, balance and headroom."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status, as_dicts, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.load.load_findings import unusable
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import memory
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

GIB = 2**30
Build = Callable[..., NodeFacts]


def use(results: dict, *gib: float) -> None:
    """Set the bytes in use per GPU, without a load that would take precedence."""
    results["load"] = {}
    for device, used in zip(results["gpu"]["ansible_facts"]["gpu"]["devices"], gib, strict=True):
        device["memory_used"] = int(used * GIB)


def judged(node: NodeFacts) -> dict[str, Status]:
    return {item.check.partition(".")[2]: item.status for item in memory.compare(node)}


@pytest.mark.parametrize(
    ("gib", "idle", "balance", "headroom"),
    [
        ((18, 18, 18, 18), "pass", "pass", "pass"),
        ((18, 16, 18, 18), "pass", "pass", "pass"),
        ((18, 15, 18, 18), "pass", "fail", "pass"),
        ((18, 0.3, 0.3, 0.3), "fail", "not_tested", "pass"),
        ((18, 18, 0.3, 0.3), "fail", "pass", "pass"),
        ((19.8, 19.8, 19.8, 19.8), "pass", "pass", "warn"),
        ((0.3, 0.3, 0.3, 0.3), "not_tested", "not_tested", "not_tested"),
    ],
)
def test_compare_by_memory_use(node: Build, results: dict, gib: tuple, idle: str, balance: str, headroom: str) -> None:
    use(results, *gib)
    assert judged(node(results)) == {
        "idle_gpu": Status(idle),
        "balance": Status(balance),
        "headroom": Status(headroom),
    }


def test_balance_ignores_a_second_server(node: Build, results: dict) -> None:
    use(results, 18, 18, 12, 12)
    results["tensor_parallel"]["tensor_parallel_size"] = 2
    assert judged(node(results))["balance"] is Status.NOT_TESTED, "the GPUs of the second server are not known"
    results["tensor_parallel"]["gpus"] = [0, 1]
    assert judged(node(results)) == dict.fromkeys(("idle_gpu", "balance", "headroom"), Status.PASS)


@pytest.mark.parametrize(
    ("held", "expected_speed", "status"),
    [
        (4.0, 100.0, Status.WARN),
        (4.0, 300.0, Status.FAIL),
        (4.0, None, Status.FAIL),
        (0.8, 100.0, Status.FAIL),
    ],
    ids=["harmless", "slow", "speed unknown", "does not explain the difference"],
)
def test_balance_only_warns_if_another_process_explains_it_and_costs_no_speed(
    node: Build, results: dict, held: float, expected_speed: float | None, status: Status
) -> None:
    for reading in results["load"]["gpu_samples"]["samples"]:
        for gpu in reading["gpus"][1:]:
            gpu["memory_used"] = int(14.2 * GIB)
    results["gpu"]["ansible_facts"]["gpu"]["devices"][0]["processes"] = [
        {"pid": 100, "name": "VLLM::Worker_TP0", "memory_used": int(14 * GIB)},
        {"pid": 4242, "name": "python3 embed.py", "memory_used": int(held * GIB)},
    ]
    balance = memory.compare(node(results, expected_throughput=expected_speed))[1]
    assert balance.status is status
    assert ("another process" in balance.summary) is (status is Status.WARN)


def test_idle_gpu_remedy_depends_on_the_group_size(node: Build, results: dict) -> None:
    use(results, 18, 0.3, 0.3, 0.3)
    results["tensor_parallel"]["tensor_parallel_size"] = 1
    small = memory.compare(node(results))[0]
    assert small.summary == "GPUs 1, 2, 3 hold no model memory"
    assert "--tensor-parallel-size 4" in (small.remedy or "")
    results["tensor_parallel"]["tensor_parallel_size"] = 4
    broken = memory.compare(node(results))[0]
    assert "did not start" in (broken.cause or "")
    assert "--tensor-parallel-size" not in (broken.remedy or "")


def test_memory_used_prefers_readings_under_load(node: Build, results: dict) -> None:
    for device in results["gpu"]["ansible_facts"]["gpu"]["devices"]:
        device["memory_used"] = 0
    assert judged(node(results))["idle_gpu"] is Status.PASS


def test_compare_of_a_sleeping_engine_is_not_tested(node: Build, results: dict) -> None:
    # At sleep level 1, the CUDA contexts and NCCL buffers of the workers remain on the GPUs.
    use(results, 1.4, 1.4, 1.4, 1.4)
    results["load"] = {"results": [], "findings": as_dicts(unusable(RequestFailed("sleeping")))}
    assert set(judged(node(results)).values()) == {Status.NOT_TESTED}


def test_compare_without_readings_is_empty(node: Build, results: dict) -> None:
    results["gpu"] = {"failed": True, "msg": "boom"}
    results["load"] = {}
    assert memory.compare(node(results)) == []


def test_compare_without_a_driver_names_it_as_reason(node: Build, results: dict) -> None:
    results["load"] = {}
    results["gpu"]["ansible_facts"]["gpu"]["devices"] = []
    results["gpu"]["findings"][1].update(status="fail", summary="NVIDIA driver not loaded", cause="c", remedy="r")
    assert {item.summary for item in memory.compare(node(results))} == {"NVIDIA driver not loaded"}
    results["gpu"]["findings"] = []
    assert {item.summary for item in memory.compare(node(results))} == {"no GPU was found"}


def test_headroom_without_totals_is_not_tested(node: Build, results: dict) -> None:
    for device in results["gpu"]["ansible_facts"]["gpu"]["devices"]:
        device["memory_total"] = None
    assert judged(node(results))["headroom"] is Status.NOT_TESTED


def test_out_of_memory_passes_only_if_logs_were_read(node: Build, results: dict) -> None:
    results["logs"].update(sources=["/var/log/vllm.log"], findings=[])
    assert [item.status for item in memory.out_of_memory(node(results))] == [Status.PASS]
    results["logs"]["sources"] = []
    assert memory.out_of_memory(node(results)) == []


def test_evaluate_includes_out_of_memory(node: Build, results: dict) -> None:
    assert "memory.oom" in {item.check for item in memory.evaluate(node(results))}


def test_preempted_warns_with_the_number_of_the_metrics(node: Build, results: dict) -> None:
    results["load"]["results"][0]["preemptions"] = 0
    assert memory.preempted(node(results)) == []
    results["load"]["results"][2]["preemptions"] = 7
    (finding,) = memory.preempted(node(results))
    assert (finding.check, finding.status, finding.measured) == ("memory.headroom", Status.WARN, 7)
    assert finding.summary == "7 preemptions during sustained"
    logged = warned("memory.headroom", "Requests preempted", cause="It is full.", remedy="Use less.").as_dict()
    results["logs"]["findings"] = [logged | {"class": "kv_preemption", "severity": "warning", "count": 1}]
    assert memory.preempted(node(results)) == []


@pytest.mark.parametrize(("tokens", "replicas", "warns"), [(2048, 1, False), (2047, 1, True), (1024, 2, False)])
def test_cache_warns_if_the_load_does_not_fit(
    node: Build, results: dict, tokens: int, replicas: int, warns: bool
) -> None:
    """The sustained step of the fixture has 8 streams of 128 + 128 tokens."""
    results["logs"]["engine"]["kv_cache_tokens"] = tokens
    results["tensor_parallel"]["data_parallel_size"] = replicas
    findings = memory.cache(node(results))
    assert [(item.check, item.measured, item.expected) for item in findings] == (
        [("memory.headroom", tokens, 2048)] if warns else []
    )
