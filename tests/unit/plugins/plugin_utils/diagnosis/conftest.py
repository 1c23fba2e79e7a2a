# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node whose facts a test changes. The modules' own code turns the facts into results.

A situation is described by its facts (GPUs, command line, log lines, times), never by findings.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import health
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import SUBSETS, empty_device
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.facts import without_gpus
from ansible_collections.multigpu.vllm.plugins.module_utils.load import load_findings as load_checks
from ansible_collections.multigpu.vllm.plugins.module_utils.logs import log_scan
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.engine_facts import EngineFacts, engine_facts
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import tp_check
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.liveness import Liveness
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.parallel_signals import Observations, Reading
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.process import ServerProcess, Worker
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.server import ServerFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis import catalogue
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import DiagnosisContext
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import JudgingOptions, NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.expected_speed import Setup, model_bound
from ansible_collections.multigpu.vllm.tests.support import links

GIB = 2**30
#: Qwen2.5-Coder-14B-Instruct-AWQ.
WEIGHTS = 9.98e9
LAYERS = 48
BANDWIDTH = 360_000_000_000


class WithoutGrep(Commands):
    """Commands without grep, because a process for each small log would take most of the time."""

    def which(self, name: str) -> str | None:
        return None


@dataclass
class Situation:
    """Four RTX 4000 Ada with a 14B model, TP 4 and 92 % of the roofline; tests change single fields.

    Values per GPU are lists. ``speed`` is the share of the expected speed that one stream reaches.
    """

    name: str = "NVIDIA RTX 4000 Ada Generation"
    gpus: int = 4
    plan: int | None = 4
    on_bus: int = 4
    path: str = "PHB"
    nvlink: bool = False
    p2p: str = "OK"
    unavailable: str | None = None
    lost: list[int] = field(default_factory=list)
    ecc_errors: int = 0
    other_processes: dict[int, tuple[str, float]] = field(default_factory=dict)
    capability: str = "8.9"

    tp: int = 4
    pp: int = 1
    dp: int = 1
    heads: int = 40
    version: str = "0.32.0"
    arguments: dict[str, t.Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=lambda: {"NCCL_DEBUG": "INFO"})
    workers: int | None = None
    states: dict[int, str] = field(default_factory=dict)
    nccl: dict[int, str] = field(default_factory=dict)
    container: dict[str, t.Any] | None = None

    used: list[float] | None = None
    utilisation: list[float] | None = None
    throttle: dict[int, list[str]] = field(default_factory=dict)
    temperature: dict[int, int] = field(default_factory=dict)
    link: dict[int, tuple[int, int]] = field(default_factory=dict)
    clocks: dict[int, int] = field(default_factory=dict)
    apart: bool = False

    speed: float = 0.92
    expected_throughput: float | None = None
    token_ratio: float = 1.0
    failure: str | None = None
    liveness: Liveness | None = None
    step: dict[str, t.Any] = field(default_factory=dict)
    options: dict[str, t.Any] = field(default_factory=dict)

    peer_data: dict[str, t.Any] | None = None
    output: dict[str, t.Any] | None = None
    links: list[dict[str, t.Any]] | None = None
    transport: str | None = "P2P/CUMEM"
    booted: bool = True
    loaded: bool = True
    kv_tokens: int = 327_424
    log: list[str] = field(default_factory=list)

    # --- results --------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        return self.tp * self.pp * self.dp

    def findings_of(self, rules: t.Sequence[catalogue.Rule] = catalogue.RULES) -> list[Diagnosis]:
        node = self.node()
        return catalogue.diagnose(node, judge(node), rules)

    def ids(self, rules: t.Sequence[catalogue.Rule] = catalogue.RULES) -> set[str]:
        return {item.id for item in self.findings_of(rules)}

    def diagnosis(self, identity: str) -> Diagnosis:
        (diagnosis,) = [item for item in self.findings_of() if item.id == identity]
        return diagnosis

    def context(self) -> DiagnosisContext:
        node = self.node()
        return DiagnosisContext(node, tuple(item for section in judge(node) for item in section.findings))

    def node(self) -> NodeFacts:
        results = {
            "gpu": self._gpu(),
            "tensor_parallel": self._tensor_parallel(),
            "load": self._load(),
            "logs": log_scan.run({"text": "\n".join(self._lines())}, WithoutGrep()),
        }
        link_result = None if self.links is None else links.result(*self.links)
        optional = {"peer_data": self.peer_data, "output": self.output, "links": link_result}
        results |= {name: result for name, result in optional.items() if result is not None}
        options = JudgingOptions(expected_throughput=self.expected_throughput, **self.options)
        return NodeFacts.from_results("node-01", results, options=options)

    # --- GPUs ------------------------------------------------------------------------------------------------------

    def _used(self) -> list[float]:
        """Return the memory in use in GiB by GPU."""
        if self.used is not None:
            return self.used
        running = self.failure is None
        return [18.2 if running and index < self.size else 0.1 for index in range(self.gpus)]

    def _devices(self) -> list[dict[str, t.Any]]:
        return [self._device(index, used) for index, used in enumerate(self._used())]

    def _device(self, index: int, used: float) -> dict[str, t.Any]:
        total = int(20 * GIB)
        guest, taken = self.other_processes.get(index, ("", 0.0))
        own = [{"pid": 100 + index, "name": f"VLLM::Worker_TP{index}", "memory_used": int((used - taken) * GIB)}]
        device = {
            **empty_device(index),
            "uuid": f"GPU-{index}",
            "name": self.name,
            "compute_capability": self.capability,
            "memory_total": total,
            "memory_used": int(used * GIB),
            "memory_free": total - int(used * GIB),
            "memory_bandwidth": BANDWIDTH,
            "utilization_gpu": 0,
            "temperature": 41,
            "temperature_limits": {"slowdown": 95, "gpu_max": 93, "margin": None, "margin_slowdown": None},
            "power_draw": 11.0,
            "power_limit": 130.0,
            "clocks": {"sm": 210, "memory": 405},
            "pcie": {"generation": 1, "generation_max": 4, "width": 16, "width_max": 16, "replay_counter": 0},
            "ecc": {"enabled": True, **dict.fromkeys(("corrected_volatile", "corrected_aggregate"), 0)}
            | dict.fromkeys(("uncorrected_volatile", "uncorrected_aggregate"), self.ecc_errors if not index else 0),
            "remapped_rows": {"correctable": 0, "uncorrectable": 0, "pending": False, "failure": False},
            "throttle_reasons": ["gpu_idle"],
            "processes": [*(own if used > 1 else []), *self._guest(guest, taken)],
        }
        if index in self.lost:
            device |= {**empty_device(index), "error": "GPU is lost"}
        return device

    def _guest(self, name: str, taken: float) -> list[dict[str, t.Any]]:
        return [{"pid": 4242, "name": name, "memory_used": int(taken * GIB)}] if name else []

    def _matrix(self, other: str) -> list[list[str]]:
        return [["X" if row == column else other for column in range(self.gpus)] for row in range(self.gpus)]

    def _gpu(self) -> dict[str, t.Any]:
        expected = health.Expectation(self.plan, "instance_type" if self.plan else None)
        if self.unavailable:
            findings = health.unavailable(GpuUnavailable(self.unavailable), expected, self.on_bus)
            return {"ansible_facts": {"gpu": without_gpus(expected)}, "findings": as_dicts(findings)}
        facts = {
            "count": self.gpus,
            "expected_count": expected.count,
            "expected_source": expected.source,
            "driver_version": "580.95.05",
            "cuda_version": "13.0",
            "backend": "nvml",
            "devices": self._devices(),
            "topology": {"matrix": self._matrix(self.path), "nvlink": self.nvlink, "p2p": self._matrix(self.p2p)},
        }
        findings = health.findings(facts, expected, self.on_bus, SUBSETS)
        return {"ansible_facts": {"gpu": facts}, "findings": as_dicts(findings)}

    # --- server ----------------------------------------------------------------------------------------------------

    def _engine(self) -> EngineFacts:
        return engine_facts(self._lines())

    def _tensor_parallel(self) -> dict[str, t.Any]:
        url = "http://127.0.0.1:8000"
        model = {"id": "Qwen/Qwen2.5-Coder-14B-Instruct-AWQ", "root": "/models/qwen", "max_model_len": 16384}
        sizes = "".join(f"-{name}{size}" for name, size in (("tp", self.tp), ("pp", self.pp), ("dp", self.dp)))
        fingerprint = f"vllm-{self.version}{sizes}-0a1b2c3d"
        if self.failure:
            server = ServerFacts(url, failure=RequestFailed(self.failure))
            gone: Reading[ServerProcess] = Reading(reason="no process listens on port 8000")
            process = Reading(self._process(), source="process 90") if self.states or self.nccl else gone
        else:
            facts = {"models": (model,), "fingerprint": fingerprint, "liveness": self.liveness}
            server = ServerFacts(url, version=self.version, **facts)
            process = Reading(self._process(), source="process 90 (found by listening socket)")
        engine = self._engine()
        seen = Observations(
            server=Reading(server, source=url),
            engine=Reading(engine, source="vllm.log") if engine != EngineFacts() else Reading(reason="no log"),
            process=process,
            container=Reading(reason="container is not given"),
            gpus=Reading(reason="no driver") if self.unavailable else Reading(self._devices(), source="NVIDIA driver"),
            shape=Reading(ModelShape(self.heads, 8, LAYERS), source="/models/qwen/config.json"),
        )
        return {**tp_check.describe(seen), "container": self.container}

    def _process(self) -> ServerProcess:
        options = {"tensor_parallel_size": self.tp, "pipeline_parallel_size": self.pp, "data_parallel_size": self.dp}
        given = {name: size for name, size in options.items() if size != 1} | self.arguments
        argv = ["/opt/vllm/bin/vllm", "serve", "Qwen/Qwen2.5-Coder-14B-Instruct-AWQ"]
        for name, value in given.items():
            argv += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
        count = self.size if self.workers is None else self.workers
        workers = tuple(
            Worker(
                100 + index, f"VLLM::Worker_TP{index}", {"TP": index}, self.states.get(index, "S"), self.nccl.get(index)
            )
            for index in range(count)
        )
        pids = frozenset({90, *(100 + index for index in range(count))})
        return ServerProcess(90, tuple(argv), dict(self.environment), pids, workers, "listening socket")

    # --- load ------------------------------------------------------------------------------------------------------

    @property
    def expected(self) -> float:
        """Expected tokens per second of one stream according to the roofline."""
        setup = Setup(
            gpu_name=self.name,
            tensor_parallel_size=self.tp,
            weight_bytes=WEIGHTS,
            layers=LAYERS,
            bandwidth=BANDWIDTH,
            all_reduce_path="nvlink" if self.nvlink else "pcie",
        )
        return model_bound(setup).tokens_per_second

    def _load(self) -> dict[str, t.Any]:
        if self.failure:
            return {"results": [], "findings": as_dicts(load_checks.unusable(RequestFailed(self.failure)))}
        rate = self.expected * self.speed
        steps = [self._step("prompt-128", 1, rate, 0.0, 5.0), self._step("sustained", 8, 5 * rate, 5.0, 15.0)]
        return {
            "results": steps,
            "gpu_samples": {"samples": [self._sample(number / 2, number) for number in range(30)], "sample_rate": 2.0},
            "server": {"version": self.version},
            "findings": as_dicts(load_checks.judge(steps)),
        }

    def _step(self, name: str, streams: int, rate: float, started: float, ended: float) -> dict[str, t.Any]:
        gap = streams / rate
        latency = {"mean": gap, "p50": gap, "p95": gap, "p99": gap}
        return {
            "name": name,
            "prompt_tokens": 128,
            "output_tokens": 64,
            "concurrency": streams,
            "rate": None,
            "requests": {"completed": 3, "failed": 0},
            "held": None,
            "tokens": 192,
            "failures": {},
            "failure_details": {},
            "started": started,
            "ended": ended,
            "duration": ended - started,
            "output_throughput": rate,
            "steady_throughput": rate,
            "request_throughput": rate / 64,
            **dict.fromkeys(("ttft", "itl", "tpot", "e2e"), latency),
            "token_ratio": self.token_ratio,
            "token_ratio_reason": None,
            "client": {"cpu": 0.05, "lag_p99": 0.001, "limited": False, "reason": None},
            "void": False,
            "skipped": None,
            **self.step,
        }

    def _sample(self, time: float, number: int) -> dict[str, t.Any]:
        shown = self.utilisation or [95.0 if index < self.size else 0.0 for index in range(self.gpus)]
        # The GPUs alternate: the even ones work while the odd ones wait.
        turn = [100.0 if (index + number) % 2 else 10.0 for index in range(self.gpus)]
        return {
            "time": time,
            "gpus": [
                {
                    "index": index,
                    "utilization_gpu": turn[index] if self.apart else shown[index],
                    "utilization_memory": 50.0,
                    "memory_used": int(used * GIB),
                    "power_draw": 100.0,
                    "temperature": self.temperature.get(index, 62),
                    "clocks": {"sm": self.clocks.get(index, 2040), "memory": 9001},
                    "pcie": dict(zip(("generation", "width"), self.link.get(index, (4, 16)), strict=True)),
                    "throttle_reasons": self.throttle.get(index, []),
                }
                for index, used in enumerate(self._used())
                if index not in self.lost
            ],
        }

    # --- log -------------------------------------------------------------------------------------------------------

    def _lines(self) -> list[str]:
        core, worker = "(EngineCore pid=95) INFO 11-23 12:00:00", "(Worker_TP0 pid=100) INFO 11-23 12:00:00"
        if not self.booted:
            return list(self.log)
        lines = [f"(APIServer pid=90) INFO non-default args: {self.arguments}"] if self.arguments else []
        lines += [
            f"{core} [core.py:133] Initializing a V1 LLM engine (v{self.version}) with config: model='/models/qwen', "
            f"max_seq_len=16384, tensor_parallel_size={self.tp}, pipeline_parallel_size={self.pp}, "
            f"data_parallel_size={self.dp}, quantization=awq_marlin, enforce_eager=False, kv_cache_dtype=auto"
        ]
        if self.transport and self.size > 1:
            lines += [f"node:100:100 [0] NCCL INFO Channel 0{n}/0 : 0[0] -> 1[1] via {self.transport}" for n in (0, 1)]
        if self.loaded:
            share = WEIGHTS / self.tp / self.pp / GIB
            lines += [
                f"{worker} [gpu_model_runner.py:4956] Model loading took {share:.4f} GiB memory and 5.1 seconds",
                f"{core} [kv_cache_utils.py:2327] GPU KV cache size: {self.kv_tokens:,} tokens",
            ]
            if not any("memory" in line for line in self.log if self.failure):
                lines += ["INFO:     Application startup complete."]
        return [*lines, *self.log]


@pytest.fixture(scope="session")
def situation() -> Callable[..., Situation]:
    """``situation(tp=1, ...)``: the healthy node with these facts changed."""
    return Situation
