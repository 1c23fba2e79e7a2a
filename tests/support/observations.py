# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the observations of ``vllm_tp_check`` for tests."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.engine_facts import EngineFacts
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import engine_args
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.container import ContainerFacts
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.parallel_signals import Observations, Reading
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.process import ServerProcess, Worker
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.server import ServerFacts

GIB = 1024**3
BASE_URL = "http://127.0.0.1:8000"


def gpu(
    index: int, pids: list[int] | None = None, used: int | None = 18 * GIB, names: str = "python"
) -> dict[str, t.Any]:
    processes = None if pids is None else [{"pid": pid, "name": names, "memory_used": None} for pid in pids]
    return {"index": index, "memory_total": 20 * GIB, "memory_used": used, "processes": processes}


def server(fingerprint: str | None = None, **facts: t.Any) -> Reading[ServerFacts]:
    missing = facts.pop("missing", {} if fingerprint else {"fingerprint": "not requested"})
    return Reading(ServerFacts(BASE_URL, fingerprint=fingerprint, missing=missing, **facts), source=BASE_URL)


def process(
    command: str = "vllm serve m", ranks: int = 0, environment: dict[str, str] | None = None
) -> Reading[ServerProcess]:
    """Return a server with PID 10 and one worker per rank with PIDs 100, 101, ..."""
    size = (engine_args.parse(command.split()) or {}).get("tensor_parallel_size")
    workers = tuple(
        Worker(100 + rank, "VLLM::Worker", {"TP": rank % size} if isinstance(size, int) else {})
        for rank in range(ranks)
    )
    pids = frozenset([10, *(worker.pid for worker in workers)])
    return Reading(ServerProcess(10, tuple(command.split()), environment, pids, workers, "--port"), source="process 10")


def observations(**readings: t.Any) -> Observations:
    """Return observations with ``readings``; every other reading has a reason instead of a value."""
    names = ("server", "engine", "process", "container", "gpus", "shape")
    empty = {name: Reading(reason=f"no {name}") for name in names}
    return Observations(**{**empty, **readings})


def engine(**facts: t.Any) -> Reading[EngineFacts]:
    return Reading(EngineFacts(**facts), source="vllm.log")


def gpus(*devices: dict[str, t.Any]) -> Reading[list[dict[str, t.Any]]]:
    return Reading(list(devices), source="NVIDIA driver")


def shape(heads: int | None, kv_heads: int | None = None) -> Reading[ModelShape]:
    return Reading(ModelShape(heads, kv_heads), source="/models/m/config.json")


def running_container(command: str, environment: dict[str, str] | None = None) -> Reading[ContainerFacts]:
    facts = ContainerFacts("vllm", tuple(command.split()), environment or {}, pid=10)
    return Reading(facts, source="container vllm")
