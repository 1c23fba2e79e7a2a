# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server with vLLM's API, scheduling, metrics and log by the emulator, whose every step is real work on a GPU.

Started as ``python FOLDER/bin/vllm serve MODEL --port N``, where ``bin/vllm`` is a link to this file. The times of its
steps go to ``FOLDER/steps.json`` when it ends: what a client measured can be held against them.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from decoder import REAL, SMALL, Decoder

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "roles/simulated_node/files/simulator"))

from emulator.api import Api, Server  # noqa: E402
from emulator.engine import Engine, Sequence  # noqa: E402
from emulator.http import Connection  # noqa: E402
from emulator.logs import Log  # noqa: E402
from emulator.metrics import Metrics  # noqa: E402
from emulator.requests import Dialect  # noqa: E402
from emulator.scenario import GIB, load_json  # noqa: E402
from emulator.tokens import Tokenizer  # noqa: E402

VERSION = "0.32.0"
SLOTS, CONTEXT, BATCHED = 32, 1024, 2048


class GpuEngine(Engine):
    """The emulator's engine with a decoder in the place of its clock. Works in one thread, as CUDA likes it."""

    def __init__(self, decoder: Decoder, metrics: Metrics) -> None:
        super().__init__(_no_speed, metrics, SLOTS, BATCHED, SLOTS * CONTEXT)
        self._decoder = decoder
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._slots: dict[Sequence, int] = {}
        #: Batch size -> seconds of each of its steps that computed no prompt.
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
        for sequence, tokens in prefill:
            self._decoder.prefill(self._slots[sequence], tokens, sequence.prefilled)
        if decoding:
            positions = [min(sequence.prompt_tokens + sequence.generated, CONTEXT) - 1 for sequence in decoding]
            seconds = self._decoder.decode([self._slots[sequence] for sequence in decoding], positions)
            if not prefill:
                self.steps.setdefault(len(decoding), []).append(seconds)


def _no_speed() -> Any:
    raise NotImplementedError("the decoder sets the pace")


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vllm")
    parser.add_argument("command", choices=("serve",))
    parser.add_argument("model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-model-len", type=int, default=CONTEXT)
    return parser.parse_args(arguments)


def boot(log: Log, options: argparse.Namespace, decoder: Decoder) -> None:
    """The lines of a start, with this server's own figures."""
    cache = decoder.keys.nbytes + decoder.values.nbytes
    facts = {
        "version": VERSION,
        "model": options.model,
        "served_model_name": options.model,
        "non_default_args": {"model_tag": options.model, "host": options.host, "port": options.port},
        "max_model_len": CONTEXT,
        "max_model_len_grouped": f"{CONTEXT:,}",
        "max_num_batched_tokens": BATCHED,
        "tensor_parallel_size": 1,
        "disable_custom_all_reduce": False,
        "enforce_eager": False,
        "kv_cache_dtype": "auto",
        "rendezvous": 40000,
        "nccl_version": "2.28.9",
        "transport": "none",
        "weights_gib": f"{decoder.weight_bytes / GIB:.2f}",
        "loaded_gib": f"{decoder.weight_bytes / GIB:.2f}",
        "kv_gib": f"{cache / GIB:.2f}",
        "kv_tokens": f"{SLOTS * CONTEXT:,}",
        "kv_concurrency": f"{SLOTS:.2f}",
        "host": options.host,
        "port": options.port,
        "api_pid": os.getpid(),
    }
    template = (ROOT / f"roles/simulated_node/files/simulator/data/versions/boot-{VERSION}.log").read_text("utf-8")
    own = template.replace("torch.float16", "torch.bfloat16").replace("quantization=awq_marlin", "quantization=None")
    log.boot([line for line in own.splitlines() if "awq" not in line], facts)


async def serve(options: argparse.Namespace, decoder: Decoder, folder: Path) -> None:
    metrics = Metrics(load_json(f"data/versions/metrics-{VERSION}.json"), options.model, {"block_size": "16"})
    engine = GpuEngine(decoder, metrics)
    server = Server(
        dialect=Dialect(tuple(int(part) for part in VERSION.split(".")), options.model),
        model_root=options.model,
        max_model_len=CONTEXT,
        version=VERSION,
        fingerprint=f"vllm-{VERSION}-00000000",
        api_key=None,
        started=int(time.time()),
    )
    api = Api(server, engine, metrics, Tokenizer(decoder.shape.vocabulary))
    log = Log(VERSION, os.getpid(), os.getpid(), worker_pids=[os.getpid()])
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    work = asyncio.create_task(engine.run())
    work.add_done_callback(lambda _done: stopped.set())
    await asyncio.get_running_loop().create_server(
        lambda: Connection(api.handle, log.access), options.host, options.port, backlog=1024
    )
    boot(log, options, decoder)
    await stopped.wait()
    work.cancel()
    (folder / "steps.json").write_text(json.dumps(engine.steps))
    await asyncio.gather(work)


def main() -> None:
    folder, options = Path(sys.argv[0]).absolute().parents[1], options_of(sys.argv[1:])
    gpu = torch.cuda.is_available()
    shape, device = (REAL, torch.device("cuda", 0)) if gpu else (SMALL, torch.device("cpu"))
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
    try:
        asyncio.run(serve(options, Decoder(shape, SLOTS, CONTEXT, device), folder))
    except asyncio.CancelledError:
        sys.exit(0)


if __name__ == "__main__":
    main()
