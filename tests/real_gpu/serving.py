# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server with the emulator's API, scheduling, metrics and log, whose steps are real work on GPUs.

Started as ``python FOLDER/bin/vllm serve MODEL --port N --tensor-parallel-size M``, where ``bin/vllm`` is a link to
this file. Each rank is a separate process with vLLM's process title. On exit the server writes its step times to
``FOLDER/steps.json``, for comparison with a client's measurements.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import functools
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection as Channel
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from decoder import REAL, SMALL, Decoder

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "roles/simulated_node/files/simulator"))

from emulator.api import Api, Server  # noqa: E402
from emulator.engine import Engine  # noqa: E402
from emulator.http import Connection  # noqa: E402
from emulator.layout import Layout  # noqa: E402
from emulator.logs import Log  # noqa: E402
from emulator.metrics import Metrics  # noqa: E402
from emulator.processes import set_title  # noqa: E402
from emulator.requests import Dialect  # noqa: E402
from emulator.scenario import GIB, load_json  # noqa: E402
from emulator.sequence import Sequence  # noqa: E402
from emulator.tokens import Tokenizer  # noqa: E402

VERSION = "0.32.0"
SLOTS, CONTEXT, BATCHED = 32, 1024, 2048


def rank_process(rank: int, ranks: int, port: int, channel: Channel) -> None:
    """Run one rank: send its memory use, then run the steps received through ``channel`` until it is closed."""
    set_title(f"VLLM::Worker_TP{rank}" if ranks > 1 else "VLLM::EngineCore", ctypes.CDLL(None))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", rank) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    if ranks > 1:
        dist.init_process_group(
            "nccl" if gpu else "gloo",
            init_method=f"tcp://127.0.0.1:{port}",
            rank=rank,
            world_size=ranks,
            device_id=device if gpu else None,
        )
    torch.manual_seed(1)
    decoder = Decoder(REAL if gpu else SMALL, SLOTS, CONTEXT, device, ranks)
    channel.send({"weights": decoder.weight_bytes, "cache": decoder.keys.nbytes + decoder.values.nbytes})
    with contextlib.suppress(EOFError):
        while True:
            prefill, decode = channel.recv()
            for work in prefill:
                decoder.prefill(*work)
            channel.send(decoder.decode(*decode) if decode else 0.0)


class Ranks:
    """Processes of all ranks, which run every step together."""

    def __init__(self, count: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        self._channels, self._processes = [], []
        for rank in range(count):
            channel, rank_channel = context.Pipe()
            process = context.Process(target=rank_process, args=(rank, count, port, rank_channel), daemon=True)
            process.start()
            rank_channel.close()
            self._channels.append(channel)
            self._processes.append(process)
        self.memory: list[dict[str, int]] = [channel.recv() for channel in self._channels]

    @property
    def pids(self) -> list[int]:
        return [int(process.pid or 0) for process in self._processes]

    def step(self, prefill: list[tuple[int, int, int]], decode: tuple[list[int], list[int]] | None) -> float:
        """Compute prompt parts ``(slot, tokens, start)``, decode ``(slots, positions)``; return the decode seconds."""
        for channel in self._channels:
            channel.send((prefill, decode))
        return max(channel.recv() for channel in self._channels)

    def stop(self) -> None:
        for channel in self._channels:
            channel.close()
        for process in self._processes:
            process.kill()
            process.join()


class GpuEngine(Engine):
    """The emulator's engine with real ranks in place of the speed model."""

    def __init__(self, ranks: Ranks, metrics: Metrics) -> None:
        super().__init__(_no_speed, metrics, SLOTS, BATCHED, SLOTS * CONTEXT)
        self._ranks = ranks
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._slots: dict[Sequence, int] = {}
        #: Batch size -> seconds of each decode step without prefill.
        self.steps: dict[int, list[float]] = {}

    async def _perform(self, clock: float, decoding: list[Sequence], prefill: list[tuple[Sequence, int]]) -> float:
        work = functools.partial(self._work, list(self._running), decoding, prefill)
        await asyncio.get_running_loop().run_in_executor(self._thread, work)
        return time.monotonic()

    def _work(self, running: list[Sequence], decoding: list[Sequence], prefill: list[tuple[Sequence, int]]) -> None:
        self._slots = {sequence: slot for sequence, slot in self._slots.items() if sequence in running}
        free = [slot for slot in range(SLOTS) if slot not in self._slots.values()]
        for sequence in running:
            if sequence not in self._slots:
                self._slots[sequence] = free.pop()
        slots = [self._slots[sequence] for sequence in decoding]
        positions = [min(sequence.prompt_tokens + sequence.generated, CONTEXT) - 1 for sequence in decoding]
        parts = [(self._slots[sequence], tokens, sequence.prefilled) for sequence, tokens in prefill]
        seconds = self._ranks.step(parts, (slots, positions) if slots else None)
        if slots and not parts:
            self.steps.setdefault(len(slots), []).append(seconds)


def _no_speed() -> Any:
    raise NotImplementedError("the ranks determine the speed")


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vllm")
    parser.add_argument("command", choices=("serve",))
    parser.add_argument("model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--tensor-parallel-size", type=int, default=1)
    return parser.parse_args(arguments)


def boot(log: Log, options: argparse.Namespace, ranks: Ranks) -> None:
    """Write the boot lines with this server's values. NCCL writes its own lines."""
    weights, cache = (max(used[kind] for used in ranks.memory) for kind in ("weights", "cache"))
    size = options.tensor_parallel_size
    arguments = {"model_tag": options.model, "host": options.host, "port": options.port, "tensor_parallel_size": size}
    facts = {
        "version": VERSION,
        "model": options.model,
        "served_model_name": options.model,
        "non_default_args": {
            key: value for key, value in arguments.items() if key != "tensor_parallel_size" or size > 1
        },
        "max_model_len": CONTEXT,
        "max_model_len_grouped": f"{CONTEXT:,}",
        "max_num_batched_tokens": BATCHED,
        "tensor_parallel_size": size,
        "pipeline_parallel_size": 1,
        "world_size": size,
        "many": size > 1,
        "dtype": "bfloat16",
        "quantization": None,
        "disable_custom_all_reduce": True,
        "enforce_eager": False,
        "kv_cache_dtype": "auto",
        "rendezvous": 40000,
        "nccl_version": ".".join(map(str, torch.cuda.nccl.version())) if torch.cuda.is_available() else "2.28.9",
        "weights_gib": f"{weights * size / GIB:.2f}",
        "loaded_gib": f"{weights / GIB:.2f}",
        "kv_gib": f"{cache / GIB:.2f}",
        "kv_tokens": f"{SLOTS * CONTEXT:,}",
        "kv_concurrency": f"{SLOTS:.2f}",
        "host": options.host,
        "port": options.port,
        "api_pid": os.getpid(),
    }
    template = (ROOT / f"roles/simulated_node/files/simulator/data/versions/boot-{VERSION}.log").read_text("utf-8")
    log.boot([line for line in template.splitlines() if line != "%nccl"], facts, until="ready")


async def serve(options: argparse.Namespace, ranks: Ranks, vocabulary: int, folder: Path) -> None:
    metrics = Metrics(load_json(f"data/versions/metrics-{VERSION}.json"), options.model, {"block_size": "16"})
    engine = GpuEngine(ranks, metrics)
    size = f"tp{options.tensor_parallel_size}-" if options.tensor_parallel_size > 1 else ""
    server = Server(
        dialect=Dialect(tuple(int(part) for part in VERSION.split(".")), options.model),
        model_root=options.model,
        max_model_len=CONTEXT,
        version=VERSION,
        fingerprint=f"vllm-{VERSION}-{size}00000000",
        api_key=None,
        started=int(time.time()),
    )
    api = Api(server, {engine: metrics}, Tokenizer(vocabulary))
    log = Log(VERSION, os.getpid(), ranks.pids[:1], ranks.pids, Layout(tensor=len(ranks.pids)))
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    work = asyncio.create_task(engine.run())
    work.add_done_callback(lambda _done: stopped.set())
    await asyncio.get_running_loop().create_server(
        lambda: Connection(api.handle, log.access), options.host, options.port, backlog=1024
    )
    boot(log, options, ranks)
    await stopped.wait()
    work.cancel()
    (folder / "steps.json").write_text(json.dumps(engine.steps))
    with contextlib.suppress(asyncio.CancelledError):
        await work


def main() -> None:
    folder, options = Path(sys.argv[0]).absolute().parents[1], options_of(sys.argv[1:])
    shape = REAL if torch.cuda.is_available() else SMALL
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "num_hidden_layers": shape.layers,
        "vocab_size": shape.vocabulary,
        "torch_dtype": "bfloat16",
    }
    Path(options.model).mkdir(parents=True, exist_ok=True)
    Path(options.model, "config.json").write_text(json.dumps(config))
    ranks = Ranks(options.tensor_parallel_size)
    try:
        asyncio.run(serve(options, ranks, shape.vocabulary, folder))
    finally:
        ranks.stop()


if __name__ == "__main__":
    main()
