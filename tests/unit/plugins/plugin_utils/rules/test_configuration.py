# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the rules about arguments and environment of the running server."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import configuration
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.tests.support.peer_data import hanging

Build = Callable[..., NodeFacts]


def judged(node: NodeFacts) -> dict[str, list[Status]]:
    statuses: dict[str, list[Status]] = {}
    for item in configuration.evaluate(node):
        if item.check != "configuration.profile":
            statuses.setdefault(item.check.partition(".")[2], []).append(item.status)
    return statuses


def test_configuration_of_a_clean_server_passes(node: Build, results: dict) -> None:
    assert judged(node(results)) == {"arguments": [Status.PASS], "environment": [Status.PASS]}


def test_configuration_of_another_engine_is_not_tested(node: Build, results: dict) -> None:
    results["load"]["server"] = {"engine": "SGLang", "version": None, "model": "m"}
    results["tensor_parallel"]["arguments"] = None
    results["logs"]["engine"] |= {"arguments": {"swap_space": 4}}
    facts = node(results)
    assert (facts.other_engine, facts.engine, facts.arguments) == ("SGLang", {}, None)
    answers = {item.check: (item.status, item.summary) for item in configuration.evaluate(facts)}
    assert len(answers) == 3
    assert set(answers.values()) == {(Status.NOT_TESTED, "the server is SGLang, not vLLM")}


def test_arguments_that_were_removed_fail(node: Build, results: dict) -> None:
    results["tensor_parallel"]["arguments"]["swap_space"] = 4
    assert judged(node(results))["arguments"] == [Status.FAIL]


def test_environment_with_both_paths_disabled_is_one_failure(node: Build, results: dict) -> None:
    results["tensor_parallel"]["environment"] = {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}
    wrong = [item for item in configuration.evaluate(node(results)) if item.status in (Status.WARN, Status.FAIL)]
    assert [(item.check, item.status) for item in wrong] == [("configuration.environment", Status.FAIL)]
    results["logs"]["engine"]["all_reduce_backends"] = ["CUSTOM", "PYNCCL"]
    assert judged(node(results))["environment"] == [Status.WARN]


def test_environment_with_one_path_disabled_warns(node: Build, results: dict) -> None:
    results["tensor_parallel"]["environment"] = {"NCCL_P2P_DISABLE": "1"}
    assert judged(node(results))["environment"] == [Status.WARN]


NO_PEERS = {"matrix": [["X", "PHB"], ["PHB", "X"]], "p2p": [["X", "NS"], ["NS", "X"]]}
PEERS = {"matrix": [["X", "PHB"], ["PHB", "X"]], "p2p": [["X", "OK"], ["OK", "X"]]}


@pytest.mark.parametrize(
    ("topology", "measured", "proof"),
    [
        (NO_PEERS, None, "The driver denies peer access"),
        (PEERS, {"default": 9e9, "p2p_off": 14e9}, "14.0 GB/s through host memory, 9.0 GB/s"),
        (PEERS, {"default": None, "p2p_off": 14e9}, "fails with peer access and works without"),
        (PEERS, {"default": 21e9, "p2p_off": 14e9}, None),
        (PEERS, None, None),
    ],
)
def test_environment_accepts_a_disabled_path_with_proof(
    node: Build, results: dict, topology: dict, measured: dict | None, proof: str | None
) -> None:
    results["tensor_parallel"].update(tensor_parallel_size=2, environment={"NCCL_P2P_DISABLE": "1"})
    results["gpu"]["ansible_facts"]["gpu"]["topology"] = topology
    if measured:
        results["nccl_bandwidth"] = {"bandwidth": measured, "findings": []}
    (finding,) = answers(node(results), "environment")
    assert finding.status is (Status.PASS if proof else Status.WARN)
    assert (proof or "") in str(finding.evidence.get("needed_here", ""))


def test_environment_accepts_a_disabled_path_if_the_data_between_gpus_was_wrong(node: Build, results: dict) -> None:
    results["tensor_parallel"].update(tensor_parallel_size=2, environment={"NCCL_P2P_DISABLE": "1"})
    results["gpu"]["ansible_facts"]["gpu"]["topology"] = PEERS
    results["peer_data"] = hanging(stored=True)
    (finding,) = answers(node(results), "environment")
    assert finding.status is Status.PASS
    assert "GPU 1 to GPU 0" in finding.evidence["needed_here"]["NCCL_P2P_DISABLE"]


def test_environment_with_both_paths_disabled_fails_despite_proof(node: Build, results: dict) -> None:
    results["tensor_parallel"]["environment"] = {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}
    results["gpu"]["ansible_facts"]["gpu"]["topology"] = NO_PEERS
    assert judged(node(results))["environment"] == [Status.FAIL]


def test_configuration_without_process_reads_the_log(node: Build, results: dict) -> None:
    results["tensor_parallel"] = {"failed": True, "msg": "boom"}
    results["logs"]["engine"] = {"vllm_version": "0.32.0", "arguments": {"kv_cache_dtype": "fp8_e4m3fn"}}
    assert judged(node(results)) == {"arguments": [Status.FAIL], "environment": [Status.NOT_TESTED]}


def test_configuration_that_is_unreadable_is_not_tested(node: Build, results: dict) -> None:
    results["tensor_parallel"].update(arguments=None, environment=None)
    assert judged(node(results)) == {"arguments": [Status.NOT_TESTED], "environment": [Status.NOT_TESTED]}


def test_environment_that_is_empty_passes(node: Build, results: dict) -> None:
    results["tensor_parallel"]["environment"] = {}
    assert judged(node(results))["environment"] == [Status.PASS]


def test_configuration_without_server_and_log_is_empty(node: Build, results: dict) -> None:
    results["tensor_parallel"] = results["logs"] = {}
    assert configuration.evaluate(node(results)) == []


def answers(node: NodeFacts, check: str) -> list:
    return [item for item in configuration.evaluate(node) if item.check == f"configuration.{check}"]


def test_arguments_that_are_redundant_pass(node: Build, results: dict) -> None:
    results["tensor_parallel"]["arguments"] |= {"enable_chunked_prefill": True, "disable_custom_all_reduce": True}
    (finding,) = answers(node(results), "arguments")
    assert finding.status is Status.PASS
    assert len(finding.evidence["redundant"]) == 2


def test_combination_belongs_to_the_check_of_its_name(node: Build, results: dict) -> None:
    results["tensor_parallel"]["arguments"] = {"nnodes": 2}
    results["tensor_parallel"]["environment"] = {"NCCL_IB_DISABLE": "1"}
    assert judged(node(results)) == {"arguments": [Status.PASS], "environment": [Status.WARN]}


def test_environment_with_a_variable_unknown_to_the_version_warns(node: Build, results: dict) -> None:
    results["tensor_parallel"]["environment"] = {"VLLM_LOGING_LEVEL": "DEBUG", "VLLM_LOGGING_LEVEL": "DEBUG"}
    (finding,) = answers(node(results), "environment")
    assert (finding.status, finding.measured) == (Status.WARN, "VLLM_LOGING_LEVEL=DEBUG")
    assert finding.cause == "vLLM ignores the variable."
    assert finding.remedy == "Did you mean VLLM_LOGGING_LEVEL?"


def test_arguments_with_prefix_caching_and_seed_warn(node: Build, results: dict) -> None:
    assert judged(node(results, fixed_seed=True))["arguments"] == [Status.PASS, Status.WARN]
    results["tensor_parallel"]["arguments"]["enable_prefix_caching"] = False
    assert judged(node(results, fixed_seed=True))["arguments"] == [Status.PASS]


def test_prefix_caching_of_old_versions_is_off_by_default(node: Build, results: dict) -> None:
    results["tensor_parallel"]["vllm_version"] = "0.7.3"
    assert judged(node(results, fixed_seed=True))["arguments"] == [Status.PASS]
    results["tensor_parallel"]["arguments"]["enable_prefix_caching"] = True
    assert judged(node(results, fixed_seed=True))["arguments"] == [Status.PASS, Status.WARN]


def test_environment_of_a_container_with_small_shm_warns(node: Build, results: dict) -> None:
    results["tensor_parallel"]["container"] = {"ipc_mode": "private", "shm_size": 64 * 2**20}
    assert judged(node(results))["environment"] == [Status.PASS, Status.WARN]
    results["tensor_parallel"]["container"]["ipc_mode"] = "host"
    assert judged(node(results))["environment"] == [Status.PASS]
