# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the aggregation of GPU samples."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import gpus
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

GIB = 2**30
Build = Callable[..., NodeFacts]


def at(time: float, *values: float | None) -> dict:
    return {"time": time, "gpus": [{"index": i, "utilization_gpu": value} for i, value in enumerate(values)]}


def test_means_ignore_null_readings() -> None:
    assert gpus.means([at(0, 50, None), at(1, 70, None)], "utilization_gpu") == {0: 60.0}


def test_buckets_are_means_of_windows() -> None:
    samples = [at(0.0, 10), at(0.5, 20), at(1.0, 90)]
    assert gpus.buckets(samples, "utilization_gpu", 1.0) == [(0.0, {0: 15.0}), (1.0, {0: 90.0})]


def test_only_keeps_the_selected_gpus() -> None:
    assert gpus.only([at(0, 1, 2, 3)], [0, 2])[0]["gpus"] == [
        {"index": 0, "utilization_gpu": 1},
        {"index": 2, "utilization_gpu": 3},
    ]


@pytest.mark.parametrize(
    ("used", "holding"),
    [
        ({0: 18 * GIB, 1: 18 * GIB}, [0, 1]),
        ({0: 18 * GIB, 1: 0.4 * GIB}, [0]),
        ({0: 18 * GIB, 1: 9 * GIB}, [0, 1]),
        ({0: 0.4 * GIB, 1: 0.4 * GIB}, []),
        ({}, []),
    ],
)
def test_holders_exclude_gpus_with_only_a_context(used: dict[int, float], holding: list[int]) -> None:
    assert gpus.holders(used) == holding


@pytest.mark.parametrize(("indices", "text"), [([3], "GPU 3"), ([1, 2], "GPUs 1, 2")])
def test_gpu_list(indices: list[int], text: str) -> None:
    assert gpus.gpu_list(indices) == text


def test_not_whole_gpus_leave_memory_speed_and_utilisation_untested(node: Build, results: dict) -> None:
    """The driver reports memory and bandwidth of the whole GPU, and no utilisation."""
    results["gpu"]["ansible_facts"]["gpu"]["devices"][1]["mig_mode"] = "enabled"
    sections = {section.area: section.findings for section in judge(node(results))}
    checks = ("memory.idle_gpu", "memory.balance", "memory.headroom", "performance.roofline", "performance.scaling")
    areas = ("memory", "performance", "utilisation")
    found = {item.check: item.summary for area in areas for item in sections[area] if item.status == "not_tested"}
    for check in (*checks, "utilisation.active", "utilisation.synchronised"):
        assert found[check].startswith("MIG mode divides GPU 1")


@pytest.mark.parametrize(
    ("names", "others"),
    [
        (["VLLM::Worker_TP0", "python3 embed.py"], ["python3 embed.py"]),
        (["python3 train.py"], []),
    ],
    ids=["beside vLLM", "vLLM not recognised"],
)
def test_other_processes_need_a_recognised_vllm_process(node, results, names: list[str], others: list[str]) -> None:
    device = results["gpu"]["ansible_facts"]["gpu"]["devices"][0]
    device["processes"] = [{"pid": 100, "name": name, "memory_used": 4 * GIB} for name in names]
    assert [entry["name"] for _index, entry in gpus.other_processes(node(results))] == others
