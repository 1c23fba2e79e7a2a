# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the NCCL rules: transport and topology, hangs, bandwidth."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status, failed, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_scan import run as scan
from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.bandwidth import Measured, judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import nccl
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.tests.support.peer_data import hanging
from ansible_collections.multigpu.vllm.tests.support.recorded import FIXTURES

Build = Callable[..., NodeFacts]


def topology(results: dict, link: str | None) -> None:
    matrix = [["X" if row == column else link for column in range(4)] for row in range(4)]
    results["gpu"]["ansible_facts"]["gpu"]["topology"] = {"matrix": matrix}


@pytest.mark.parametrize(
    ("transports", "link", "status"),
    [
        ({"transport_p2p": 24}, "PIX", "pass"),
        ({"transport_p2p": 24}, "PHB", "pass"),
        ({"transport_shm": 24}, "PHB", "pass"),
        ({"transport_shm": 24}, "SYS", "pass"),
        ({"transport_shm": 24}, None, "pass"),
        ({"transport_shm": 24}, "PIX", "warn"),
        ({"transport_shm": 24}, "NV12", "warn"),
        ({"transport_shm": 12, "transport_p2p": 12}, "PIX", "pass"),
        ({"transport_net_socket": 24}, "PHB", "fail"),
        ({"transport_net_socket": 2, "transport_p2p": 22}, "NV4", "fail"),
        ({"transport_net_ib": 4, "transport_p2p": 8}, "NV4", "pass"),
    ],
)
def test_transport_by_topology(node: Build, results: dict, transports: dict, link: str | None, status: str) -> None:
    results["logs"]["transports"] = transports
    topology(results, link)
    judged = [item for item in nccl.evaluate(node(results)) if item.check == "nccl.transport"]
    assert [item.status for item in judged] == [Status(status)]


@pytest.mark.parametrize(
    ("backends", "status"), [(["CUSTOM", "PYNCCL"], "warn"), (["PYNCCL"], "fail"), (["NCCL_SYMM_MEM"], "fail")]
)
def test_transport_over_sockets_is_a_warning_if_vllm_decodes_without_nccl(
    node: Build, results: dict, backends: list[str], status: str
) -> None:
    results["logs"]["transports"] = {"transport_net_socket": 8}
    results["logs"]["engine"]["all_reduce_backends"] = backends
    finding = nccl.transport(node(results))
    assert finding is not None and finding.status is Status(status)
    assert ("CUSTOM" in finding.summary) == (status == "warn")


@pytest.mark.parametrize(
    ("log", "link", "status", "excerpt"),
    [
        ("torch-default", "NV18", "pass", "connected over P2P"),
        ("torch-p2p_off", "NV18", "warn", "host memory although the GPUs support peer-to-peer access"),
        ("torch-p2p_off", "PHB", "pass", "connected over SHM"),
        ("torch-socket", "NV18", "fail", "TCP sockets"),
        ("torch-socket", "SYS", "fail", "TCP sockets"),
    ],
)
def test_transport_of_recorded_logs(node: Build, results: dict, log: str, link: str, status: str, excerpt: str) -> None:
    results["tensor_parallel"]["environment"] = {}
    results["logs"] = scan({"paths": [str(FIXTURES / f"nccl/h200x2/{log}.log")]})
    topology(results, link)
    (judged,) = (item for item in nccl.evaluate(node(results)) if item.check == "nccl.transport")
    assert judged.status is Status(status)
    assert excerpt in judged.summary


@pytest.mark.parametrize(
    ("kind", "answers", "status"),
    [
        ("worker_hang", False, Status.FAIL),
        ("startup_hang", False, Status.FAIL),
        ("worker_hang", True, Status.WARN),
        ("nccl_p2p_unavailable", False, Status.WARN),
    ],
)
def test_hang_warning_fails_if_the_server_does_not_respond(
    node: Build, results: dict, kind: str, answers: bool, status: Status
) -> None:
    hint = warned("nccl.errors", "a worker waits", cause="c", remedy="r").as_dict()
    results["logs"]["findings"] = [{**hint, "class": kind}]
    if not answers:
        slow = failed("performance.throughput", "no request completed", cause="c", remedy="r")
        results["load"].update(results=[], findings=[slow.as_dict()])
    (finding,) = [item for item in nccl.evaluate(node(results)) if item.check == "nccl.errors"]
    assert finding.status is status


def test_transport_without_connections_names_nccl_debug(node: Build, results: dict) -> None:
    results["logs"]["transports"] = {}
    finding = nccl.transport(node(results))
    assert finding is not None
    assert finding.status is Status.NOT_TESTED
    assert "NCCL_DEBUG=INFO" in finding.summary


def test_transport_of_one_gpu_is_not_tested(node: Build, results: dict) -> None:
    results["logs"]["transports"] = {}
    results["tensor_parallel"]["tensor_parallel_size"] = 1
    finding = nccl.transport(node(results))
    assert finding is not None
    assert finding.summary.startswith("only one GPU")


def test_nccl_without_logs_is_empty(node: Build, results: dict) -> None:
    results["logs"] = {}
    assert [item for item in nccl.evaluate(node(results)) if item.check != "nccl.bandwidth"] == []


def test_families_ignores_other_classes() -> None:
    counted = nccl.families({"transport_net_other": 3, "transport_p2p": 2, "ib_absent": 1})
    assert counted == {"p2p": 2}


def test_transport_over_sockets_between_nodes_passes(node: Build, results: dict) -> None:
    results["logs"]["transports"] = {"transport_net_socket": 8, "transport_p2p": 24}
    results["tensor_parallel"]["pipeline_parallel_size"] = 2
    finding = nccl.transport(node(results))
    assert finding is not None
    assert finding.status is Status.PASS
    assert "spans several nodes" in finding.summary
    # A group is not larger than the node if the node lost a GPU.
    results["gpu"]["ansible_facts"]["gpu"]["expected_count"] = 8
    assert nccl.transport(node(results)).status is Status.FAIL


def bandwidth(node: NodeFacts) -> list:
    return [item for item in nccl.evaluate(node) if item.check == "nccl.bandwidth"]


@pytest.mark.parametrize("result", [None, {"skipped": True}])
def test_bandwidth_that_was_not_requested_is_not_tested(node: Build, results: dict, result: dict | None) -> None:
    results["nccl_bandwidth"] = result
    (finding,) = bandwidth(node(results))
    assert finding.status is Status.NOT_TESTED
    assert "validate_nccl_bandwidth" in finding.summary


def test_bandwidth_is_the_modules_finding(node: Build, results: dict) -> None:
    slow = failed("nccl.bandwidth", "all-reduce reaches 3.2 GB/s of 200.0 GB/s expected", cause="c", remedy="r")
    results["nccl_bandwidth"] = {"bandwidth": {"default": 3.2e9}, "findings": [slow.as_dict()]}
    assert bandwidth(node(results)) == [slow]


@pytest.mark.parametrize(
    ("gpu", "cell", "peer", "gpus", "measured", "status", "limit"),
    [
        # NVIDIA's own hosts (aiconfigurator 0.12): healthy, and below the former limit of 15 GB/s.
        ("NVIDIA L40S", "PIX", "OK", 4, 5.9, "pass", 5.8),
        ("NVIDIA L40S", "SYS", "NS", 8, 2.1, "pass", 2.05),
        ("NVIDIA L40S", "PIX", "OK", 2, 20.1, "pass", 19.8),
        ("NVIDIA RTX 4000 Ada Generation", "PIX", "OK", 2, 12.9, "warn", 19.2),
        ("NVIDIA RTX 4000 Ada Generation", "PHB", "OK", 2, 12.9, "pass", 12.9),
        ("NVIDIA RTX 4000 Ada Generation", "PHB", "NS", 4, 2.5, "fail", 5.8),
        # Recorded on two H200 (tests/fixtures/nccl): the default path, and sockets.
        ("NVIDIA H200", "NV18", "OK", 2, 270.2, "pass", 265.5),
        ("NVIDIA H200", "NV18", "OK", 2, 3.17, "fail", 265.5),
    ],
)
def test_bandwidth_without_user_limit_uses_that_of_gpu_count_and_path(
    node: Build, results: dict, gpu: str, cell: str, peer: str, gpus: int, measured: float, status: str, limit: float
) -> None:
    facts = results["gpu"]["ansible_facts"]["gpu"]
    facts["devices"] = [{**facts["devices"][0], "name": gpu, "index": index} for index in range(gpus)]
    matrices = [
        [["X" if row == column else text for column in range(gpus)] for row in range(gpus)] for text in (cell, peer)
    ]
    facts["topology"] = {"matrix": matrices[0], "p2p": matrices[1]}
    results["nccl_bandwidth"] = measured_bandwidth(measured, gpus)
    (finding,) = bandwidth(node(results))
    assert finding.status is Status(status)
    assert finding.expected == pytest.approx(limit * 1e9, rel=0.01)


def measured_bandwidth(gigabytes: float, gpus: int) -> dict:
    """Return the result of ``nccl_bandwidth`` without a limit."""
    finding = judge({"default": Measured(gigabytes * 1e9)}, None, "option")
    return {"bandwidth": {"default": gigabytes * 1e9}, "errors": {}, "gpus": gpus, "findings": [finding.as_dict()]}


def test_bandwidth_of_an_unknown_link_is_not_tested(node: Build, results: dict) -> None:
    for device in results["gpu"]["ansible_facts"]["gpu"]["devices"]:
        device["pcie"]["generation_max"] = None
    results["nccl_bandwidth"] = measured_bandwidth(21.0, 4)
    (finding,) = bandwidth(node(results))
    assert finding.status is Status.NOT_TESTED
    assert "limit is unknown" in finding.summary
    assert finding.measured == 21e9


def test_bandwidth_of_a_failed_module_is_empty(node: Build, results: dict) -> None:
    results["nccl_bandwidth"] = {"failed": True, "msg": "boom"}
    assert bandwidth(node(results)) == []


@pytest.mark.parametrize(
    ("p2p", "measured", "status"),
    [
        ("OK", None, "warn"),
        ("NS", None, "warn"),
        ("OK", {"default": None, "p2p_off": 14e9}, "pass"),
        ("OK", {"default": 9e9, "p2p_off": 14e9}, "pass"),
        ("OK", {"default": 21e9, "p2p_off": 14e9}, "warn"),
    ],
)
def test_transport_over_shm_passes_if_peer_access_is_broken(
    node: Build, results: dict, p2p: str, measured: dict | None, status: str
) -> None:
    results["logs"]["transports"] = {"transport_shm": 24}
    matrix = [["X" if row == column else "PIX" for column in range(4)] for row in range(4)]
    peers = [["X" if row == column else p2p for column in range(4)] for row in range(4)]
    results["gpu"]["ansible_facts"]["gpu"]["topology"] = {"matrix": matrix, "p2p": peers}
    if measured:
        results["nccl_bandwidth"] = {"bandwidth": measured, "findings": []}
    (judged,) = (item for item in nccl.evaluate(node(results)) if item.check == "nccl.transport")
    assert judged.status is Status(status)


def test_transport_over_shm_passes_if_the_data_between_gpus_is_wrong(node: Build, results: dict) -> None:
    results["logs"]["transports"] = {"transport_shm": 24}
    results["peer_data"] = hanging()
    (judged,) = (item for item in nccl.evaluate(node(results)) if item.check == "nccl.transport")
    assert judged.status is Status.PASS


@pytest.mark.parametrize(
    "findings",
    [
        [("warn", "GPUs communicate over TCP sockets")],
        [("pass", "a"), ("warn", "b"), ("pass", "c")],
    ],
)
def test_transport_replaces_the_modules_findings(node: Build, results: dict, findings: list) -> None:
    results["logs"]["transports"] = {"transport_net_socket": 2}
    results["logs"]["findings"] = [
        {"check": "nccl.transport", "status": status, "summary": summary, "cause": "c", "remedy": "r"}
        for status, summary in findings
    ]
    judged = [item for item in nccl.evaluate(node(results)) if item.check == "nccl.transport"]
    assert [item.summary for item in judged] == ["NCCL uses TCP sockets between the GPUs of this node"]
    assert judged[0].status is Status.FAIL
    assert judged[0].cause == FAULTS["transport_net_socket"].cause


def test_transport_without_connections_keeps_the_last_note(node: Build, results: dict) -> None:
    notes = [("pass", "Custom all-reduce is off"), ("pass", "No InfiniBand device"), ("not_tested", "No transport")]
    results["logs"] |= {
        "transports": {},
        "findings": [{"check": "nccl.transport", "status": status, "summary": text} for status, text in notes],
    }
    judged = [item.summary for item in nccl.evaluate(node(results)) if item.check == "nccl.transport"]
    assert judged == ["No InfiniBand device"]
