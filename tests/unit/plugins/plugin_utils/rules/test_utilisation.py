# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the rules about activity and synchronisation of the GPUs under load."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import utilisation
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.tests.support.recorded import trace

GIB = 2**30
Build = Callable[..., NodeFacts]


def busy(results: dict, *pattern: tuple[float | None, ...], used: tuple[float, ...] = (18, 18, 18, 18)) -> None:
    """Set samples that repeat ``pattern``, a sequence of utilisations by GPU."""
    for number, sample in enumerate(results["load"]["gpu_samples"]["samples"]):
        for gpu, value, gib in zip(sample["gpus"], pattern[number % len(pattern)], used, strict=True):
            gpu.update(utilization_gpu=value, memory_used=int(gib * GIB))


def judged(node: NodeFacts) -> dict[str, Status]:
    return {item.check.partition(".")[2]: item.status for item in utilisation.evaluate(node)}


@pytest.mark.parametrize(
    ("pattern", "active", "synchronised"),
    [
        (((92, 91, 93, 90),), "pass", "pass"),
        (((92, 0, 0, 0),), "fail", "fail"),
        (((92, 91, 93, 5),), "fail", "fail"),
        (((95, 60, 95, 95), (60, 95, 95, 95)), "pass", "fail"),
        (((95, 80, 95, 95), (80, 95, 95, 95)), "pass", "pass"),
        (((40, 40, 40, 40), (90, 90, 90, 90)), "pass", "pass"),
    ],
)
def test_utilisation_of_a_group_of_four(
    node: Build, results: dict, pattern: tuple, active: str, synchronised: str
) -> None:
    busy(results, *pattern)
    assert judged(node(results)) == {"active": Status(active), "synchronised": Status(synchronised)}


def test_active_ignores_gpus_outside_the_group(node: Build, results: dict) -> None:
    results["tensor_parallel"]["tensor_parallel_size"] = 2
    busy(results, (92, 91, 0, 0), used=(18, 18, 0.3, 0.3))
    findings = utilisation.evaluate(node(results))
    assert [item.status for item in findings] == [Status.PASS, Status.PASS]
    assert findings[0].summary == "all 2 GPUs of the server are active (the node has 4)"


@pytest.mark.parametrize(
    ("tensor", "pattern", "status"),
    [
        # One stream keeps one replica busy. The others are idle, but do not wait for it.
        (1, ((95, 0, 0, 0), (95, 95, 95, 95)), "not_tested"),
        (2, ((95, 94, 0, 0), (95, 94, 93, 95)), "pass"),
        (2, ((95, 94, 0, 0), (95, 94, 93, 5)), "fail"),
    ],
)
def test_synchronised_judges_each_replica_separately(
    node: Build, results: dict, tensor: int, pattern: tuple, status: str
) -> None:
    results["tensor_parallel"].update(tensor_parallel_size=tensor, data_parallel_size=4 // tensor)
    busy(results, *pattern)
    assert judged(node(results))["synchronised"] == Status(status)


def test_utilisation_ignores_the_gpus_of_a_second_server(node: Build, results: dict) -> None:
    results["tensor_parallel"]["tensor_parallel_size"] = 2
    busy(results, (0, 0, 92, 91))
    assert judged(node(results)) == {"active": Status.PASS, "synchronised": Status.PASS}


def test_active_reads_the_gpus_of_the_servers_processes(node: Build, results: dict) -> None:
    """The GPUs of the second server are busier, and one GPU of the first is idle."""
    results["tensor_parallel"].update(tensor_parallel_size=2, gpus=[0, 1])
    busy(results, (60, 0, 92, 91))
    active, _synchronised = utilisation.evaluate(node(results))
    assert (active.status, active.summary) == (Status.FAIL, "GPU 1 idle while the server is under load")
    results["tensor_parallel"]["gpus"] = [0]
    assert utilisation.evaluate(node(results))[0].status is Status.PASS, "too few to know which GPUs the server needs"


def test_synchronised_with_one_gpu_is_not_tested(node: Build, results: dict) -> None:
    results["tensor_parallel"]["tensor_parallel_size"] = 1
    busy(results, (92, 0, 0, 0), used=(18, 0.3, 0.3, 0.3))
    assert judged(node(results)) == {"active": Status.PASS, "synchronised": Status.NOT_TESTED}


def test_active_without_group_size_includes_every_gpu(node: Build, results: dict) -> None:
    results["tensor_parallel"] = {}
    busy(results, (92, 0, 0, 0), used=(18, 0.3, 0.3, 0.3))
    assert judged(node(results))["active"] is Status.FAIL


def test_members_without_memory_readings_are_the_busiest(node: Build, results: dict) -> None:
    results["tensor_parallel"]["tensor_parallel_size"] = 1
    busy(results, (0, 92, 0, 0), used=(0, 0, 0, 0))
    assert utilisation.members(node(results), {0: 0.0, 1: 92.0, 2: 0.0, 3: 0.0}) == [1]


def test_utilisation_without_samples_has_the_reason(node: Build, results: dict) -> None:
    results["load"].update(gpu_samples=None, gpu_samples_reason="no NVIDIA driver")
    findings = utilisation.evaluate(node(results))
    assert [(item.status, item.summary) for item in findings] == [(Status.NOT_TESTED, "no NVIDIA driver")] * 2


def test_utilisation_without_readings_is_not_tested(node: Build, results: dict) -> None:
    busy(results, (92, 91, 93, None))
    assert judged(node(results))["synchronised"] is Status.PASS
    busy(results, (None, None, None, None))
    assert judged(node(results)) == {"active": Status.NOT_TESTED, "synchronised": Status.NOT_TESTED}


# --- real loads on two GPUs -------------------------------------------------------------------------------------------

#: Statuses of active and synchronised, and a part of the text, by load.
REAL = {
    "decode": ("pass", "pass", ""),
    "prefill": ("pass", "pass", ""),
    "one_gpu": ("fail", "fail", "GPU 1 idle"),
    "straggler": ("pass", "fail", "GPU 1 needs longer for its share"),
    "host_gaps": ("warn", "pass", "wait for the host between steps"),
    "slow_host": ("pass", "fail", "GPU 1 gets it late from its process on the host, and GPU 0 waits"),
    "small_kernels": ("pass", "fail", "so short that the GPUs wait for the host and each other"),
}
CASES = [(gpu, load, *expected) for gpu in ("h100x2", "h200x2") for load, expected in REAL.items()]
CASES += [("h200x2", "neighbour", "pass", "fail", "GPU 1 needs longer for its share")]


def of_two(results: dict, samples: list) -> None:
    results["tensor_parallel"]["tensor_parallel_size"] = 2
    results["load"].update(gpu_samples={"samples": samples}, results=[])


@pytest.mark.parametrize(("gpu", "load", "active", "synchronised", "excerpt"), CASES)
def test_utilisation_of_recorded_loads(
    node: Build, results: dict, gpu: str, load: str, active: str, synchronised: str, excerpt: str
) -> None:
    of_two(results, trace(gpu, load))
    findings = utilisation.evaluate(node(results))
    assert [item.status for item in findings] == [Status(active), Status(synchronised)]
    assert excerpt in " ".join(f"{item.summary} {item.cause}" for item in findings if item.status is not Status.PASS)


def test_synchronised_stages_are_not_compared(node: Build, results: dict) -> None:
    of_two(results, trace("h200x2", "straggler"))
    results["tensor_parallel"].update(tensor_parallel_size=1, pipeline_parallel_size=2)
    assert judged(node(results)) == {"active": Status.PASS, "synchronised": Status.NOT_TESTED}


@pytest.mark.parametrize("source", ["arguments", "configuration"])
def test_synchronised_expert_parallel_work_may_differ(node: Build, results: dict, source: str) -> None:
    of_two(results, trace("h200x2", "straggler"))
    assert judged(node(results))["synchronised"] is Status.FAIL
    results["tensor_parallel"][source] = {"enable_expert_parallel": True}
    assert judged(node(results))["synchronised"] is Status.PASS


def test_synchronised_without_memory_activity_finds_no_straggler(node: Build, results: dict) -> None:
    samples = trace("h200x2", "straggler")
    for sample in samples:
        sample["gpus"][0]["utilization_memory"] = None
    of_two(results, samples)
    assert judged(node(results))["synchronised"] is Status.PASS


@pytest.mark.parametrize(
    ("values", "size", "expected", "summary"),
    [
        ([92, 91, 93, 90], 4, 4, "All 4 GPUs active (tensor parallelism working)"),
        ([92, 91, 93, 90], 2, 4, "All 4 GPUs active (TP 2)"),
        ([92, 91, 93, 90], None, 4, "All 4 GPUs active (TP size unknown)"),
        ([92, 1, 0, 2], 4, 4, "1 of 4 GPUs active: GPUs 1, 2, 3 idle"),
        ([92, 91, 2, None], 2, 4, "2 of 4 GPUs active: GPU 2 idle, 1 without readings"),
        ([92, 91, 93, 90], 4, 8, "4 of 8 GPUs active: 4 missing"),
        ([None] * 4, 4, 4, "GPU activity not tested"),
    ],
)
def test_activity_claims_tensor_parallelism_only_if_all_gpus_share_the_model(
    node, results, values: list, size: int | None, expected: int, summary: str
) -> None:
    busy(results, tuple(values))
    results["tensor_parallel"]["tensor_parallel_size"] = size
    results["gpu"]["ansible_facts"]["gpu"]["expected_count"] = expected
    assert utilisation.activity(node(results))["summary"] == summary
