# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attained speed and gain of several GPUs, judged on a node of which everything is known."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import expectation, performance
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

Build = Callable[..., NodeFacts]

#: 1 / (9.98e9 / 4 / (0.93 * 360e9) + 2 * 48 * 22.5e-6): a 14B AWQ model on four RTX 4000 Ada.
BOUND: t.Final = 104.1
#: 1 / (9.98e9 / (0.93 * 360e9)): on one of them.
ONE_GPU: t.Final = 33.5


@pytest.fixture
def known(results: dict) -> dict:
    """The healthy node with everything that the roofline needs, one stream at the bound."""
    for device in results["gpu"]["ansible_facts"]["gpu"]["devices"]:
        device["memory_bandwidth"] = 360_000_000_000
    results["tensor_parallel"]["model"] = {"id": "Qwen2.5-Coder-14B-Instruct-AWQ", "num_layers": 48, "kv_heads": 8}
    results["logs"]["engine"] = {"model_memory": 9_980_000_000 // 4, "tensor_parallel_size": 4}
    paced(results, BOUND)
    return results


def paced(results: dict, speed: float) -> None:
    results["load"]["results"][0]["tpot"] = {"mean": 1 / speed}


def judged(node: NodeFacts) -> dict[str, Finding]:
    return {item.check: item for item in expectation.evaluate(node, performance.single_stream(node))}


@pytest.mark.parametrize(
    ("attained", "status"), [(1.3, "pass"), (0.801, "pass"), (0.799, "warn"), (0.501, "warn"), (0.499, "fail")]
)
def test_limits_of_the_roofline(node: Build, known: dict, attained: float, status: str) -> None:
    paced(known, attained * BOUND)
    found = judged(node(known))["performance.roofline"]
    assert found.status.value == status
    assert found.evidence["attained_percent"] == pytest.approx(100 * attained, abs=0.1)
    assert expectation.roofline.FORMULA in str(found.source)


@pytest.mark.parametrize(
    ("limits", "attained", "status", "source"),
    [
        ({"RTX 4000 Ada": {"warn": 60}}, 0.65, "pass", "validate_speed_limits"),
        ({"NVIDIA RTX 4000 Ada Generation": {"warn": 60, "fail": 55}}, 0.52, "fail", "validate_speed_limits"),
        ({"default": {"fail": 70}}, 0.65, "fail", "validate_speed_limits"),
        ({"default": {"fail": 70}, "RTX 4000 Ada": {"fail": 60}}, 0.65, "warn", "validate_speed_limits"),
        ({"RTX 6000 Ada": {"warn": 10}}, 0.65, "warn", "multi-GPU guide"),
    ],
)
def test_limits_of_one_gpu_model(
    node: Build, known: dict, limits: dict, attained: float, status: str, source: str
) -> None:
    paced(known, attained * BOUND)
    found = judged(node(known, speed_limits=limits))["performance.roofline"]
    assert found.status.value == status
    assert source in str(found.source)


@pytest.mark.parametrize(
    ("speed", "status"),
    [
        (2.9 * ONE_GPU, "pass"),
        (2.01 * ONE_GPU, "pass"),
        (1.99 * ONE_GPU, "warn"),
        (1.16 * ONE_GPU, "warn"),
        (1.14 * ONE_GPU, "fail"),
    ],
)
def test_gain_over_one_gpu(node: Build, known: dict, speed: float, status: str) -> None:
    """The guide's 2.5 with four GPUs; four fifths of it are 2.0."""
    paced(known, speed)
    found = judged(node(known))["performance.scaling"]
    assert found.status.value == status
    assert found.measured == pytest.approx(speed / ONE_GPU, abs=0.01)


def test_a_small_model_need_not_gain_as_much_as_the_guides(node: Build, known: dict) -> None:
    known["logs"]["engine"]["model_memory"] = 300_000_000
    known["tensor_parallel"]["model"]["num_layers"] = 60
    found = judged(node(known, model={"weight_bytes": 1_600_000_000}))
    assert found["performance.scaling"].evidence["usual_gain"] == pytest.approx(1.23, abs=0.01)


def test_one_gpu_gains_nothing(node: Build, known: dict) -> None:
    known["tensor_parallel"]["tensor_parallel_size"] = 1
    known["logs"]["engine"]["model_memory"] = 9_980_000_000
    paced(known, ONE_GPU)
    found = judged(node(known))
    assert found["performance.scaling"].status.value == "not_tested"
    assert found["performance.roofline"].status.value == "pass"


def test_where_the_host_sets_the_pace_nothing_is_judged(node: Build, known: dict) -> None:
    known["logs"]["engine"]["model_memory"] = 100_000_000
    known["tensor_parallel"]["model"]["num_layers"] = 24
    paced(known, 150.0)
    found = judged(node(known))
    assert {item.status.value for item in found.values()} == {"not_tested"}
    assert "host sets the pace" in found["performance.roofline"].summary


@pytest.mark.parametrize(("speed", "status"), [(175.0, "pass"), (185.0, "not_tested"), (450.0, "not_tested")])
def test_what_no_memory_is_fast_enough_for_is_another_model(
    node: Build, known: dict, speed: float, status: str
) -> None:
    """9.98 GB over four GPUs of 360 GB/s are 144 tokens/s, with nothing lost; 1.25 times that are 180."""
    paced(known, speed)
    found = judged(node(known))
    assert {item.status.value for item in found.values()} == {status}
    if status == "not_tested":
        assert "give the active part as validate_model_weight_bytes" in found["performance.roofline"].summary


def test_a_mixture_of_experts_is_not_judged_by_its_whole_size(node: Build, known: dict) -> None:
    known["tensor_parallel"]["model"]["experts"] = 128
    found = judged(node(known))
    assert {item.status.value for item in found.values()} == {"not_tested"}
    assert "active part as validate_model_weight_bytes" in found["performance.roofline"].summary
    assert judged(node(known, model={"weight_bytes": 9.98e9}))["performance.roofline"].status.value == "pass"


def test_with_the_active_part_a_mixture_of_experts_is_judged(node: Build, known: dict) -> None:
    paced(known, 185.0)
    found = judged(node(known, model={"weight_bytes": 4.2e9}))
    assert {item.status.value for item in found.values()} == {"pass"}


def test_a_server_in_use_is_not_the_nodes_fault_either(node: Build, known: dict) -> None:
    paced(known, 0.3 * BOUND)
    known["load"]["results"][0] |= {"token_ratio": None, "shared": True}
    assert {item.status.value for item in judged(node(known)).values()} == {"not_tested"}


def test_without_a_pace_there_is_nothing_to_judge(node: Build, known: dict) -> None:
    (step, *_others) = known["load"]["results"]
    step["tokens_per_arrival"] = 128.0
    assert "128 tokens came at a time" in judged(node(known))["performance.roofline"].summary
    step |= {"tokens_per_arrival": 1.0, "tpot": None}
    assert {item.status.value for item in judged(node(known)).values()} == {"not_tested"}


def test_somebody_elses_load_is_not_the_nodes_fault(node: Build, known: dict) -> None:
    paced(known, 0.3 * BOUND)
    known["load"]["results"][0]["token_ratio"] = 2.4
    assert "other clients" in judged(node(known))["performance.roofline"].summary


def test_the_users_figures_go_before_what_was_read(node: Build, known: dict) -> None:
    found = judged(node(known, model={"weight_bytes": 4.99e9}, memory_bandwidth=180e9, all_reduce_latency=45e-6))
    terms = found["performance.roofline"].evidence
    assert (terms["W"], terms["BW"], terms["t_AR"]) == (4_990_000_000, 180e9, 45e-6)


def test_what_is_unknown_is_not_tested_with_the_variable_to_give(node: Build, known: dict) -> None:
    known["logs"]["engine"] = {}
    found = judged(node(known))
    assert {item.status.value for item in found.values()} == {"not_tested"}
    assert "validate_model_weight_bytes" in found["performance.roofline"].summary


def test_nvlink_has_another_latency(node: Build, known: dict) -> None:
    known["gpu"]["ansible_facts"]["gpu"]["topology"]["nvlink"] = True
    assert judged(node(known))["performance.roofline"].evidence["t_AR"] == 10e-6


def test_the_cache_per_token_comes_from_the_log(node: Build, known: dict) -> None:
    known["logs"]["engine"] |= {"kv_cache_memory": 4_915_200_000, "kv_cache_tokens": 100_000}
    # 49,152 bytes a token on one of four GPUs, 128 + 128 / 2 tokens of context.
    assert judged(node(known))["performance.roofline"].evidence["KV"] == 4 * 49_152 * 192


def test_without_load_the_judge_gives_the_reason(node: Build, known: dict) -> None:
    known["load"] = {}
    assert judged(node(known)) == {}
