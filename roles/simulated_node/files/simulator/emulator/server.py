# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the emulated vLLM server."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import pathlib
import signal
import time
import typing as t
import zlib

from . import arguments, processes
from .api import Api, Server
from .boards import Board, Boards
from .engine import Engine, Load
from .http import Connection
from .logs import Log
from .metrics import Metrics
from .requests import Dialect
from .scenario import CUDA_VERSION, GIB, NCCL_VERSION, ROOT, Scenario, load_json
from .speed import Speed
from .state import FILE_NAME, StateFile
from .tokens import Tokenizer

#: Seconds between updates of the GPU state.
TICK: t.Final = 0.04
#: Seconds between vLLM's statistics lines in the log.
STATISTICS: t.Final = 10.0
#: Seconds between two warnings in the log of a hanging engine.
WARNING_INTERVAL: t.Final = 60.0
#: Bytes for the CUDA context, NCCL buffers and CUDA graphs, which gpu_memory_utilization does not include.
CONTEXT_BYTES: t.Final = 450 * 2**20
#: Bytes for the activations of the largest batch.
ACTIVATION_BYTES: t.Final = 700 * 2**20


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory use of each GPU in the tensor-parallel group. All fields are in bytes, except ``kv_tokens``."""

    weights: int
    kv_cache: int
    kv_tokens: int
    total: int

    @classmethod
    def plan(cls, scenario: Scenario, options: argparse.Namespace) -> Memory:
        """Compute how much GPU memory the model weights, the KV cache, and vLLM in total use."""
        ranks = options.tensor_parallel_size
        budget = int(scenario.gpu["memory_total"] * options.gpu_memory_utilization)
        weights = scenario.model.weights // ranks
        kv_cache = max(0, budget - weights - ACTIVATION_BYTES)
        per_token = scenario.model.kv_bytes(ranks) // (2 if options.kv_cache_dtype.startswith("fp8") else 1)
        tokens = kv_cache // per_token // 16 * 16
        return cls(weights, kv_cache, tokens, min(budget + CONTEXT_BYTES, scenario.gpu["memory_total"]))


class Node:
    """Server process of a simulated node, configured by ``settings.json`` in its directory and by the command line."""

    def __init__(self, directory: pathlib.Path, options: argparse.Namespace) -> None:
        settings = json.loads((directory / "settings.json").read_text("utf-8"))
        self.directory = directory
        self.options = options
        self.version: str = settings["vllm_version"]
        self.scenario = Scenario.load(settings["scenario"])
        self.name: str = settings["name"]
        self.model_length = options.max_model_len or self.scenario.model.max_position
        self.served_name = options.served_model_name or options.model
        self.memory = Memory.plan(self.scenario, options)
        self.log = Log(self.version, os.getpid(), os.getpid() + 1, hostname=self.name, age=self.scenario.log_age)
        # Made-up worker pids for the log of a server that exits before it starts any worker process.
        self.log.worker_pids = [self.log.core_pid + 1 + rank for rank in range(options.tensor_parallel_size)]
        self.other_processes: dict[int, int] = {}

    @property
    def fingerprint(self) -> str:
        tp = self.options.tensor_parallel_size
        digest = f"{zlib.crc32(f'{self.version} {tp} {self.options.model}'.encode()):08x}"
        return f"vllm-{self.version}-tp{tp}-{digest}" if tp > 1 else f"vllm-{self.version}-{digest}"

    # ---- boot

    def facts(self) -> dict[str, t.Any]:
        """Return the values that replace placeholders in the templates of the start-up log lines."""
        options, memory = self.options, self.memory
        return {
            "version": self.version,
            "model": options.model,
            "served_model_name": self.served_name,
            "non_default_args": masked(options.non_default),
            "max_model_len": self.model_length,
            "max_model_len_grouped": f"{self.model_length:,}",
            "max_num_batched_tokens": options.max_num_batched_tokens,
            "tensor_parallel_size": options.tensor_parallel_size,
            # vLLM itself disables its custom all-reduce on more than two GPUs without NVLink.
            "disable_custom_all_reduce": options.disable_custom_all_reduce or options.tensor_parallel_size > 2,
            "enforce_eager": options.enforce_eager,
            "kv_cache_dtype": options.kv_cache_dtype,
            "rendezvous": 40000 + self.log.api_pid % 9000,
            "nccl_version": NCCL_VERSION,
            "cuda_version": CUDA_VERSION,
            "transport": self.scenario.interconnect.transport,
            "environment": self.scenario.environment,
            "bus_ids": [f"{16 * (i + 2):x}0" for i in range(self.scenario.gpu_count)],
            "weights_gib": f"{self.scenario.model.weights / GIB:.2f}",
            "loaded_gib": f"{memory.weights / GIB:.2f}",
            "kv_gib": f"{memory.kv_cache / GIB:.2f}",
            "kv_tokens": f"{memory.kv_tokens:,}",
            "kv_concurrency": f"{memory.kv_tokens / self.model_length:.2f}",
            "host": options.host or "0.0.0.0",
            "port": options.port,
            "api_pid": self.log.api_pid,
        }

    def start_processes(self) -> None:
        ranks = self.options.tensor_parallel_size
        self.log.core_pid = processes.start("VLLM::EngineCore")
        # If there is only one rank, it runs inside the engine core, and no worker process is started.
        workers = [processes.start(f"VLLM::Worker_TP{rank}") for rank in range(ranks)] if ranks > 1 else []
        self.log.worker_pids = workers or [self.log.core_pid]
        for index, overrides in self.scenario.gpus.items():
            if "other_process" in overrides:
                self.other_processes[index] = processes.start(overrides["other_process"]["name"])

    def boot(self, until: str | None = None) -> None:
        """Write the start-up lines to the log, followed by the scenario's additional log lines."""
        facts = self.facts()
        template = (ROOT / f"data/versions/boot-{self.version}.log").read_text("utf-8").splitlines()
        self.log.boot(template, facts, until)
        self.log.boot(self.scenario.then, facts)

    def write_rejection(self, reason: str) -> None:
        """Write the log of a server that rejects its configuration."""
        template = (ROOT / f"data/versions/boot-{self.version}.log").read_text("utf-8").splitlines()
        self.log.boot(template, self.facts(), until="configured")
        self.log.write(arguments.traceback(reason))

    def boards(self) -> Boards:
        """Create the simulated GPUs, and write their memory use and processes to the state file."""
        scenario = self.scenario
        file = StateFile(self.directory / "lib" / FILE_NAME)
        boards, changes = [], {}
        for index in range(scenario.gpu_count):
            has_rank = index < self.options.tensor_parallel_size
            holders = [(self.log.worker_pids[index], self.memory.total)] if has_rank else []
            if index in self.other_processes:
                holders.append((self.other_processes[index], scenario.gpus[index]["other_process"]["memory"]))
            used = sum(memory for _unused, memory in holders) + scenario.gpus.get(index, {}).get("extra_memory", 0)
            boards.append(Board(scenario.gpu, has_rank, used, scenario.fault(index)))
            changes[index] = {
                "memory_used": used,
                "process_count": len(holders),
                "process_pid": [pid for pid, _unused in holders],
                "process_memory": [memory for _unused, memory in holders],
            }
        file.update(changes)
        return Boards(boards, file, seed=zlib.crc32(self.name.encode()))

    # ---- serving

    async def hang(self) -> None:
        """Accept connections but never respond, while all ranks wait in an NCCL collective that does not finish."""
        boards = self.boards()
        await asyncio.get_running_loop().create_server(asyncio.Protocol, self.options.host, self.options.port)
        self.boot()
        # A hanging server cannot respond to a health check, so a file marks the server as ready.
        (self.directory / "ready").touch()
        next_warning = time.monotonic() + WARNING_INTERVAL
        while True:
            boards.advance(Load(busy=TICK, waiting=TICK))
            await asyncio.sleep(TICK)
            if time.monotonic() > next_warning:
                next_warning += WARNING_INTERVAL
                self.log.boot(self.scenario.then[-1:], self.facts())

    async def serve(self) -> None:
        """Serve the API until the process receives SIGTERM or SIGINT."""
        options, scenario = self.options, self.scenario
        boards = self.boards()
        families = load_json(f"data/versions/metrics-{self.version}.json")
        metrics = Metrics(families, self.served_name, self._cache_config())
        base = Speed(
            model=scenario.model,
            tensor_parallel=options.tensor_parallel_size,
            bandwidth=scenario.gpu["memory_bandwidth"] * scenario.gpu["bandwidth_efficiency"],
            flops=scenario.gpu["flops"] * scenario.gpu["flops_efficiency"],
            interconnect=scenario.interconnect,
        )
        engine = Engine(
            lambda: dataclasses.replace(base, drag=1 / boards.clock_factor),
            metrics,
            options.max_num_seqs,
            options.max_num_batched_tokens,
            self.memory.kv_tokens,
        )
        server = Server(
            dialect=Dialect(tuple(int(part) for part in self.version.split(".")), self.served_name),
            model_root=str(self.directory / "model"),
            max_model_len=self.model_length,
            version=self.version,
            fingerprint=self.fingerprint,
            api_key=options.api_key or os.environ.get("VLLM_API_KEY"),
            started=int(time.time()),
        )
        api = Api(server, engine, metrics, Tokenizer(scenario.model.vocabulary))
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        listener = await loop.create_server(
            lambda: Connection(api.handle, self.log.access),
            options.host,
            options.port,
            backlog=2048,
            reuse_address=True,
        )
        self.boot()
        tasks = [
            asyncio.create_task(work)
            for work in (engine.run(), _tick(boards, engine), self._statistics(engine, metrics))
        ]

        def stop_on_error(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                stopped.set()

        for task in tasks:
            task.add_done_callback(stop_on_error)
        await stopped.wait()
        self.log.api("INFO", "launcher.py:112", "[shutdown] API server: shutdown triggered")
        listener.close()
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def _cache_config(self) -> dict[str, str]:
        blocks = self.memory.kv_tokens // 16
        return {
            "block_size": "16",
            "cache_dtype": self.options.kv_cache_dtype,
            "effective_attention_block_size": "16",
            "gpu_memory_utilization": str(self.options.gpu_memory_utilization),
            "kv_cache_max_concurrency": f"{self.memory.kv_tokens / self.model_length:.2f}",
            "kv_cache_memory_bytes": str(self.memory.kv_cache),
            "kv_cache_size_tokens": str(self.memory.kv_tokens),
            "num_gpu_blocks": str(blocks),
        }

    async def _statistics(self, engine: Engine, metrics: Metrics) -> None:
        """Log vLLM's statistics every ten seconds while requests are running, and once more after the last request."""
        place = "loggers.py:335" if self.version >= "0.32" else "loggers.py:310"
        names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
        before, quiet = [0.0, 0.0], True
        while True:
            await asyncio.sleep(STATISTICS)
            now = [metrics.values.get((name, ""), 0.0) for name in names]
            prompt, generation = ((new - old) / STATISTICS for new, old in zip(now, before, strict=True))
            before = now
            idle = not (prompt or generation or engine.running)
            if not (idle and quiet):
                self.log.api(
                    "INFO",
                    place,
                    f"Engine 000: Avg prompt throughput: {prompt:.1f} tokens/s, Avg generation throughput: "
                    f"{generation:.1f} tokens/s, Running: {engine.running} reqs, Waiting: {engine.waiting} reqs, "
                    f"GPU KV cache usage: {100 * engine.kv_usage:.1f}%, Prefix cache hit rate: 0.0%",
                )
            quiet = idle


def masked(non_default: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the arguments with the API key masked, as vLLM logs them."""
    return {key: "***" if key == "api_key" else value for key, value in non_default.items()}


async def _tick(boards: Boards, engine: Engine) -> None:
    while True:
        boards.advance(engine.take_load())
        await asyncio.sleep(TICK)


def main(argv: list[str], directory: pathlib.Path) -> int:
    """Run the emulated ``vllm serve`` for the node in ``directory``. Return the exit status of the process."""
    options = arguments.parse(argv)
    node = Node(directory, options)
    scenario = node.scenario
    reason = arguments.rejection_reason(options, scenario.model.heads, scenario.gpu_count)
    if reason:
        node.write_rejection(reason)
        return 1
    if scenario.behaviour == "exit":
        node.boot(until=scenario.boot_until)
        return 1
    node.start_processes()
    try:
        asyncio.run(node.hang() if scenario.behaviour == "hang" else node.serve())
    finally:
        processes.stop({node.log.core_pid, *node.log.worker_pids, *node.other_processes.values()})
    return 0
