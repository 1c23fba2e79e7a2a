# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work and step of the GPUs under load."""

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
    """Samples that repeat ``pattern``, one tuple of utilisations after another."""
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
def test_a_group_of_four(node: Build, results: dict, pattern: tuple, active: str, synchronised: str) -> None:
    busy(results, *pattern)
    assert judged(node(results)) == {"active": Status(active), "synchronised": Status(synchronised)}


def test_only_members_of_the_group_have_to_work(node: Build, results: dict) -> None:
    results["tensor_parallel"]["tensor_parallel_size"] = 2
    busy(results, (92, 91, 0, 0), used=(18, 18, 0.3, 0.3))
    findings = utilisation.evaluate(node(results))
    assert [item.status for item in findings] == [Status.PASS, Status.PASS]
    assert findings[0].summary == "all 2 GPUs of the group at work (of 4 on the node)"


@pytest.mark.parametrize(
    ("tensor", "pattern", "status"),
    [
        # One stream keeps one replica busy: the others have nothing to do, and wait for nobody.
        (1, ((95, 0, 0, 0), (95, 95, 95, 95)), "not_tested"),
        (2, ((95, 94, 0, 0), (95, 94, 93, 95)), "pass"),
        (2, ((95, 94, 0, 0), (95, 94, 93, 5)), "fail"),
    ],
)
def test_replicas_keep_no_step_with_each_other(
    node: Build, results: dict, tensor: int, pattern: tuple, status: str
) -> None:
    results["tensor_parallel"].update(tensor_parallel_size=tensor, data_parallel_size=4 // tensor)
    busy(results, *pattern)
    assert judged(node(results))["synchronised"] == Status(status)


def test_the_gpus_of_a_second_server_may_rest(node: Build, results: dict) -> None:
    results["tensor_parallel"]["tensor_parallel_size"] = 2
    busy(results, (0, 0, 92, 91))
    assert judged(node(results)) == {"active": Status.PASS, "synchronised": Status.PASS}


def test_its_own_processes_say_which_gpus_are_the_servers(node: Build, results: dict) -> None:
    """Those of the second server work more, and one of ours does nothing."""
    results["tensor_parallel"].update(tensor_parallel_size=2, gpus=[0, 1])
    busy(results, (60, 0, 92, 91))
    active, _synchronised = utilisation.evaluate(node(results))
    assert (active.status, active.summary) == (Status.FAIL, "GPU 1 idle while the server is under load")
    results["tensor_parallel"]["gpus"] = [0]
    assert utilisation.evaluate(node(results))[0].status is Status.PASS, "too few to say which the server needs"


def test_one_gpu_has_nobody_to_wait_for(node: Build, results: dict) -> None:
    results["tensor_parallel"]["tensor_parallel_size"] = 1
    busy(results, (92, 0, 0, 0), used=(18, 0.3, 0.3, 0.3))
    assert judged(node(results)) == {"active": Status.PASS, "synchronised": Status.NOT_TESTED}


def test_unknown_size_expects_every_gpu(node: Build, results: dict) -> None:
    results["tensor_parallel"] = {}
    busy(results, (92, 0, 0, 0), used=(18, 0.3, 0.3, 0.3))
    assert judged(node(results))["active"] is Status.FAIL


def test_without_memory_readings_the_busiest_are_the_group(node: Build, results: dict) -> None:
    results["tensor_parallel"]["tensor_parallel_size"] = 1
    busy(results, (0, 92, 0, 0), used=(0, 0, 0, 0))
    assert utilisation.members(node(results), {0: 0.0, 1: 92.0, 2: 0.0, 3: 0.0}) == [1]


def test_without_samples_the_probe_says_why(node: Build, results: dict) -> None:
    results["load"].update(gpu_samples=None, gpu_samples_reason="no NVIDIA driver")
    findings = utilisation.evaluate(node(results))
    assert [(item.status, item.summary) for item in findings] == [(Status.NOT_TESTED, "no NVIDIA driver")] * 2


def test_samples_without_readings_are_not_tested(node: Build, results: dict) -> None:
    busy(results, (92, 91, 93, None))
    assert judged(node(results))["synchronised"] is Status.PASS
    busy(results, (None, None, None, None))
    assert judged(node(results)) == {"active": Status.NOT_TESTED, "synchronised": Status.NOT_TESTED}


# --- real loads on two GPUs -------------------------------------------------------------------------------------------

#: Load -> active, synchronised, and words of what is told of the worse of both.
REAL = {
    "decode": ("pass", "pass", ""),
    "prefill": ("pass", "pass", ""),
    "one_gpu": ("fail", "fail", "GPU 1 idle"),
    "straggler": ("pass", "fail", "GPU 1 needs longer for its share"),
    "host_gaps": ("warn", "pass", "wait for the host between steps"),
    "slow_host": ("pass", "fail", "GPU 1 gets it late from its process on the host, and GPU 0 waits"),
    "small_kernels": ("pass", "fail", "so short that the GPUs wait for the host"),
}
CASES = [(gpu, load, *told) for gpu in ("h100x2", "h200x2") for load, told in REAL.items()]
CASES += [("h200x2", "neighbour", "pass", "fail", "GPU 1 needs longer for its share")]


def of_two(results: dict, samples: list) -> None:
    results["tensor_parallel"]["tensor_parallel_size"] = 2
    results["load"].update(gpu_samples={"samples": samples}, results=[])


@pytest.mark.parametrize(("gpu", "load", "active", "synchronised", "words"), CASES)
def test_real_loads(
    node: Build, results: dict, gpu: str, load: str, active: str, synchronised: str, words: str
) -> None:
    of_two(results, trace(gpu, load))
    findings = utilisation.evaluate(node(results))
    assert [item.status for item in findings] == [Status(active), Status(synchronised)]
    assert words in " ".join(f"{item.summary} {item.cause}" for item in findings if item.status is not Status.PASS)


def test_stages_of_a_pipeline_may_need_their_memory_unequally_long(node: Build, results: dict) -> None:
    of_two(results, trace("h200x2", "straggler"))
    results["tensor_parallel"].update(tensor_parallel_size=1, pipeline_parallel_size=2)
    assert judged(node(results)) == {"active": Status.PASS, "synchronised": Status.PASS}


def test_a_straggler_is_not_seen_where_the_driver_does_not_tell_memory_activity(node: Build, results: dict) -> None:
    samples = trace("h200x2", "straggler")
    for sample in samples:
        sample["gpus"][0]["utilization_memory"] = None
    of_two(results, samples)
    assert judged(node(results))["synchronised"] is Status.PASS
