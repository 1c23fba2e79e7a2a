# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the decoding speed, and the gain of several GPUs, against the expected ones."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.load.load_findings import nothing_sent
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import expectation, performance
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

Build = Callable[..., NodeFacts]

#: 1 / (9.98e9 / 4 / (0.89 * 360e9) + 48 * (36e-6 + 2 * 14e-6)): a 14B AWQ model on four RTX 4000 Ada.
BOUND: t.Final = 92.09
#: 1 / (9.98e9 / (0.89 * 360e9) + 48 * 36e-6): on one of them.
ONE_GPU: t.Final = 30.42


@pytest.fixture
def complete(results: dict) -> dict:
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
def test_roofline_limits(node: Build, complete: dict, attained: float, status: str) -> None:
    paced(complete, attained * BOUND)
    finding = judged(node(complete))["performance.roofline"]
    assert finding.status.value == status
    assert finding.evidence["attained_percent"] == pytest.approx(100 * attained, abs=0.1)
    assert expectation.roofline.FORMULA in str(finding.source)


@pytest.mark.parametrize(
    ("steps", "findings", "reason"),
    [
        ([], nothing_sent("the server generates no text; it serves embeddings"), "it serves embeddings"),
        ([], [], "no load step was run"),
        (None, nothing_sent("not the reason"), "no load step with one stream"),
    ],
)
def test_evaluate_without_a_single_stream_names_the_reason(
    node: Build, complete: dict, steps: list | None, findings: list, reason: str
) -> None:
    complete["load"]["results"] = complete["load"]["results"][2:] if steps is None else steps
    complete["load"]["findings"] = as_dicts(findings)
    answers = judged(node(complete))
    assert {item.status.value for item in answers.values()} == {"not_tested"}
    assert all(reason in item.summary for item in answers.values())


@pytest.mark.parametrize(
    ("speculation", "arguments", "text"),
    [
        ({"drafts": 9, "acceptance_rate": 0.62, "mean_acceptance_length": 2.86}, {}, "2.86 tokens per pass (62 %"),
        (None, {"speculative_config": '{"method": "ngram"}'}, "does not count the accepted tokens"),
        # Without a draft, and without speculative decoding, the server decodes plainly.
        ({"drafts": 0, "acceptance_rate": None, "mean_acceptance_length": None}, {"speculative_config": "{}"}, None),
        (None, {}, None),
    ],
)
def test_speculative_decoding_is_not_judged_as_plain(
    node: Build, complete: dict, speculation: dict | None, arguments: dict, text: str | None
) -> None:
    paced(complete, 0.3 * BOUND)
    complete["load"]["results"][0]["speculation"] = speculation
    complete["tensor_parallel"]["arguments"] = arguments
    answers = judged(node(complete)).values()
    assert {item.status.value for item in answers} == ({"not_tested"} if text else {"fail"})
    assert all(text in item.summary for item in answers if text)


def test_speculative_decoding_is_compared_with_its_own_history(node: Build, complete: dict) -> None:
    paced(complete, 0.3 * BOUND)
    measured = {"drafts": 9, "acceptance_rate": 0.62, "mean_acceptance_length": 2.86}
    complete["load"]["results"][0]["speculation"] = measured
    complete["logs"]["engine"] = {}
    finding = judged(node(complete, speed_history=[BOUND] * 5))["performance.roofline"]
    assert (finding.status.value, finding.evidence["kind"]) == ("fail", "history")


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
def test_roofline_limits_by_gpu_model(
    node: Build, complete: dict, limits: dict, attained: float, status: str, source: str
) -> None:
    paced(complete, attained * BOUND)
    finding = judged(node(complete, speed_limits=limits))["performance.roofline"]
    assert finding.status.value == status
    assert source in str(finding.source)


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
def test_scaling_limits(node: Build, complete: dict, speed: float, status: str) -> None:
    """Four GPUs usually gain a factor of 2.5 (guide); the warning starts at 80 % of it, 2.0."""
    paced(complete, speed)
    finding = judged(node(complete))["performance.scaling"]
    assert finding.status.value == status
    assert finding.measured == pytest.approx(speed / ONE_GPU, abs=0.01)


def test_scaling_of_a_small_model_expects_less_gain(node: Build, complete: dict) -> None:
    complete["logs"]["engine"]["model_memory"] = 300_000_000
    complete["tensor_parallel"]["model"]["num_layers"] = 60
    findings = judged(node(complete, model={"weight_bytes": 1_600_000_000}))
    assert findings["performance.scaling"].evidence["usual_gain"] == pytest.approx(1.41, abs=0.01)


def test_scaling_of_one_gpu_is_not_tested(node: Build, complete: dict) -> None:
    complete["tensor_parallel"]["tensor_parallel_size"] = 1
    complete["logs"]["engine"]["model_memory"] = 9_980_000_000
    paced(complete, ONE_GPU)
    findings = judged(node(complete))
    assert findings["performance.scaling"].status.value == "not_tested"
    assert findings["performance.roofline"].status.value == "pass"


def test_roofline_of_a_host_bound_model_is_not_tested(node: Build, complete: dict) -> None:
    complete["logs"]["engine"]["model_memory"] = 100_000_000
    complete["tensor_parallel"]["model"]["num_layers"] = 24
    paced(complete, 150.0)
    findings = judged(node(complete))
    assert {item.status.value for item in findings.values()} == {"not_tested"}
    assert "host limits the speed" in findings["performance.roofline"].summary


@pytest.mark.parametrize(("speed", "status"), [(175.0, "pass"), (185.0, "not_tested"), (450.0, "not_tested")])
def test_roofline_of_an_impossible_speed_is_not_tested(node: Build, complete: dict, speed: float, status: str) -> None:
    """9.98 GB over four GPUs with 360 GB/s allow at most 144 tokens/s; the limit is 1.25 times that, 180."""
    paced(complete, speed)
    findings = judged(node(complete))
    assert {item.status.value for item in findings.values()} == {status}
    if status == "not_tested":
        assert "set validate_model_weight_bytes to the active part" in findings["performance.roofline"].summary


def test_roofline_of_experts_without_active_size_is_not_tested(node: Build, complete: dict) -> None:
    complete["tensor_parallel"]["model"]["experts"] = 128
    findings = judged(node(complete))
    assert {item.status.value for item in findings.values()} == {"not_tested"}
    assert "validate_model_weight_bytes" in findings["performance.roofline"].summary
    assert judged(node(complete, model={"weight_bytes": 9.98e9}))["performance.roofline"].status.value == "pass"


def test_roofline_of_experts_with_active_size_passes(node: Build, complete: dict) -> None:
    paced(complete, 185.0)
    findings = judged(node(complete, model={"weight_bytes": 4.2e9}))
    assert {item.status.value for item in findings.values()} == {"pass"}


def test_roofline_of_a_shared_server_is_not_tested(node: Build, complete: dict) -> None:
    paced(complete, 0.3 * BOUND)
    complete["load"]["results"][0] |= {"token_ratio": None, "shared": True}
    assert {item.status.value for item in judged(node(complete)).values()} == {"not_tested"}


def test_roofline_without_token_times_is_not_tested(node: Build, complete: dict) -> None:
    (step, *_others) = complete["load"]["results"]
    step["tokens_per_arrival"] = 128.0
    assert "128 tokens arrived at a time" in judged(node(complete))["performance.roofline"].summary
    step |= {"tokens_per_arrival": 1.0, "tpot": None}
    assert {item.status.value for item in judged(node(complete)).values()} == {"not_tested"}


def test_roofline_with_a_high_token_ratio_is_not_tested(node: Build, complete: dict) -> None:
    paced(complete, 0.3 * BOUND)
    complete["load"]["results"][0]["token_ratio"] = 2.4
    assert "other clients" in judged(node(complete))["performance.roofline"].summary


def test_setup_prefers_the_users_options(node: Build, complete: dict) -> None:
    findings = judged(node(complete, model={"weight_bytes": 4.99e9}, memory_bandwidth=180e9, all_reduce_latency=45e-6))
    terms = findings["performance.roofline"].evidence
    assert (terms["W"], terms["BW"], terms["t_AR"]) == (4_990_000_000, 180e9, 45e-6)


def test_roofline_without_weights_names_the_option(node: Build, complete: dict) -> None:
    complete["logs"]["engine"] = {}
    findings = judged(node(complete))
    assert {item.status.value for item in findings.values()} == {"not_tested"}
    assert "validate_model_weight_bytes" in findings["performance.roofline"].summary


def test_setup_latency_with_nvlink(node: Build, complete: dict) -> None:
    complete["gpu"]["ansible_facts"]["gpu"]["topology"]["nvlink"] = True
    assert judged(node(complete))["performance.roofline"].evidence["t_AR"] == 11e-6


def test_setup_cache_per_token_comes_from_the_log(node: Build, complete: dict) -> None:
    complete["logs"]["engine"] |= {"kv_cache_memory": 4_915_200_000, "kv_cache_tokens": 100_000}
    # 49,152 bytes per token on one of four GPUs, 128 + 128 / 2 tokens of context.
    assert judged(node(complete))["performance.roofline"].evidence["KV"] == 4 * 49_152 * 192


def test_expectation_without_load_is_empty(node: Build, complete: dict) -> None:
    complete["load"] = {}
    assert judged(node(complete)) == {}
