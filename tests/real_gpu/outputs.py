# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure by how much the answers of healthy servers differ: ``outputs.py OUT outputs``; see ``run.sh``.

Starts a real vLLM on one GPU with each configuration in ``CASES``, sends the prompts of ``output_check`` several times,
alone and while other requests run, and compares all answers with those of the first server. ``damaged`` serves a copy
of the weights with a fault, which must be farther away than any healthy server. The weights are random, with a scale at
which some tokens are likely, as in a trained model.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import shapes
from ansible_collections.multigpu.vllm.tests.support.output_distances import distances, recordings, summary
from vllm_server import Case, Server, running

#: Longest expected seconds of a start and of the measurements of one server.
START, MEASUREMENT = 150, 90
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
        "fp8": Case(shape, arguments=("--quantization", "fp8")),
        "damaged": Case(shape),
    }


#: Cases that are run by default; each takes 100 to 160 s.
DEFAULT = f"{REFERENCE},one_sequence,triton"


def write_weights(model: Path, damage: bool) -> None:
    """Write random weights for ``config.json`` in ``model``. With ``damage``, zero a part of one of its matrices."""
    import torch
    import transformers

    torch.manual_seed(1)
    configuration = transformers.AutoConfig.from_pretrained(model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        weights = transformers.AutoModelForCausalLM.from_config(configuration).to(torch.bfloat16)
    with torch.no_grad():
        weights.get_output_embeddings().weight.mul_(SHARPNESS)
        if damage:
            layer = weights.model.layers[len(weights.model.layers) // 2]
            layer.mlp.down_proj.weight[: configuration.hidden_size // 8] = 0
    weights.save_pretrained(model)
    del weights
    if device == "cuda":
        torch.cuda.empty_cache()


class WeightsServer(Server):
    """A server that loads the weights from the model's folder."""

    def __init__(self, case: Case, folder: Path, work: Path, name: str) -> None:
        super().__init__(case, folder, work, ("--max-model-len", "8192"), {"VLLM_CACHE_ROOT": str(work / "cache")})
        model = work / "models" / f"{case.shape}-{'damaged' if name == 'damaged' else 'healthy'}"
        place = self.command.index("--load-format")
        self.command[place : place + 2] = []
        self.command[self.command.index(str(self.model))] = str(model)
        self.model = model

    def prepare(self, damage: bool) -> None:
        if not (self.model / "config.json").is_file():
            shapes.write(self.case.shape, self.model)
            write_weights(self.model, damage)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("mode", choices=["outputs"])
    parser.add_argument(
        "--cases", default=DEFAULT, help="names, separated by commas: reference, one_sequence, triton, fp8, damaged"
    )
    parser.add_argument("--shape", default="1.5b", choices=shapes.SHAPES)
    parser.add_argument("--budget", type=float, default=580, help="seconds after which no further server is started")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "multigpu-vllm-outputs"))
    parser.add_argument("--dry-run", action="store_true", help="print the servers' commands")
    options = parser.parse_args()
    known = cases(options.shape)
    wanted = options.cases.split(",")
    if unknown := set(wanted) - set(known):
        parser.error(f"unknown cases {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    # Stop the servers also when a time limit ends the run.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(143))
    deadline = time.monotonic() + options.budget
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, t.Any] = {}
    reference: list[dict[str, t.Any]] = []
    for name in wanted:
        server = WeightsServer(known[name], options.out / name, options.work, name)
        if options.dry_run:
            print(server)
            continue
        if deadline - time.monotonic() < START + MEASUREMENT / 3:
            results[name] = {"error": "not run: no time left"}
        else:
            results[name] = run(name, server, deadline, options.out, reference)
        print(json.dumps({name: {key: value for key, value in results[name].items() if key != "rows"}}), flush=True)
        (options.out / "distances.json").write_text(json.dumps(results, indent=1) + "\n")


def run(
    name: str, server: WeightsServer, deadline: float, out: Path, reference: list[dict[str, t.Any]]
) -> dict[str, t.Any]:
    """Start a server, and return its distances from ``reference``, which the first server fills."""
    begun = time.monotonic()
    server.prepare(damage=name == "damaged")
    prepared = time.monotonic() - begun
    with running([server], deadline):
        if server.start_seconds is None:
            return {"error": f"not up: {server.error()}"}
        # A server for one sequence would let the prompts wait for the other requests.
        loads = LOADS[:1] if "--enforce-eager" in server.case.arguments else LOADS
        measured = recordings(
            server.url, server.case.shape, loads, SEEDS, min(deadline, time.monotonic() + MEASUREMENT)
        )
    (out / name / "recordings.json").write_text(json.dumps(measured))
    reference[:] = reference or measured
    rows = list(distances(measured, reference))
    errors = [answer for item in measured for answer in item["answers"] if "error" in answer]
    return {
        "prepare_seconds": round(prepared, 1),
        "start_seconds": round(server.start_seconds, 1),
        "seconds": [item["seconds"] for item in measured],
        "errors": errors[:3],
        **{f"load {load}": summary([row for row in rows if row["load"] == load]) for load in LOADS},
        "rows": rows,
    }


if __name__ == "__main__":
    main()
