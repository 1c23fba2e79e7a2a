# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the rules that compare all nodes of a run."""

from __future__ import annotations

import copy
import random
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import fleet

Node = dict[str, t.Any]

STEPS: t.Final = (("prompt-128", 128, 1, 100.0), ("prompt-1024", 1024, 1, 90.0), ("sustained", 128, 8, 600.0))


def node(*factors: float, roofline: str = "pass", **vllm: t.Any) -> Node:
    """Return the report entry of a node; ``factors`` are its speeds relative to ``STEPS``."""
    return {
        "errors": [],
        "reachable": True,
        "facts": {
            "gpus": {"names": {"RTX 4000 Ada": 4}, "count": 4},
            "vllm": {
                "tensor_parallel_size": 4,
                "pipeline_parallel_size": 1,
                "data_parallel_size": 1,
                "model": "m",
                "version": "0.32.0",
                **vllm,
            },
        },
        "load": [
            {
                "name": name,
                "prompt_tokens": prompt,
                "output_tokens": 64,
                "concurrency": streams,
                "output_throughput": speed * factor,
                "void": False,
                "shared": False,
                "skipped": None,
            }
            for (name, prompt, streams, speed), factor in zip(STEPS, factors or (1, 1, 1), strict=True)
        ],
        "sections": [
            {
                "area": "performance",
                "selected": True,
                "findings": [
                    {"check": "performance.roofline", "status": roofline, "evidence": {"attained_percent": 92.0}}
                ],
            }
        ],
    }


def noisy(size: int, noise: float, seed: int, slow: float = 0.0) -> dict[str, Node]:
    """Return ``size`` equal nodes with ``noise``; node-3 is slower by the part ``slow``."""
    draw = random.Random(seed)
    factors = {name: 1 - slow if name == "node-3" else 1.0 for name in (f"node-{index}" for index in range(size))}
    return {name: node(*(factor * draw.gauss(1, noise) for _step in STEPS)) for name, factor in factors.items()}


def of(findings: list[Finding], check: str) -> list[Finding]:
    return [item for item in findings if item.check == check]


def test_outliers_finds_one_slow_node_of_eight() -> None:
    for seed in range(50):
        (finding,) = fleet.outliers(noisy(8, noise=0.01, seed=seed, slow=0.12))
        assert finding.status.value == "fail"
        assert list(finding.evidence["slow"]) == ["node-3"]
    assert finding.summary.startswith("slower than their peers: node-3 by 1")


def test_outliers_ignores_steps_of_a_shared_server() -> None:
    nodes = noisy(8, noise=0.01, seed=1, slow=0.5)
    for step in nodes["node-3"]["load"]:
        step["shared"] = True
    assert fleet.slow_nodes(nodes) == {}
    assert fleet.missing(nodes).status.value == "pass"


@pytest.mark.parametrize("size", [5, 8, 20])
def test_slow_nodes_of_equal_fleets_have_few_false_alarms(size: int) -> None:
    alarms = sum(bool(fleet.slow_nodes(noisy(size, noise=0.03, seed=seed))) for seed in range(200))
    assert alarms / 200 < 0.01


@pytest.mark.parametrize(
    ("rooflines", "status", "excerpt"),
    [
        (["pass", "pass", "pass"], "pass", "3 nodes are as fast as their hardware allows"),
        (["pass", "warn", "pass"], "warn", "1 node is slower than its hardware allows: node-1"),
        (["pass", "warn", "fail"], "fail", "1 node is slower than its hardware allows: node-2"),
        (["pass", "not_tested", "pass"], "not_tested", "speed to expect of node-1 is unknown"),
    ],
)
def test_outliers_of_three_nodes_uses_the_roofline(rooflines: list[str], status: str, excerpt: str) -> None:
    nodes = {f"node-{index}": node(1, 1, 1, roofline=verdict) for index, verdict in enumerate(rooflines)}
    # Even a large difference does not count: three nodes are too few to know which one is right.
    nodes["node-0"] = node(0.5, 0.5, 0.5)
    (finding,) = fleet.outliers(nodes)
    assert finding.status.value == status
    assert "outlier detection needs 5 comparable nodes" in finding.source
    assert excerpt in finding.summary


def test_slow_nodes_includes_a_single_slow_step() -> None:
    nodes = noisy(8, noise=0.01, seed=1)
    nodes["node-5"]["load"][1]["output_throughput"] *= 0.75
    assert list(fleet.slow_nodes(nodes)["node-5"]) == ["prompt-1024 (1024+64 tokens, 1 streams)"]


def test_slow_nodes_ignores_a_faster_node() -> None:
    nodes = noisy(8, noise=0.01, seed=1)
    nodes["node-5"] = node(1.5, 1.5, 1.5)
    assert fleet.slow_nodes(nodes) == {}


@pytest.mark.parametrize(
    "vllm",
    [{"tensor_parallel_size": 2}, {"model": "other"}, {"version": "0.27.0"}, {"data_parallel_size": 2}],
)
def test_outliers_groups_nodes_by_setup(vllm: dict) -> None:
    nodes = noisy(6, noise=0.01, seed=1) | {"other": node(0.5, 0.5, 0.5, **vllm)}
    assert {item.status.value for item in fleet.outliers(nodes)} == {"pass"}
    assert len(fleet.outliers(nodes)) == 2


def test_outliers_groups_nodes_by_gpu() -> None:
    other = node(0.5, 0.5, 0.5)
    other["facts"]["gpus"] = {"names": {"Quadro RTX 6000": 4}, "count": 4}
    assert len(fleet.outliers(noisy(6, noise=0.01, seed=1) | {"other": other})) == 2


def test_slow_nodes_ignores_void_steps() -> None:
    nodes = noisy(6, noise=0.01, seed=1)
    nodes["node-2"]["load"][0] |= {"output_throughput": 20.0, "void": True}
    assert fleet.slow_nodes(nodes) == {}


@pytest.mark.parametrize(("count", "excerpt"), [(1, "nothing to compare"), (0, "no node has a speed")])
def test_outliers_without_peers_is_not_tested(count: int, excerpt: str) -> None:
    (finding,) = fleet.outliers({f"node-{index}": node() for index in range(count)})
    assert finding.status.value == "not_tested"
    assert excerpt in finding.summary


def test_missing_fails_if_one_node_lacks_a_step() -> None:
    nodes = noisy(4, noise=0.01, seed=1)
    del nodes["node-1"]["load"][1]
    finding = fleet.missing(nodes)
    assert (finding.status.value, finding.measured, finding.expected) == ("fail", 3, 4)
    assert finding.evidence == {"node-1": ["no speed for prompt-1024 (1024+64 tokens, 1 streams)"]}


def test_missing_ignores_a_step_that_few_nodes_have() -> None:
    nodes = noisy(4, noise=0.01, seed=1)
    for name in ("node-0", "node-1", "node-2"):
        del nodes[name]["load"][1]
    assert fleet.missing(nodes).status.value == "pass"


def test_missing_ignores_nodes_without_performance_section() -> None:
    nodes = noisy(3, noise=0.01, seed=1)
    nodes["node-1"]["load"] = []
    nodes["node-1"]["sections"][0]["selected"] = False
    assert fleet.missing(nodes).status.value == "pass"


@pytest.mark.parametrize(
    "damage", [{"reachable": False}, {"errors": [{"module": "throughput_probe", "reason": "throughput_probe failed"}]}]
)
def test_missing_includes_lost_nodes_and_failed_modules(damage: dict) -> None:
    nodes = noisy(3, noise=0.01, seed=1)
    nodes["node-1"] |= {**copy.deepcopy(damage), "load": []}
    finding = fleet.missing(nodes)
    assert finding.summary == "1 of 3 nodes has incomplete results: node-1"
    assert finding.status.value == "fail"


def test_evaluate_returns_missing_and_outliers() -> None:
    findings = fleet.evaluate(noisy(8, noise=0.01, seed=3))
    assert [(item.check, item.status.value) for item in findings] == [
        ("fleet.missing", "pass"),
        ("fleet.outlier", "pass"),
    ]
    assert "4 x RTX 4000 Ada" not in findings[0].summary
    assert of(findings, "fleet.outlier")[0].evidence["group"] == "4 x RTX 4000 Ada, TP 4, m, vLLM 0.32.0"


@pytest.mark.parametrize("speed", [-600.0, 0.0, None])
def test_speeds_omit_steps_without_a_positive_speed(speed: float | None) -> None:
    slow = node()
    slow["load"][2]["output_throughput"] = speed
    assert len(fleet.speeds(slow)) == 2


@pytest.mark.parametrize(("throughput", "status"), [("fail", "fail"), ("not_tested", "pass")])
def test_missing_lists_a_node_without_peers_whose_server_does_not_answer(throughput: str, status: str) -> None:
    """A load test that was not requested, as in check mode, leaves no result missing."""
    dead = node()
    dead["load"], dead["facts"]["gpus"] = [], {"names": {"RTX 4000 Ada": 2}, "count": 2}
    dead["sections"][0]["findings"].append({"check": "performance.throughput", "status": throughput})
    finding = fleet.missing(noisy(4, noise=0.01, seed=1) | {"oom": dead})
    assert finding.status.value == status
    assert list(finding.evidence) == (["oom"] if status == "fail" else [])


def test_outliers_of_small_groups_are_one_finding() -> None:
    nodes = {"a": node(), "b": node(tensor_parallel_size=2), "c": node(model="other", roofline="fail")}
    (finding,) = fleet.outliers(nodes)
    assert finding.summary == "1 node is slower than its hardware allows: c"
    assert [group["nodes"] for group in finding.evidence["groups"]] == [["a"], ["b"], ["c"]]
