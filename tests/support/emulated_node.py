# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the emulator of a simulated node in this process, in virtual time, and judge what it shows.

The emulator's own code writes the log, names the processes, schedules the requests and updates the state of the GPUs.
The modules' own code turns this into results. Nothing is started, so PIDs are made up and a load takes no real time.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import pathlib
import selectors
import statistics
import sys
import types
import typing as t
from array import array
from unittest import mock

from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import health
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import SUBSETS, empty_device
from ansible_collections.multigpu.vllm.plugins.module_utils.load import load_findings
from ansible_collections.multigpu.vllm.plugins.module_utils.logs import log_scan
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.engine_facts import engine_facts
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import tp_check
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.parallel_signals import Observations, Reading
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.process import ServerProcess, worker_of
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.server import ServerFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis import catalogue
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import Section, judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

SIMULATOR = pathlib.Path(__file__).resolve().parents[2] / "roles/simulated_node/files/simulator"
sys.path.insert(0, str(SIMULATOR))

import simulate  # noqa: E402
from emulator import arguments, boards, engine, state  # noqa: E402
from emulator.engine import Engine  # noqa: E402
from emulator.scenario import Scenario  # noqa: E402
from emulator.sequence import Sequence  # noqa: E402
from emulator.server import READY, Node  # noqa: E402

URL: t.Final = "http://127.0.0.1:8000"
#: PID of the server and of another program.
SERVER, OTHER = 90, 4242
PROMPT, OUTPUT = 128, 128


class WithoutGrep(Commands):
    """Commands without grep, because a process for each small log would take most of the time."""

    def which(self, name: str) -> str | None:
        return None


class _NoWait(selectors.DefaultSelector):
    """Selector that does not wait for a timeout, but advances the virtual time by it."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[t.Any]:
        self.now += timeout or 0.0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Event loop whose time passes only while all tasks sleep, and then at once."""

    def __init__(self) -> None:
        self.clock = _NoWait()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


@dataclasses.dataclass
class Load:
    """One load step: times of the tokens of each sequence, in virtual seconds."""

    streams: int
    started: float
    ended: float
    tokens: list[list[float]]

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for times in self.tokens for earlier, later in zip(times, times[1:], strict=False)]

    def result(self, name: str) -> dict[str, t.Any]:
        """Return the step in the format of ``throughput_probe``."""
        gap = statistics.fmean(self.gaps)
        first = statistics.fmean(times[0] for times in self.tokens[: self.streams]) - self.started
        rate = sum(map(len, self.tokens)) / (self.ended - self.started)
        latency = dict.fromkeys(("mean", "p50", "p95", "p99"), gap)
        return {
            "name": name,
            "prompt_tokens": PROMPT,
            "output_tokens": OUTPUT,
            "concurrency": self.streams,
            "rate": None,
            "requests": {"completed": len(self.tokens), "failed": 0},
            "held": None,
            "tokens": sum(map(len, self.tokens)),
            "failures": {},
            "failure_details": {},
            "started": self.started,
            "ended": self.ended,
            "duration": self.ended - self.started,
            "output_throughput": rate,
            "steady_throughput": rate,
            "request_throughput": rate / OUTPUT,
            "ttft": dict.fromkeys(latency, first),
            "e2e": dict.fromkeys(latency, first + OUTPUT * gap),
            **dict.fromkeys(("itl", "tpot"), latency),
            "token_ratio": 1.0,
            "token_ratio_reason": None,
            "client": {"cpu": 0.05, "lag_p99": 0.001, "limited": False, "reason": None},
            "void": False,
            "skipped": None,
        }


class EmulatedNode:
    """The first server of a scenario on its GPUs.

    :param directory: empty directory for the state file.
    :param extra: further arguments of ``vllm serve``.
    """

    def __init__(
        self, directory: pathlib.Path, scenario: Scenario, version: str = "0.32.0", extra: t.Sequence[str] = ()
    ) -> None:
        self.scenario = scenario
        self.path = directory / "lib" / state.FILE_NAME
        self.path.parent.mkdir(parents=True)
        records = [scenario.gpu_record(index, "node") for index in range(scenario.gpu_count)]
        state.StateFile.create(self.path, scenario.node_record(), records).close()
        self.argv = simulate.vllm_command(directory, scenario, "127.0.0.1", 8000, list(extra))
        others = {str(index): OTHER for index, facts in scenario.gpus.items() if "other_process" in facts}
        settings = {"vllm_version": version, "name": "node", "other_pids": others}
        self.node = Node(directory, arguments.parse(self.argv[2:]), settings, scenario)
        self.node.log.api_pid = SERVER
        self.node.log.core_pids = [95 + engine for engine in range(len(self.node.layout.engine_names))]
        alone = self.node.layout.world_size == 1
        self.node.log.worker_pids = self.node.log.core_pids if alone else [100 + i for i in range(self.ranks)]

    @property
    def ranks(self) -> int:
        return len(self.node.layout.ranks)

    @property
    def log(self) -> str:
        """The server's log; that of a server with a killed rank ends with its death."""
        with contextlib.redirect_stdout(io.StringIO()) as output:
            self.node.boot(until=self.scenario.boot_until or READY)
            if self.scenario.kill_rank is not None:
                with mock.patch("os.kill"):
                    self.node.die()
        return output.getvalue()

    # --- load -----------------------------------------------------------------------------------------------------

    def run(self, streams: t.Sequence[int] = (1, 16)) -> tuple[list[Load], list[dict[str, t.Any]]]:
        """Serve two rounds of requests for each number of streams. Return the load steps and samples of the GPUs."""
        loop = VirtualLoop()
        clock = types.SimpleNamespace(monotonic=loop.time, time=loop.time)
        with mock.patch.object(engine, "time", clock), mock.patch.object(boards, "time", clock):
            try:
                return loop.run_until_complete(self._run(streams, loop))
            finally:
                loop.close()

    async def _run(self, streams: t.Sequence[int], loop: VirtualLoop) -> tuple[list[Load], list[dict[str, t.Any]]]:
        gpus = self.node.boards()
        engines = list(self.node.engines(gpus))
        samples: list[dict[str, t.Any]] = []
        tasks = [asyncio.create_task(item.run()) for item in engines]
        tasks += [asyncio.create_task(self.node.tick(gpus, engines)), asyncio.create_task(self._sample(samples, loop))]
        loads = [await self._load(count, engines, loop) for count in streams]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return loads, samples

    async def _load(self, streams: int, engines: list[Engine], loop: VirtualLoop) -> Load:
        started, tokens = loop.time(), []
        for _round in range(2):
            finished = [loop.create_future() for _stream in range(streams)]
            for number, future in enumerate(finished):
                times: list[float] = []
                tokens.append(times)

                def deliver(_at: int, done: str | None, times: list[float] = times, future: t.Any = future) -> None:
                    times.append(loop.time())
                    if done:
                        future.set_result(None)

                engines[number % len(engines)].submit(Sequence(PROMPT, OUTPUT, "length", deliver, loop.time()))
                # The first requests start before the last ones arrive.
                await asyncio.sleep(1e-4)
            await asyncio.gather(*finished)
        return Load(streams, started, loop.time(), tokens)

    async def _sample(self, samples: list[dict[str, t.Any]], loop: VirtualLoop) -> None:
        while True:
            await asyncio.sleep(0.1)
            gpus = [{"index": index, **self.gpu(index)} for index in range(self.scenario.gpu_count)]
            samples.append({"time": loop.time(), "gpus": gpus})

    # --- facts ----------------------------------------------------------------------------------------------------

    def gpu(self, index: int) -> dict[str, t.Any]:
        """Return the current values of a GPU in the state file, as ``gpu_facts`` names them."""
        words = array("q", self.path.read_bytes())
        first = state.NODE_SIZE + index * state.GPU_SIZE

        def values(name: str) -> list[int]:
            slot = state.GPU[name]
            return list(words[first + slot.offset : first + slot.offset + slot.length])

        count = values("process_count")[0]
        processes = list(zip(values("process_pid"), values("process_memory"), strict=True))[:count]
        sm, memory = values("clocks")[1:3]
        return {
            "utilization_gpu": values("utilization_gpu")[0],
            "utilization_memory": values("utilization_memory")[0],
            "memory_used": values("memory_used")[0],
            "power_draw": values("power_draw")[0] / 1000,
            "power_limit": values("power_limit")[0] / 1000,
            "temperature": values("temperature")[0],
            "clocks": {"sm": sm, "memory": memory},
            "pcie": {
                "generation": values("pcie_generation")[0],
                "generation_max": values("pcie_generation_max")[0],
                "width": values("pcie_width")[0],
                "width_max": values("pcie_width_max")[0],
                "replay_counter": 0,
            },
            "throttle_reasons": [],
            "processes": [{"pid": pid, "name": self.title(pid), "memory_used": used} for pid, used in processes],
        }

    def devices(self) -> list[dict[str, t.Any]]:
        facts = self.scenario.gpu
        return [
            {
                **empty_device(index),
                **self.gpu(index),
                "uuid": f"GPU-{index}",
                "name": facts["name"],
                "memory_total": facts["memory_total"],
                "memory_free": facts["memory_total"] - self.gpu(index)["memory_used"],
                "memory_bandwidth": int(facts["memory_bandwidth"]),
                "temperature_limits": {"slowdown": 95, "gpu_max": 93, "margin": None, "margin_slowdown": None},
                "remapped_rows": {"correctable": 0, "uncorrectable": 0, "pending": False, "failure": False},
                "throttle_reasons": ["gpu_idle"],
            }
            for index in range(self.scenario.gpu_count)
        ]

    def title(self, pid: int) -> str:
        """Return the title of a process that uses a GPU."""
        layout, log = self.node.layout, self.node.log
        names = dict(zip(log.worker_pids, map(layout.worker_name, layout.ranks), strict=True))
        names |= dict(zip(log.core_pids, layout.engine_names, strict=True))
        return f"VLLM::{names[pid]}" if pid in names else "python3 other.py"

    def process(self) -> ServerProcess:
        """Return the server's processes with the titles that the emulator gives them."""
        log = self.node.log
        stopped = log.worker_pids[self.scenario.stop_rank] if self.scenario.stop_rank is not None else None
        found = (worker_of(pid, self.title(pid), "T" if pid == stopped else "S") for pid in log.worker_pids)
        pids = frozenset({SERVER, *log.core_pids, *log.worker_pids})
        workers = tuple(worker for worker in found if worker)
        return ServerProcess(
            SERVER, tuple(self.argv), dict(self.scenario.environment), pids, workers, "listening socket"
        )

    def results(self, loads: bool = True) -> dict[str, dict[str, t.Any]]:
        """Return the results of the modules that ``validate`` runs on a node."""
        failure = self._failure()
        samples: list[dict[str, t.Any]] = []
        steps: list[dict[str, t.Any]] = []
        if failure is None and loads:
            done, samples = self.run()
            steps = [load.result(name) for load, name in zip(done, ("prompt-128", "sustained"), strict=True)]
        elif self.scenario.kill_rank is None:
            self.node.boards()
        log = self.log
        return {
            "gpu": self._gpu_facts(),
            "tensor_parallel": tp_check.describe(self._observed(log, failure)),
            "load": {
                "results": steps,
                "gpu_samples": {"samples": samples, "sample_rate": 10.0},
                "server": {"version": self.node.version},
                "findings": as_dicts(load_findings.unusable(failure) if failure else load_findings.judge(steps)),
            },
            "logs": log_scan.run({"text": log}, WithoutGrep()),
        }

    def judged(self) -> tuple[list[Section], list[Diagnosis]]:
        node = NodeFacts.from_results("node", self.results())
        assert not any(item.crashed for item in node.measurements), [item.reason for item in node.measurements]
        sections = judge(node)
        return sections, catalogue.diagnose(node, sections)

    def _failure(self) -> RequestFailed | None:
        if self.scenario.kill_rank is not None:
            return RequestFailed("connection_refused")
        return RequestFailed("first_byte_timeout") if self.scenario.stop_rank is not None else None

    def _gpu_facts(self) -> dict[str, t.Any]:
        count, nvlink = self.scenario.gpu_count, self.scenario.topology.startswith("NV")
        expected = health.Expectation(self.scenario.expected_gpu_count, "option")

        def matrix(other: str) -> list[list[str]]:
            return [["X" if row == column else other for column in range(count)] for row in range(count)]

        facts = {
            "count": count,
            "expected_count": expected.count,
            "expected_source": expected.source,
            "driver_version": "580.95.05",
            "cuda_version": "13.0",
            "backend": "nvml",
            "devices": self.devices(),
            "topology": {"matrix": matrix(self.scenario.topology), "nvlink": nvlink, "p2p": matrix("OK")},
        }
        found = health.findings(facts, expected, count, SUBSETS)
        return {"ansible_facts": {"gpu": facts}, "findings": as_dicts(found)}

    def _observed(self, log: str, failure: RequestFailed | None) -> Observations:
        model, dead = self.scenario.model, self.scenario.kill_rank is not None
        entry = {"id": model.id, "root": "/models/m", "max_model_len": self.node.model_length}
        missing = {} if self.node.fingerprint else {"fingerprint": "the server sends no system_fingerprint"}
        answers = ServerFacts(
            URL, version=self.node.version, models=(entry,), fingerprint=self.node.fingerprint, missing=missing
        )
        gone: Reading[ServerProcess] = Reading(reason="no process listens on port 8000")
        shape = ModelShape(model.heads, model.kv_heads, model.layers, None, model.hidden * model.vocabulary)
        return Observations(
            server=Reading(ServerFacts(URL, failure=failure) if dead else answers, source=URL),
            engine=Reading(engine_facts(log.splitlines()), source="vllm.log"),
            process=gone if dead else Reading(self.process(), source=f"process {SERVER}"),
            container=Reading(reason="container is not given"),
            gpus=Reading(self.devices(), source="NVIDIA driver"),
            shape=Reading(shape, source="/models/m/config.json"),
            expected_gpu_count=self.scenario.expected_gpu_count,
        )
