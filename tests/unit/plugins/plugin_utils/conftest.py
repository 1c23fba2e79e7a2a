# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of nodes as the modules return them, starting from a healthy node with four GPUs."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts, passed
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import empty_device
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.document import node_document, report_document
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import JudgingOptions, NodeFacts
from ansible_collections.multigpu.vllm.tests.support import links
from ansible_collections.multigpu.vllm.tests.support.links import HEALTHY, UNMEASURED

GIB = 2**30
Results = dict[str, dict[str, t.Any]]


def device(index: int, *, used: float = 18.2, total: float = 20.0) -> dict[str, t.Any]:
    return {
        **empty_device(index),
        "name": "NVIDIA RTX 4000 Ada Generation",
        "memory_total": int(total * GIB),
        "memory_used": int(used * GIB),
        "memory_free": int((total - used) * GIB),
        "utilization_gpu": 0,
        "temperature": 41,
        "temperature_limits": {"slowdown": 98, "gpu_max": 95, "margin": None, "margin_slowdown": None},
        "pcie": {"generation": 1, "generation_max": 4, "width": 16, "width_max": 16, "replay_counter": 0},
        "throttle_reasons": ["gpu_idle"],
    }


def sample(time: float, utilisation: list[float | None], *, used: float = 18.2) -> dict[str, t.Any]:
    return {
        "time": time,
        "gpus": [
            {
                "index": index,
                "utilization_gpu": value,
                "utilization_memory": value,
                "memory_used": int(used * GIB),
                "power_draw": 110.0,
                "temperature": 62,
                "clocks": {"sm": 2100, "memory": 9001},
                "pcie": {"generation": 4, "width": 16},
                "throttle_reasons": [],
            }
            for index, value in enumerate(utilisation)
        ],
    }


def step(name: str, prompt: int, concurrency: int, throughput: float, started: float, ended: float) -> dict[str, t.Any]:
    latency = {"mean": 0.05, "p50": 0.045, "p95": 0.061, "p99": 0.07}
    return {
        "name": name,
        "prompt_tokens": prompt,
        "output_tokens": 128,
        "concurrency": concurrency,
        "requests": {"completed": 3, "failed": 0},
        "failures": {},
        "started": started,
        "ended": ended,
        "duration": ended - started,
        "output_throughput": throughput,
        "request_throughput": throughput / 128,
        "ttft": latency,
        "itl": {key: value / 5 for key, value in latency.items()},
        "tpot": {key: value / 5 for key, value in latency.items()},
        "e2e": {key: value * 30 for key, value in latency.items()},
        "token_ratio": 1.0,
        "void": False,
        "skipped": None,
    }


def healthy_results() -> Results:
    return {
        "gpu": {
            "ansible_facts": {
                "gpu": {
                    "count": 4,
                    "expected_count": 4,
                    "expected_source": "instance_type",
                    "driver_version": "580.95.05",
                    "cuda_version": "13.0",
                    "backend": "nvml",
                    "devices": [device(index) for index in range(4)],
                    "topology": {
                        "matrix": [["X" if row == column else "PHB" for column in range(4)] for row in range(4)],
                        "nvlink": False,
                    },
                }
            },
            "findings": as_dicts(
                [
                    passed("hardware.gpu_count", "4 of 4 GPUs", expected=4, measured=4, unit="GPUs"),
                    passed("hardware.driver", "driver 580.95.05, CUDA 13.0", measured="580.95.05"),
                    passed("hardware.topology", "4 GPUs, connected by PHB", measured="PHB"),
                    passed("hardware.ecc", "no uncorrectable memory error", expected=0, measured=0),
                ]
            ),
        },
        "tensor_parallel": {
            "tensor_parallel_size": 4,
            "pipeline_parallel_size": 1,
            "data_parallel_size": 1,
            "world_size": 4,
            "vllm_version": "0.32.0",
            "signals": [{"name": "system_fingerprint", "value": 4, "source": "vllm-0.32.0-tp4-76d34e85"}],
            "model": {"id": "Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", "max_model_len": 8192},
            "arguments": {"tensor_parallel_size": 4, "gpu_memory_utilization": 0.92},
            "environment": {"NCCL_DEBUG": "INFO"},
            "findings": as_dicts(
                [
                    passed("tensor_parallel.size", "TP 4 on 4 GPUs", expected=4, measured=4, unit="GPUs"),
                    passed("tensor_parallel.ranks", "4 ranks, each on its own GPU"),
                    passed("tensor_parallel.model_fit", "40 heads / 4"),
                ]
            ),
        },
        "load": {
            "results": [
                step("prompt-128", 128, 1, 104.2, 0.0, 4.0),
                step("prompt-1024", 1024, 1, 99.0, 4.5, 9.0),
                step("sustained", 128, 8, 612.4, 10.0, 30.0),
            ],
            "gpu_samples": {
                "samples": [sample(time / 2, [92.0, 91.0, 93.0, 90.0]) for time in range(60)],
                "sample_rate": 2.0,
            },
            "server": {"version": "0.32.0", "model": "Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", "max_model_len": 8192},
            "origin": 1795452301.0,
            "findings": as_dicts(
                [
                    passed("performance.throughput", "all 3 steps completed", measured=612.4, unit="tok/s"),
                    passed("performance.ttft", "p95 61 ms", measured=0.061, unit="s"),
                    passed("performance.itl", "p95 12 ms", measured=0.012, unit="s"),
                    passed("performance.client_limited", "the load client used 12 % of a core"),
                    passed("performance.token_reconciliation", "client and server agree", expected=1.0, measured=1.0),
                ]
            ),
        },
        "logs": {
            "engine": {"vllm_version": "0.32.0", "kv_cache_tokens": 120000},
            "nccl_version": "2.27.5",
            "transports": {"transport_shm": 24},
            "healthy": True,
            "bytes_scanned": 20480,
            "findings": as_dicts(
                [
                    passed("nccl.errors", "no error in 20 KiB of logs"),
                    passed("memory.oom", "nothing ran out of memory"),
                    passed("hardware.xid", "no Xid in the kernel log"),
                ]
            ),
        },
    }


@pytest.fixture
def results() -> Results:
    """Return new registered results of a healthy node."""
    return healthy_results()


@pytest.fixture
def node() -> Callable[..., NodeFacts]:
    """Return a function ``node(results, **options)`` that builds the facts that the rules read."""

    def build(results: Results, **options: t.Any) -> NodeFacts:
        return NodeFacts.from_results("node-01", results, options=JudgingOptions(**options))

    return build


RUN = {
    "time": "2026-11-23T17:00:00+00:00",
    "begin": "2026-11-23T16:55:00+00:00",
    "partial": [],
    "collection_version": "0.1.0",
    "ansible_version": "2.19.4",
    "check_mode": False,
    "options": {"fail_on": "fail"},
}


def judged_node(name: str, results: Results, **options: t.Any) -> dict[str, t.Any]:
    """Return the entry of a node in the report."""
    facts = NodeFacts.from_results(name, results, options=JudgingOptions(**options))
    return node_document(facts, judge(facts))


def idle_gpus() -> Results:
    """Return the results of a node on which vLLM uses one of four GPUs."""
    results = healthy_results()
    for entry in results["gpu"]["ansible_facts"]["gpu"]["devices"][1:]:
        entry["memory_used"] = int(0.2 * GIB)
    for reading in results["load"]["gpu_samples"]["samples"]:
        for gpu in reading["gpus"][1:]:
            gpu.update(utilization_gpu=0, memory_used=int(0.2 * GIB))
    results["tensor_parallel"]["tensor_parallel_size"] = 1
    return results


def socket_transport() -> Results:
    """Return the results of a node on which NCCL uses TCP between the GPUs."""
    results = healthy_results()
    results["logs"]["transports"] = {"transport_net_socket": 24}
    return results


def lost_halfway() -> Results:
    """Return the results of a node that became unreachable after its GPUs were read."""
    lost = {"unreachable": True, "msg": "Failed to connect to the host via ssh: connect to host gpu-7: timed out"}
    return {"gpu": healthy_results()["gpu"], "tensor_parallel": lost, "load": {"skipped": True}, "logs": {}}


def crashed_probe() -> Results:
    """Return the results of a node on which the load failed."""
    return {**healthy_results(), "load": {"failed": True, "msg": "Traceback: boom"}}


def group_hosts() -> dict[str, dict[str, t.Any] | None]:
    """Return the report entries of a group of three nodes, of which gpu-03 has a slow network and one did not run."""
    slow = HEALTHY | {"goodput": 20e6, "goodput_parallel": 24.2e6}
    silent = UNMEASURED | {"reason": "silent", "error": "timed out", "peer": "gpu-04"}
    names = ("gpu-01", "gpu-02", "gpu-03")
    return {
        own: judged_node(
            own,
            healthy_results()
            | {
                "links": links.result(
                    *((slow if "gpu-03" in (own, peer) else HEALTHY) | {"peer": peer} for peer in names if peer != own),
                    silent,
                )
            },
        )
        for own in names
    }


@pytest.fixture
def fleet_hosts() -> dict[str, dict[str, t.Any] | None]:
    """Return the report entries of every kind of node."""
    return {
        "healthy": judged_node("healthy", healthy_results(), expected_throughput=110.0, hourly_price=3.0),
        "idle-gpus": judged_node("idle-gpus", idle_gpus(), instance_type="g2-gpu-rtx4000a4-m"),
        "socket": judged_node("socket", socket_transport(), expected_throughput=300.0),
        "lost": judged_node("lost", lost_halfway()),
        "crashed": judged_node("crashed", crashed_probe()),
        "silent": None,
    }


@pytest.fixture
def fleet(fleet_hosts: dict[str, dict[str, t.Any] | None]) -> dict[str, t.Any]:
    """Return the report document of ``fleet_hosts``."""
    return report_document(fleet_hosts, run=RUN)
