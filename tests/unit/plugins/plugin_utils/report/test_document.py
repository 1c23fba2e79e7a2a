# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the result document: its contents and its JSON Schema."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils import finding
from ansible_collections.multigpu.vllm.plugins.module_utils.peer import run
from ansible_collections.multigpu.vllm.plugins.module_utils.peer.run import without_test
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.document import (
    SCHEMA_VERSION,
    exceeds,
    headline,
    node_document,
    report_document,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import Section, judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.tests.support.peer_data import hanging, healthy
from ansible_collections.multigpu.vllm.tests.unit.plugins.plugin_utils.conftest import (
    group_hosts,
    idle_gpus,
    judged_node,
)

SCHEMA = json.loads((Path(__file__).parents[5] / "docs/report.schema.json").read_text(encoding="utf-8"))
RUN = {
    "time": "2026-11-23T17:00:00+00:00",
    "begin": "2026-11-23T16:55:00+00:00",
    "partial": [],
    "collection_version": "0.1.0",
    "ansible_version": "2.19.4",
    "check_mode": False,
    "options": {},
}


def test_schema_is_valid_and_has_this_version() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema_version"]["const"] == SCHEMA_VERSION


def test_document_with_every_kind_of_node_matches_schema(fleet: dict) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(fleet)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda report: report.pop("run"),
        lambda report: report["hosts"]["healthy"].update(status="fine"),
        lambda report: report["hosts"]["idle-gpus"]["sections"][2]["findings"][0].update(cause=None),
        lambda report: report["hosts"]["healthy"]["load"][0].update(ttft="fast"),
        lambda report: report["hosts"]["healthy"].update(extra=1),
    ],
)
def test_schema_rejects_damaged_document(fleet: dict, damage: object) -> None:
    report = copy.deepcopy(fleet)
    damage(report)  # type: ignore[operator]
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(report)


def test_document_status_of_nodes_and_run(fleet: dict) -> None:
    assert {name: node["status"] for name, node in fleet["hosts"].items()} == {
        "healthy": "pass",
        "idle-gpus": "fail",
        "socket": "fail",
        "lost": "fail",
        "crashed": "fail",
        "silent": "fail",
    }
    assert fleet["summary"]["status"] == "fail"
    assert fleet["summary"]["hosts"] == {"pass": 1, "warn": 0, "fail": 5, "not_tested": 0}


def test_document_void_steps_give_no_throughput_or_token_price(results: dict, node: Callable[..., NodeFacts]) -> None:
    for step in results["load"]["results"]:
        step["void"] = True
    facts = node_document(node(results, hourly_price=3.0), [])["facts"]
    assert facts["output_throughput"] is None
    assert facts["cost"]["per_million_output_tokens"] is None


def test_document_cost_of_nodes_and_fleet(fleet: dict) -> None:
    costs = {name: node["facts"]["cost"] for name, node in fleet["hosts"].items()}
    assert costs["idle-gpus"]["idle_hourly"] == pytest.approx(3.57 * 3 / 4)
    assert costs["healthy"]["per_million_output_tokens"] == pytest.approx(3.0 / (612.4 * 3600) * 1e6)
    assert costs["silent"] is None
    assert fleet["summary"]["cost"]["nodes"] == 2
    assert fleet["summary"]["cost"]["hourly_price"] == pytest.approx(6.57)


def priced(results: dict, **facts: object) -> dict[str, float]:
    """Return the wasted dollars per hour, by reason, of a node with four GPUs for 4 USD per hour."""
    results["gpu"]["ansible_facts"]["gpu"].update(facts)
    node = judged_node("node", results, hourly_price=4.0)
    return {reason: round(amount, 2) for reason, amount in node["facts"]["cost"]["wasted"].items() if amount}


def test_document_missing_and_idle_gpus_cost_what_the_plan_costs() -> None:
    results = idle_gpus()
    results["gpu"]["ansible_facts"]["gpu"]["devices"].pop()
    for sample in results["load"]["gpu_samples"]["samples"]:
        sample["gpus"].pop()
    assert priced(results, count=3) == {"missing": 1.0, "idle": 2.0}


def test_document_server_that_does_not_answer_wastes_the_whole_price(results: dict) -> None:
    refused = finding.failed("performance.throughput", "refused", measured="connection_refused", cause="c", remedy="r")
    results["load"] = {"results": [], "findings": [refused.as_dict()]}
    assert priced(results) == {"dead": 4.0}


def test_document_unreadable_gpus_are_not_counted_as_missing(results: dict) -> None:
    assert priced(results, count=None, devices=[]) == {}


def test_headline_names_the_worst_problem(fleet: dict) -> None:
    headlines = {name: node["headline"] for name, node in fleet["hosts"].items()}
    assert headlines["healthy"] == ""
    assert headlines["idle-gpus"] == "vLLM uses 1 of 4 GPUs"
    assert headlines["socket"] == "The GPUs of this node talk over TCP sockets"
    assert headlines["lost"].startswith("connection lost: connect to host gpu-7")
    assert headlines["crashed"] == "throughput_probe failed: Traceback: boom"
    assert headlines["silent"].startswith("no result")


def test_headline_counts_causes_and_unexplained_findings(fleet: dict) -> None:
    item = finding.failed("memory.oom", "GPU out of memory", cause="c", remedy="r")
    node = NodeFacts.from_results("n", {})
    diagnosis = Diagnosis(id="a.b", title="T", cause="c", confidence="high", remedy="r", findings=("nccl.errors",))
    other = finding.failed("nccl.errors", "Worker hangs", cause="c", remedy="r")
    sections = [Section("memory", (item,)), Section("nccl", (other,))]
    assert headline(node, sections, [diagnosis]) == "T (+1 more)"
    assert headline(node, sections) == "GPU out of memory (+1 more)"
    assert headline(node, sections[1:], [diagnosis]) == "T"


def test_document_lost_node_keeps_earlier_measurements(fleet: dict) -> None:
    lost = fleet["hosts"]["lost"]
    assert not lost["reachable"]
    assert lost["facts"]["gpus"]["count"] == 4
    assert lost["sections"][0]["status"] == "pass"
    assert lost["sections"][4]["status"] == "not_tested"
    assert lost["errors"] == [{"module": "vllm_tp_check", "reason": lost["headline"]}]


def test_fleet_missing_finding_names_incomplete_nodes(fleet: dict) -> None:
    finding = fleet["fleet"]["findings"][0]
    assert (finding["check"], finding["status"]) == ("fleet.missing", "fail")
    assert finding["summary"] == "3 of 6 nodes have incomplete results: lost, crashed, silent"
    assert (finding["measured"], finding["expected"]) == (3, 6)


def test_fleet_outlier_findings_compare_similar_nodes(fleet: dict) -> None:
    (judged,) = [item for item in fleet["fleet"]["findings"] if item["check"] == "fleet.outlier"]
    assert [group["nodes"] for group in judged["evidence"]["groups"]] == [["healthy", "socket"], ["idle-gpus"]]


def test_document_single_node_decides_run_status(fleet: dict) -> None:
    alone = report_document({"healthy": fleet["hosts"]["healthy"]}, run=RUN)
    assert alone["summary"]["status"] == "pass"
    assert alone["fleet"]["findings"][1]["status"] == "not_tested"


def test_fleet_missing_finding_passes_if_complete(fleet_hosts: dict) -> None:
    report = report_document({"healthy": fleet_hosts["healthy"]}, run=RUN)
    assert report["summary"]["status"] == "pass"
    assert report["fleet"]["findings"][0]["status"] == "pass"


def test_document_figures_of_a_node(fleet: dict) -> None:
    node = fleet["hosts"]["healthy"]
    assert node["facts"]["gpus"]["names"] == {"NVIDIA RTX 4000 Ada Generation": 4}
    assert node["facts"]["vllm"]["tensor_parallel_size"] == 4
    assert node["facts"]["output_throughput"] == 612.4
    assert [step["name"] for step in node["load"]] == ["prompt-128", "prompt-1024", "sustained"]
    assert node["utilisation"]["gpus"] == [0, 1, 2, 3]
    assert node["utilisation"]["mean"] == [92.0, 91.0, 93.0, 90.0]
    assert node["utilisation"]["rows"][0]["time"] == 0
    assert [entry["index"] for entry in node["memory"]] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("status", "fail_on", "result"),
    [
        ("fail", "fail", True),
        ("warn", "fail", False),
        ("warn", "warn", True),
        ("not_tested", "warn", False),
        ("pass", "warn", False),
        ("fail", "never", False),
    ],
)
def test_exceeds_by_status_and_fail_on(status: str, fail_on: str, result: bool) -> None:
    assert exceeds(status, fail_on) is result


def test_document_masks_given_secrets(fleet_hosts: dict) -> None:
    fleet_hosts["healthy"]["facts"]["vllm"]["model"] = "model-with-s3cret"
    report = report_document(fleet_hosts, run={**RUN, "options": {"base": "s3cret"}}, secrets=["s3cret"])
    assert "s3cret" not in json.dumps(report)


@pytest.mark.parametrize(
    ("result", "verdicts"),
    [
        (healthy(), [(0, 1, "pass"), (1, 0, "pass")]),
        (hanging(), [(0, 1, "pass"), (1, 0, "hangs")]),
        (without_test("no Docker"), []),
        (run.result_from([], "no GPU access", [0, 1]), []),
    ],
)
def test_document_has_the_tested_pairs(results: dict, result: dict, verdicts: list) -> None:
    node = NodeFacts.from_results("n", {**results, "peer_data": result})
    entry = node_document(node, judge(node))
    peers = entry["facts"]["gpus"]["peers"]
    assert [(pair["from"], pair["to"], pair["verdict"]) for pair in peers] == verdicts
    report = report_document({"n": entry}, run=RUN, secrets=["pass"])
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(report)))
    assert all(pair["bandwidth"] > 300e9 for pair in peers)


def test_document_has_the_links_of_a_group() -> None:
    report = report_document(group_hosts(), run=RUN)
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(report)))
    assert [link["to"] for link in report["hosts"]["gpu-02"]["facts"]["links"]] == ["gpu-01", "gpu-03", "gpu-04"]
    (network,) = report["fleet"]["networks"]
    assert len(network) == 9
    assert network[0] == {
        "from": "gpu-01",
        "to": "gpu-02",
        "status": "pass",
        "goodput": 118.63e6,
        "goodput_parallel": 119.53e6,
    }
