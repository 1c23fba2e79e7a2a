# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Idle GPUs, balance and headroom."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import memory
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

GIB = 2**30
Build = Callable[..., NodeFacts]


def use(results: dict, *gib: float) -> None:
    """Bytes in use per GPU at rest; no load, so that these count."""
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
def test_situations(node: Build, results: dict, gib: tuple, idle: str, balance: str, headroom: str) -> None:
    use(results, *gib)
    assert judged(node(results)) == {
        "idle_gpu": Status(idle),
        "balance": Status(balance),
        "headroom": Status(headroom),
    }


def test_the_memory_of_a_second_server_is_another_amount(node: Build, results: dict) -> None:
    use(results, 18, 18, 12, 12)
    results["tensor_parallel"]["tensor_parallel_size"] = 2
    assert judged(node(results))["balance"] is Status.FAIL, "nothing says that it is another server's"
    results["tensor_parallel"]["gpus"] = [0, 1]
    assert judged(node(results)) == dict.fromkeys(("idle_gpu", "balance", "headroom"), Status.PASS)


def test_idle_gpus_are_named_and_the_remedy_fits_the_cause(node: Build, results: dict) -> None:
    use(results, 18, 0.3, 0.3, 0.3)
    results["tensor_parallel"]["tensor_parallel_size"] = 1
    small = memory.compare(node(results))[0]
    assert small.summary == "GPUs 1, 2, 3 hold no model memory"
    assert "--tensor-parallel-size 4" in (small.remedy or "")
    results["tensor_parallel"]["tensor_parallel_size"] = 4
    broken = memory.compare(node(results))[0]
    assert "did not start" in (broken.cause or "")
    assert "--tensor-parallel-size" not in (broken.remedy or "")


def test_memory_under_load_goes_before_memory_at_rest(node: Build, results: dict) -> None:
    for device in results["gpu"]["ansible_facts"]["gpu"]["devices"]:
        device["memory_used"] = 0
    assert judged(node(results))["idle_gpu"] is Status.PASS


def test_without_readings_there_is_no_answer(node: Build, results: dict) -> None:
    results["gpu"] = {"failed": True, "msg": "boom"}
    results["load"] = {}
    assert memory.compare(node(results)) == []


def test_without_a_driver_it_is_the_reason(node: Build, results: dict) -> None:
    results["load"] = {}
    results["gpu"]["ansible_facts"]["gpu"]["devices"] = []
    results["gpu"]["findings"][1].update(status="fail", summary="NVIDIA driver not loaded")
    assert {item.summary for item in memory.compare(node(results))} == {"NVIDIA driver not loaded"}
    results["gpu"]["findings"] = []
    assert {item.summary for item in memory.compare(node(results))} == {"no GPU was found"}


def test_without_totals_the_headroom_is_open(node: Build, results: dict) -> None:
    for device in results["gpu"]["ansible_facts"]["gpu"]["devices"]:
        device["memory_total"] = None
    assert judged(node(results))["headroom"] is Status.NOT_TESTED


def test_logs_without_a_fault_answer_the_question(node: Build, results: dict) -> None:
    results["logs"].update(sources=["/var/log/vllm.log"], findings=[])
    assert [item.status for item in memory.out_of_memory(node(results))] == [Status.PASS]
    results["logs"]["sources"] = []
    assert memory.out_of_memory(node(results)) == []


def test_findings_of_the_logs_are_kept(node: Build, results: dict) -> None:
    assert "memory.oom" in {item.check for item in memory.evaluate(node(results))}


@pytest.mark.parametrize(("tokens", "replicas", "warns"), [(2048, 1, False), (2047, 1, True), (1024, 2, False)])
def test_a_cache_that_does_not_hold_the_load(
    node: Build, results: dict, tokens: int, replicas: int, warns: bool
) -> None:
    """The sustained step of the fixture: 8 streams of 128 + 128 tokens."""
    results["logs"]["engine"]["kv_cache_tokens"] = tokens
    results["tensor_parallel"]["data_parallel_size"] = replicas
    found = memory.cache(node(results))
    assert [(item.check, item.measured, item.expected) for item in found] == (
        [("memory.headroom", tokens, 2048)] if warns else []
    )
