# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of a group of nodes: with the logs and processes of two real nodes, and with their faults."""

from __future__ import annotations

import copy
import json
import pathlib
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status
from ansible_collections.multigpu.vllm.plugins.module_utils.logs import log_scan
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.document import node_document, report_document
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import group
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import JudgingOptions, NodeFacts
from ansible_collections.multigpu.vllm.tests.support.emulated_node import EmulatedNode, Scenario, WithoutGrep
from ansible_collections.multigpu.vllm.tests.support.recorded import FIXTURES

Results = dict[str, dict[str, t.Any]]

HOSTS = ["gpu1", "gpu2"]
ADDRESSES = {"gpu1": "10.0.0.11", "gpu2": "10.0.0.12"}
RECORDED = {"gpu1": ("head", "head-ready"), "gpu2": ("worker", "worker-ready")}


def recorded(host: str, log: str | None = None) -> Results:
    """Return what the modules return on one of two nodes of vLLM 0.32 without GPUs."""
    processes, ready = RECORDED[host]
    text = (FIXTURES / "group" / f"{log or ready}.log").read_text()
    return {
        "tensor_parallel": json.loads((FIXTURES / "group" / f"{processes}.json").read_text()),
        "logs": log_scan.run({"text": text}, WithoutGrep()),
    }


def document(host: str, results: Results, **changes: t.Any) -> dict[str, t.Any]:
    options = {"name": "llm", "rank": HOSTS.index(host), "hosts": HOSTS, "addresses": ADDRESSES, **changes}
    node = NodeFacts.from_results(host, results, options=JudgingOptions(group=options))
    return node_document(node, judge(node))


def checks(results: dict[str, Results], **changes: t.Any) -> dict[str, Finding]:
    nodes = {host: document(host, item, **changes) for host, item in results.items()}
    return {item.check: item for item in group.evaluate(HOSTS, nodes)}


@pytest.fixture
def both() -> dict[str, Results]:
    return {host: copy.deepcopy(recorded(host)) for host in HOSTS}


def test_recorded_nodes_pass_with_the_map_of_their_ranks(both: dict[str, Results]) -> None:
    found = checks(both)
    assert {item.status for item in found.values()} == {Status.PASS}
    assert found["group.ranks"].summary == "2 ranks on 2 nodes (gpu1: 0, gpu2: 1)"
    assert found["group.ranks"].evidence["ranks"] == {
        "gpu1": [{"rank": 0, "gpu": 0}],
        "gpu2": [{"rank": 1, "gpu": 0}],
    }
    assert found["group.versions"].summary.startswith("vLLM 0.32.0 on all members; unknown: ")
    assert found["group.addresses"].summary == "all members use the private network (gpu1 10.0.0.11, gpu2 10.0.0.12)"


def recorded_with_ray() -> dict[str, Results]:
    """Return what the modules return on the two nodes if Ray 2.60 connects them: its processes have no ranks."""
    results = {host: recorded(host, f"ray-{RECORDED[host][1]}") for host in HOSTS}
    for host, workers in (("gpu1", []), ("gpu2", None)):
        results[host]["tensor_parallel"] |= {"workers": workers, "connections": None}
        results[host]["tensor_parallel"]["arguments"] |= {"distributed_executor_backend": "ray"}
    results["gpu2"]["tensor_parallel"]["vllm_version"] = None
    return results


def test_recorded_nodes_with_ray_have_the_map_of_their_ranks() -> None:
    found = checks(recorded_with_ray())
    assert {check: item.status for check, item in found.items()} == {
        "group.ranks": Status.PASS,
        # Ray's own log on a worker shows neither, and vLLM on the CPU logs no address.
        "group.versions": Status.NOT_TESTED,
        "group.addresses": Status.NOT_TESTED,
    }
    assert found["group.ranks"].summary == "2 ranks on 2 nodes (gpu1: 0, gpu2: 1)"


def test_nodes_with_ray_whose_log_is_missing_are_not_tested() -> None:
    results = recorded_with_ray()
    results["gpu1"]["logs"] = results["gpu2"]["logs"]
    assert checks(results)["group.ranks"].status is Status.NOT_TESTED


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("NCCL INFO Bootstrap : Using eth1:{}<0>", Status.PASS),
        ("NCCL INFO Bootstrap : Using eth0:192.0.2.12<0>", Status.FAIL),
        ("[W socket.cpp] Using the loopback address as fallback.", Status.FAIL),
    ],
)
def test_addresses_in_the_lines_that_ray_forwards_are_those_of_their_node(lines: str, status: Status) -> None:
    text = (
        f"(RayWorkerProc pid=7) gpu1:7:7 [0] NCCL INFO Bootstrap : Using eth1:{ADDRESSES['gpu1']}<0>\n"
        f"(RayWorkerProc pid=8, ip={ADDRESSES['gpu2']}) gpu2:8:8 [0] {lines.format(ADDRESSES['gpu2'])}\n"
    )
    results = recorded_with_ray()
    results["gpu1"]["logs"] = log_scan.run({"text": text}, WithoutGrep())
    finding = checks(results)["group.addresses"]
    assert finding.status is status
    assert status is Status.PASS or ("gpu2" in finding.summary and "gpu1" not in finding.summary)


def test_recorded_killed_worker_leaves_its_rank_on_no_member(both: dict[str, Results]) -> None:
    both["gpu2"] = recorded("gpu2", "worker-killed")
    both["gpu2"]["tensor_parallel"]["workers"] = None
    finding = checks(both)["group.ranks"]
    assert (finding.status, finding.remedy) == (Status.FAIL, FAULTS["group_ranks_missing"].remedy)
    assert finding.summary == "1 of 2 ranks run on no member (1); none runs on gpu2"


def test_two_members_with_the_same_rank_fail(both: dict[str, Results]) -> None:
    both["gpu2"]["tensor_parallel"]["workers"][0]["ranks"] = {"PP": 0}
    finding = checks(both)["group.ranks"]
    assert (finding.status, finding.summary) == (Status.FAIL, "rank 0 runs more than once: gpu1, gpu2")


def test_members_with_different_versions_fail_and_name_them(both: dict[str, Results]) -> None:
    both["gpu2"]["tensor_parallel"]["vllm_version"] = "0.31.0"
    both["gpu1"]["tensor_parallel"]["arguments"]["revision"] = "main"
    both["gpu2"]["tensor_parallel"]["arguments"]["revision"] = "v2"
    finding = checks(both)["group.versions"]
    assert finding.status is Status.FAIL
    assert finding.summary == (
        "the members differ: vLLM 0.32.0 on gpu1, 0.31.0 on gpu2; model revision main on gpu1, v2 on gpu2"
    )


def test_revision_is_that_of_the_snapshot_in_the_cache_of_the_hub(both: dict[str, Results]) -> None:
    for host, digit in zip(HOSTS, "ab", strict=True):
        fit = both[host]["tensor_parallel"]["findings"][2]
        fit["evidence"]["read_from"] = f"/cache/hub/models--m/snapshots/{40 * digit}/config.json"
    assert "model revision aaaaaaaaaaaa on gpu1, bbbbbbbbbbbb on gpu2" in checks(both)["group.versions"].summary


@pytest.mark.parametrize(("used", "fault"), [("192.0.2.12", "group_other_network"), ("127.0.0.1", "group_loopback")])
def test_another_address_than_the_private_one_fails(both: dict[str, Results], used: str, fault: str) -> None:
    both["gpu2"]["logs"]["engine"]["nccl_sockets"] = [f"eth0:{used}", "eth1:10.0.0.12"]
    finding = checks(both)["group.addresses"]
    assert finding.summary == f"gpu2 uses eth0:{used} instead of 10.0.0.12"
    assert (finding.status, finding.cause) == (Status.FAIL, FAULTS[fault].cause)


def test_connections_over_the_public_network_fail_without_any_log(both: dict[str, Results]) -> None:
    ends = [("192.0.2.11", "192.0.2.12"), ("192.0.2.12", "192.0.2.11")]
    for host, (local, remote) in zip(HOSTS, ends, strict=True):
        both[host]["tensor_parallel"]["connections"].append({"local": local, "remote": remote})
    assert checks(both)["group.addresses"].summary == (
        "gpu1 uses 192.0.2.11 instead of 10.0.0.11; gpu2 uses 192.0.2.12 instead of 10.0.0.12"
    )


def test_connections_of_workers_to_other_hosts_do_not_count(both: dict[str, Results]) -> None:
    both["gpu2"]["tensor_parallel"]["connections"].append({"local": "192.0.2.12", "remote": "198.51.100.7"})
    assert checks(both)["group.addresses"].status is Status.PASS


def test_gloo_on_the_loopback_address_fails(both: dict[str, Results]) -> None:
    both["gpu2"]["logs"]["engine"]["gloo_loopback"] = True
    finding = checks(both)["group.addresses"]
    assert (finding.status, finding.remedy) == (Status.FAIL, FAULTS["gloo_loopback"].remedy)


def test_unknown_addresses_are_not_tested(both: dict[str, Results]) -> None:
    both["gpu2"]["tensor_parallel"]["connections"] = None
    finding = checks(both)["group.addresses"]
    assert (finding.status, "NCCL_DEBUG=INFO" in finding.summary) == (Status.NOT_TESTED, True)
    unset = checks(both, addresses={**ADDRESSES, "gpu2": ""})["group.addresses"]
    assert unset.summary == "vllm_private_address is not set for gpu2"


def test_member_that_is_not_part_of_the_run_is_not_tested(both: dict[str, Results]) -> None:
    found = group.evaluate(HOSTS, {"gpu1": document("gpu1", both["gpu1"])})
    assert {(item.status, item.summary) for item in found} == {(Status.NOT_TESTED, "not part of this run: gpu2")}


def test_emulated_group_is_one_entry_whose_verdict_is_the_worst_of_its_members(tmp_path: pathlib.Path) -> None:
    results = {
        host: EmulatedNode(tmp_path / host, Scenario.load(name)).results()
        for host, name in zip(HOSTS, ("group-head", "group-worker-public"), strict=True)
    }
    head = {**results["gpu1"]["load"], "origin": 1000.0}
    results["gpu2"]["load"] = {
        "samples": results["gpu1"]["load"]["gpu_samples"]["samples"],
        "origin": 1000.0,
        "error": None,
    }
    nodes = {host: document(host, item, load=head) for host, item in results.items()}
    assert [node["status"] for node in nodes.values()] == ["pass", "pass"]
    by_area = {section["area"]: section for section in nodes["gpu2"]["sections"]}
    assert by_area["utilisation"]["status"] == "pass"
    assert by_area["performance"]["findings"][0]["summary"] == "measured on gpu1, which serves the API of the group"
    report = report_document(nodes, run={"time": "2026-03-01T12:00:00+00:00"})
    entry = report["groups"]["llm"]
    assert (entry["status"], entry["hosts"], report["summary"]["status"]) == ("fail", HOSTS, "fail")
    assert entry["headline"] == "gpu2 uses eth0:192.0.2.12 instead of 10.0.0.12"


def test_member_has_a_verdict_if_the_head_does_not_respond(both: dict[str, Results]) -> None:
    sampled = {"samples": [], "origin": 1000.0, "error": None}
    member = document("gpu2", {**both["gpu2"], "load": sampled}, load={"results": [], "origin": None, "findings": []})
    summaries = [finding["summary"] for section in member["sections"] for finding in section["findings"]]
    assert any("no load on the head of the group: the server does not respond" in text for text in summaries)


def test_member_without_a_gpu_is_not_tested_under_load(both: dict[str, Results]) -> None:
    sampled = {"samples": [], "origin": None, "error": "no NVIDIA driver"}
    load = {"results": [], "origin": 1000.0, "findings": []}
    member = document("gpu2", {**both["gpu2"], "load": sampled}, load=load)
    found = [finding for section in member["sections"] for finding in section["findings"]]
    assert [finding["check"] for finding in found if finding["status"] == "fail"] == []
    active = next(finding for finding in found if finding["check"] == "utilisation.active")
    assert (active["status"], active["summary"]) == ("not_tested", "no NVIDIA driver")


def test_emulated_slow_network_is_not_blamed_on_the_gpus(tmp_path: pathlib.Path) -> None:
    head = document("gpu1", EmulatedNode(tmp_path, Scenario.load("group-head-slow")).results())
    wrong = {
        finding["check"]
        for section in head["sections"]
        for finding in section["findings"]
        if finding["status"] == "fail"
    }
    assert wrong == {"performance.roofline", "performance.scaling"}
    assert [item["id"] for item in head["diagnoses"]] == ["performance.unexplained"]
