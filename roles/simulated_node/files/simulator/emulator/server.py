# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the emulated vLLM server."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
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
from .logprobs import Output
from .logs import Log
from .metrics import Metrics
from .rendezvous import Rendezvous
from .requests import Dialect
from .scenario import CUDA_VERSION, GIB, MODEL, NCCL_VERSION, ROOT, SECOND_MODEL, Scenario, load_json
from .speed import Speed
from .state import FILE_NAME, Record, StateFile
from .tokens import Tokenizer

#: Seconds between updates of the GPU state.
TICK: t.Final = 0.04
#: Seconds between vLLM's statistics lines in the log.
STATISTICS: t.Final = 10.0
#: Seconds between two warnings in the log of a hanging engine.
WARNING_INTERVAL: t.Final = 60.0
#: Marker of the log template at which the server is ready.
READY: t.Final = "ready"
NO_BLOCK: t.Final = (
    "No available shared memory broadcast block found in 60 seconds. This typically happens when some processes are "
    "hanging or doing some time-consuming work (e.g. compilation, weight/kv cache quantization)."
)
#: Bytes for the CUDA context, NCCL buffers and CUDA graphs, which gpu_memory_utilization does not include.
CONTEXT_BYTES: t.Final = 450 * 2**20
#: Bytes for the activations of the largest batch.
ACTIVATION_BYTES: t.Final = 700 * 2**20


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory use of each GPU that a rank uses. All fields are in bytes, except ``kv_tokens``."""

    weights: int
    kv_cache: int
    kv_tokens: int
    total: int

    @classmethod
    def plan(cls, scenario: Scenario, options: argparse.Namespace) -> Memory:
        """Compute how much GPU memory the model weights, the KV cache, and vLLM in total use."""
        tensor, stages = options.tensor_parallel_size, options.pipeline_parallel_size
        budget = int(scenario.gpu["memory_total"] * options.gpu_memory_utilization)
        weights = scenario.model.weights // (tensor * stages)
        kv_cache = max(0, budget - weights - ACTIVATION_BYTES)
        per_token = scenario.model.kv_bytes(tensor) // stages // (2 if options.kv_cache_dtype.startswith("fp8") else 1)
        tokens = kv_cache // per_token // 16 * 16
        return cls(weights, kv_cache, tokens, min(budget + CONTEXT_BYTES, scenario.gpu["memory_total"]))


class Node:
    """One server process of a simulated node.

    :param options: parsed command line.
    :param settings: content of ``settings.json`` in the node's directory.
    :param whole: scenario of the node.
    :param role: ``second`` for the node's second, independent server, ``container`` for a server in a container, and
        empty for the server of the scenario.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        options: argparse.Namespace,
        settings: dict[str, t.Any],
        whole: Scenario,
        role: str = "",
    ) -> None:
        second = role == "second"
        self.directory = directory
        self.options = options
        self.version: str = settings["vllm_version"]
        self.scenario = whole.second if second else whole
        self.model_root = directory / (SECOND_MODEL if second else MODEL)
        self.name: str = settings["name"]
        #: PIDs of other programs by the index of their GPU.
        self.other_pids = {int(index): pid for index, pid in settings.get("other_pids", {}).items()}
        #: GPUs whose state this process writes.
        others = set() if second or not whole.second_server else set(whole.second.visible_gpus)
        self.gpus = self.scenario.visible_gpus if role else sorted(set(range(whole.gpu_count)) - others)
        self.layout = self.scenario.layout(options)
        self.served_name = options.served_model_name or options.model
        self.memory = Memory.plan(self.scenario, options)
        longest = self.scenario.model.max_position
        fitting = min(longest, self.memory.kv_tokens) if options.max_model_len == -1 else options.max_model_len
        self.model_length = fitting or longest
        # Made-up PIDs for the log of a server that exits before it starts any process.
        cores = len(self.layout.engine_names)
        pids = range(os.getpid() + 1, os.getpid() + 1 + cores + self.layout.local_size)
        self.log = Log(
            self.version,
            os.getpid(),
            list(pids[:cores]),
            list(pids[cores:]),
            self.layout,
            hostname=self.name,
            age=self.scenario.log_age,
        )
        self.coordinator = 0
        address = f"{options.master_addr}-{options.master_port}"
        self.rendezvous = Rendezvous(directory, address, options.nnodes, options.node_rank)

    @property
    def sockets(self) -> dict[str, str]:
        """Addresses that NCCL uses, by interface: all, or only that of the interface in NCCL_SOCKET_IFNAME."""
        chosen, interfaces = self.scenario.environment.get("NCCL_SOCKET_IFNAME"), self.scenario.interfaces
        return {chosen: interfaces.get(chosen, "127.0.0.1")} if chosen else interfaces

    @property
    def fingerprint(self) -> str | None:
        mode, sizes = self.options.fingerprint_mode, self.layout.text
        if mode in ("custom", "none"):
            return self.options.fingerprint_value if mode == "custom" else None
        digest = f"{zlib.crc32(f'{self.version} {sizes} {self.options.model}'.encode()):08x}"
        return "-".join(filter(None, ("vllm", self.version, sizes if mode == "full" else "", digest)))

    @property
    def info(self) -> dict[str, t.Any]:
        """Content of ``/server_info``: the parts of vLLM's configuration that the emulator knows."""
        parallel = ("tensor", "pipeline", "data")
        return {
            "vllm_config": {
                "model_config": {"model": self.options.model, "max_model_len": self.model_length},
                "cache_config": {"gpu_memory_utilization": self.options.gpu_memory_utilization},
                "parallel_config": {f"{kind}_parallel_size": getattr(self.layout, kind) for kind in parallel}
                | {"world_size": self.layout.world_size},
            },
            "vllm_env": {name: value for name, value in os.environ.items() if name.startswith("VLLM_")},
            "system_env": {},
        }

    @property
    def uses_pcie_ipc(self) -> bool:
        """Whether vLLM enables FlashInfer's all-reduce over PCIe: an option since 0.32 for 2, 4 or 8 GPUs."""
        chosen = {**os.environ, **self.scenario.environment}.get("VLLM_ALLREDUCE_USE_FLASHINFER_PCIE_IPC")
        return self.version >= "0.32" and chosen == "1" and self.layout.tensor in (2, 4, 8)

    # ---- boot

    def facts(self) -> dict[str, t.Any]:
        """Return the values that replace placeholders in the templates of the start-up log lines."""
        options, memory, layout, model = self.options, self.memory, self.layout, self.scenario.model
        address = next(iter(self.scenario.interfaces.values()))
        custom = self.scenario.custom_all_reduce(options) is not None
        refused = layout.tensor > 1 and not custom and not options.disable_custom_all_reduce
        return {
            "version": self.version,
            "model": options.model,
            "served_model_name": self.served_name,
            "non_default_args": masked(options.non_default),
            "max_model_len": self.model_length,
            "max_model_len_grouped": f"{self.model_length:,}",
            "max_num_batched_tokens": options.max_num_batched_tokens,
            "tensor_parallel_size": layout.tensor,
            "pipeline_parallel_size": layout.pipeline,
            "data_parallel_size": layout.data,
            "world_size": layout.world_size,
            "tp": layout.tensor > 1,
            "pp": layout.pipeline > 1,
            "dp": layout.data > 1,
            "many": layout.world_size > 1,
            "head": layout.node == 0,
            "worker": layout.node > 0,
            "local_world_size": layout.local_size,
            "master_addr": options.master_addr,
            "master_port": options.master_port,
            "host_ip": self.scenario.environment.get("VLLM_HOST_IP", address),
            "nccl_sockets": self.sockets,
            "custom_needs_p2p": refused and not self.scenario.p2p,
            "custom_needs_nvlink": refused and self.scenario.p2p,
            "all_reduce_backends": [
                *(["FLASHINFER_PCIE_IPC"] if self.uses_pcie_ipc else []),
                *(["CUSTOM"] if custom else []),
                "PYNCCL",
            ],
            "coordinator_pid": self.coordinator,
            "dead_rank": self.scenario.kill_rank,
            # vLLM itself disables its custom all-reduce on more than two GPUs without NVLink.
            "disable_custom_all_reduce": options.disable_custom_all_reduce or layout.tensor > 2,
            "enforce_eager": options.enforce_eager,
            "kv_cache_dtype": options.kv_cache_dtype,
            "dtype": model.dtype,
            "awq": model.awq,
            "quantization": "awq_marlin" if model.awq else None,
            "rendezvous": f"{options.master_addr}:"
            + str(options.master_port if layout.nodes > 1 else 40000 + self.log.api_pid % 9000),
            "nccl_version": NCCL_VERSION,
            "cuda_version": CUDA_VERSION,
            "transport": self.scenario.interconnect.transport,
            "environment": self.scenario.environment,
            "bus_ids": [f"{16 * (i + 2):x}0" for i in range(self.scenario.gpu_count)],
            "weights_gib": f"{model.weights / GIB:.2f}",
            "loaded_gib": f"{memory.weights / GIB:.2f}",
            "kv_gib": f"{memory.kv_cache / GIB:.2f}",
            "kv_tokens": f"{memory.kv_tokens:,}",
            "kv_concurrency": f"{memory.kv_tokens / self.model_length:.2f}",
            "host": options.host or "0.0.0.0",
            "port": options.port,
            "api_pid": self.log.api_pid,
        }

    def start_processes(self) -> None:
        layout, log = self.layout, self.log
        log.core_pids = [processes.start(f"VLLM::{name}") for name in layout.engine_names]
        log.worker_pids = log.core_pids
        if layout.world_size > 1:
            # A single rank runs inside the engine core, without a worker process.
            log.worker_pids = [processes.start(f"VLLM::{layout.worker_name(rank)}") for rank in layout.ranks]
        if layout.data > 1:
            log.server_pids = [processes.start(f"VLLM::APIServer_{number}") for number in range(layout.data)]
            self.coordinator = processes.start("VLLM::DPCoordinator")

    @property
    def child_pids(self) -> set[int]:
        return {*self.log.core_pids, *self.log.worker_pids, *self.log.server_pids, self.coordinator} - {0}

    def boot(self, until: str | None = None, after: str | None = None) -> None:
        """Write the start-up lines to the log, followed by the scenario's additional log lines.

        :param until: marker of the last line; by default, that of a server that is ready.
        :param after: marker of the first line.
        """
        facts = self.facts()
        template = (ROOT / f"data/versions/boot-{self.version}.log").read_text("utf-8").splitlines()
        first = template.index(f"%{after}") + 1 if after else 0
        self.log.boot(template[first:], facts, until or READY)
        self.log.boot(self.scenario.then, facts)

    def write_rejection(self, reason: str) -> None:
        """Write the log of a server that rejects its configuration."""
        template = (ROOT / f"data/versions/boot-{self.version}.log").read_text("utf-8").splitlines()
        self.log.boot(template, self.facts(), until="configured")
        self.log.write(arguments.traceback(reason))

    def memory_error(self) -> str | None:
        """Return vLLM's error if the GPUs have too little memory for the server, otherwise None."""
        memory, total = self.memory, self.scenario.gpu["memory_total"]
        file, share = StateFile(self.directory / "lib" / FILE_NAME), self.options.gpu_memory_utilization
        for rank in self.layout.ranks:
            free = total - file.values(rank.gpu, "memory_used")[0]
            if free < share * total:
                return (
                    f"Free memory on device cuda:{rank.gpu} ({free / GIB:.2f}/{total / GIB:.2f} GiB) on startup is "
                    f"less than desired GPU memory utilization ({share}, {share * total / GIB:.2f} GiB). Decrease GPU "
                    "memory utilization or reduce GPU memory used by other processes."
                )
        if memory.kv_cache == 0:
            return (
                "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing "
                "the engine."
            )
        if memory.kv_tokens < self.model_length:
            needed = memory.kv_cache / max(1, memory.kv_tokens) * self.model_length
            return (
                f"To serve at least one request with the models's max seq len ({self.model_length}), "
                f"({needed / GIB:.2f} GiB KV cache is needed, which is larger than the available KV cache memory "
                f"({memory.kv_cache / GIB:.2f} GiB). Based on the available memory, the estimated maximum model length "
                f"is {memory.kv_tokens}. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when "
                "initializing the engine."
            )
        return None

    def write_failure(self, reason: str) -> None:
        """Write the log of a server that fails when it reserves memory for the KV cache."""
        self.boot(until="loaded")
        lines = ("EngineCore failed to start.", "Traceback (most recent call last):", f"ValueError: {reason}")
        self.log.boot([f"core ERROR [core.py:1180] {line}" for line in lines], {})
        self.log.write("RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}")

    def boards(self) -> Boards:
        """Create the simulated GPUs, and write their memory use and processes to the state file."""
        scenario, layout = self.scenario, self.layout
        file = StateFile(self.directory / "lib" / FILE_NAME)
        boards, changes = {}, {}
        own = dict(zip((rank.gpu for rank in layout.ranks), self.log.worker_pids, strict=True))
        for index in self.gpus:
            holders = {own[index]: self.memory.total} if index in own else {}
            changes[index] = holders_record(
                scenario, index, {**holders, **other_holder(scenario, index, self.other_pids)}
            )
            used = t.cast(int, changes[index]["memory_used"])
            boards[index] = Board(scenario.gpu, index in own, used, scenario.fault(index))
        file.update(changes)
        return Boards(boards, file, seed=zlib.crc32(self.name.encode()))

    # ---- serving

    async def join(self) -> None:
        """Write the start-up lines. Wait for the other nodes of the server before the line that needs them."""
        if self.layout.nodes == 1:
            self.boot()
            return
        self.rendezvous.join()
        self.boot(until="joined")
        if self.layout.node == 0:
            # The first node of a group is started before the others, so its start does not wait for them.
            (self.directory / "ready").touch()
        await self.rendezvous.wait()
        self.boot(after="joined")
        (self.directory / "ready").touch()

    async def work(self) -> None:
        """Run a headless node of a server until the process receives SIGTERM or SIGINT, as vLLM does.

        It does not end with the first node. Its GPUs are busy when that node computes.
        """
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        boards = self.boards()
        boot = asyncio.create_task(self.join())
        while not stopped.is_set() and not (boot.done() and boot.exception()):
            load = self.rendezvous.take()
            boards.advance({rank.gpu: load.of_stage(rank.stage, self.layout.pipeline) for rank in self.layout.ranks})
            await asyncio.sleep(TICK)
        boot.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await boot

    def waiting_loads(self) -> dict[int, Load]:
        """Return the load of GPUs that wait in a collective: all but that of a stopped rank."""
        waiting = (rank for rank in self.layout.ranks if rank.number != self.scenario.stop_rank)
        return {rank.gpu: Load(busy=TICK, waiting=TICK) for rank in waiting}

    async def hang(self) -> None:
        """Accept connections but never respond, while all ranks wait in an NCCL collective that does not finish."""
        boards = self.boards()
        await asyncio.get_running_loop().create_server(asyncio.Protocol, self.options.host, self.options.port)
        self.boot()
        # A hanging server cannot respond to a health check, so a file marks the server as ready.
        (self.directory / "ready").touch()
        next_warning = time.monotonic() + WARNING_INTERVAL
        while True:
            boards.advance(self.waiting_loads())
            await asyncio.sleep(TICK)
            if time.monotonic() > next_warning:
                next_warning += WARNING_INTERVAL
                self.log.boot(self.scenario.then[-1:], self.facts())

    def engines(self, boards: Boards) -> dict[Engine, Metrics]:
        """Return the server's engines, one for each data-parallel rank, with their metrics."""
        families = load_json(f"data/versions/metrics-{self.version}.json")
        base = Speed(**self.scenario.speed(self.options))
        engines = {}
        for number in range(self.layout.data):
            gpus = [rank.gpu for rank in self.layout.ranks if rank.engine == number]
            metrics = Metrics(families, self.served_name, self._cache_config(), number)
            engine = Engine(
                lambda gpus=gpus: dataclasses.replace(base, drag=1 / boards.clock_factor(gpus)),  # type: ignore[misc]
                metrics,
                self.options.max_num_seqs,
                self.options.max_num_batched_tokens,
                self.memory.kv_tokens,
                self.layout.pipeline,
            )
            engines[engine] = metrics
        return engines

    async def serve(self) -> None:
        """Serve the API until the process receives SIGTERM or SIGINT."""
        options, scenario, layout = self.options, self.scenario, self.layout
        boards = self.boards()
        engines = self.engines(boards)
        server = Server(
            dialect=Dialect(tuple(int(part) for part in self.version.split(".")), self.served_name),
            model_root=str(self.model_root),
            max_model_len=self.model_length,
            version=self.version,
            fingerprint=self.fingerprint,
            api_key=options.api_key or os.environ.get("VLLM_API_KEY"),
            started=int(time.time()),
            output=Output(scenario.model.id, scenario.logit_noise, scenario.token_flip),
            info=self.info if os.environ.get("VLLM_SERVER_DEV_MODE") == "1" else None,
        )
        api = Api(server, engines, Tokenizer(scenario.model.vocabulary))
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        if layout.nodes > 1:
            await self.join()
        listener = await loop.create_server(
            lambda: Connection(api.handle, self.log.access),
            *published_address(options.host, options.port),
            backlog=2048,
            reuse_address=True,
        )
        if layout.nodes == 1:
            self.boot()
        work: list[t.Coroutine[t.Any, t.Any, None]] = []
        if scenario.stop_rank is None:
            work += [engine.run() for engine in engines] + [self.tick(boards, list(engines))]
        else:
            os.kill(self.log.worker_pids[scenario.stop_rank], signal.SIGSTOP)
            work.append(self._stall(boards, list(engines)))
        if layout.nodes > 1:
            work.append(self._watch(engines))
        if layout.data == 1:
            # vLLM logs no statistics if it has several API servers.
            work += [self._statistics(engine, metrics) for engine, metrics in engines.items()]
        tasks = [asyncio.create_task(item) for item in work]

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

    async def tick(self, boards: Boards, engines: list[Engine]) -> None:
        """Update the state of the GPUs until the task is cancelled."""
        while True:
            loads = [engine.take_load() for engine in engines]
            if self.layout.nodes > 1:
                self.rendezvous.publish(loads[0])
            stages = self.layout.pipeline
            boards.advance({rank.gpu: loads[rank.engine].of_stage(rank.stage, stages) for rank in self.layout.ranks})
            await asyncio.sleep(TICK)

    async def _watch(self, engines: t.Iterable[Engine]) -> None:
        """Stop all work as soon as another node no longer runs. vLLM then goes on to answer health checks."""
        while self.rendezvous.complete:
            await asyncio.sleep(TICK)
        for engine in engines:
            engine.stalled = True

    async def _stall(self, boards: Boards, engines: list[Engine]) -> None:
        """Simulate an engine with a stopped rank: the other ranks start the first step and wait for it forever."""
        ticks, warning = 0, round(WARNING_INTERVAL / TICK)
        while True:
            busy = any(engine.waiting for engine in engines)
            boards.advance(self.waiting_loads() if busy else {})
            await asyncio.sleep(TICK)
            ticks = ticks + 1 if busy else 0
            if ticks and ticks % warning == 0:
                self.log.boot([f"core INFO [shm_broadcast.py:705] {NO_BLOCK}"], {})

    def die(self) -> None:
        """Simulate a ready server of which a worker process is killed: the rest of its log, then its end."""
        numbers = [rank.number for rank in self.layout.ranks]
        os.kill(self.log.worker_pids[numbers.index(self.scenario.kill_rank or 0)], signal.SIGKILL)
        self.boot(until="end", after=READY)

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


def other_holder(scenario: Scenario, index: int, other_pids: t.Mapping[int, int]) -> dict[int, int]:
    """Return the pid and the GPU memory of another program on a GPU, if there is one."""
    return {other_pids[index]: scenario.gpus[index]["other_process"]["memory"]} if index in other_pids else {}


def holders_record(scenario: Scenario, index: int, holders: t.Mapping[int, int]) -> Record:
    """Return the fields of a GPU that describe its memory use. ``holders``: bytes by the pid of each process."""
    return {
        "memory_used": sum(holders.values()) + scenario.gpus.get(index, {}).get("extra_memory", 0),
        "process_count": len(holders),
        "process_pid": list(holders),
        "process_memory": list(holders.values()),
    }


def release(directory: pathlib.Path) -> None:
    """Make the GPUs of a node idle whose processes have exited, as the driver does."""
    settings = json.loads((directory / "settings.json").read_text("utf-8"))
    scenario, file = Scenario.load(settings["scenario"]), StateFile(directory / "lib" / FILE_NAME)
    other_pids = {int(index): pid for index, pid in settings.get("other_pids", {}).items()}
    changes = {}
    for index in range(scenario.gpu_count):
        others = other_holder(scenario, index, other_pids)
        count = file.values(index, "process_count")[0]
        own = {*file.values(index, "process_pid")[:count]} - {*others}
        if own and not any(processes.exists(pid) for pid in own):
            idle = scenario.gpu_record(index, settings["name"])
            # The texts, such as the name of the GPU, do not change.
            values = {name: value for name, value in idle.items() if not isinstance(value, str)}
            changes[index] = {**values, **holders_record(scenario, index, others)}
    file.update(changes)
    file.close()


def published_address(host: str | None, port: int) -> tuple[str | None, int]:
    """Return the address on which the server listens: in a container, that at which its port is published."""
    if "SIMULATED_ADDRESS" in os.environ:
        host, port = json.loads(os.environ["SIMULATED_ADDRESS"])
    return host, port


def masked(non_default: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the arguments with the API key masked, as vLLM logs them."""
    return {key: "***" if key == "api_key" else value for key, value in non_default.items()}


def main(argv: list[str], directory: pathlib.Path) -> int:
    """Run the emulated ``vllm serve`` for the node in ``directory``. Return the exit status of the process."""
    options = arguments.parse(argv)
    settings = json.loads((directory / "settings.json").read_text("utf-8"))
    whole, role = Scenario.load(settings["scenario"]), os.environ.get("SIMULATED_SERVER", "")
    if role == "container":
        whole = whole.deployed(os.environ)
        settings["vllm_version"] = os.environ["SIMULATED_VLLM_VERSION"]
    node = Node(directory, options, settings, whole, role)
    scenario = node.scenario
    reason = arguments.rejection_reason(options, scenario.model.heads, len(scenario.visible_gpus))
    if reason:
        node.write_rejection(reason)
        return 1
    if scenario.behaviour == "exit" and scenario.kill_rank is None:
        node.boot(until=scenario.boot_until)
        return 1
    error = node.memory_error() if role == "container" else None
    if error:
        node.write_failure(error)
        return 1
    node.start_processes()
    try:
        if scenario.kill_rank is not None:
            asyncio.run(node.join())
            node.die()
            return 1
        asyncio.run(node.hang() if scenario.behaviour == "hang" else node.work() if node.layout.node else node.serve())
    finally:
        if node.layout.nodes > 1:
            node.rendezvous.leave()
        processes.stop(node.child_pids)
    return 0
