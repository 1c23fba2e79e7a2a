# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how far the answers of a real vLLM on CPU are from those of TP 1: healthy servers, and damaged weights.

``outputs.py OUT [CASE...]`` starts one server for each case and writes ``OUT/distances.json`` and the recordings.
A case whose recording exists is not started again.
``VLLM_VERSION`` selects the release (default 0.32.0), ``SEEDS`` the number of seeds (default 7).
All models are random; ``make_model.py`` writes them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

from ansible_collections.multigpu.vllm.tests.support.output_distances import Recording, distances, recordings, summary
from install import DEFAULT_VERSION, HERE, install
from serve import Server

#: Seeds of the prompts, which are 8 for each seed if the context is long enough.
SEEDS = range(int(os.environ.get("SEEDS", "7")))
CONTEXT = ("--max-model-len", "4096")


@dataclasses.dataclass(frozen=True)
class Case:
    """A server. ``damage`` is a fault of the weights that ``make_model.py`` knows."""

    size: int = 1
    arguments: tuple[str, ...] = ()
    damage: str = "none"
    loads: tuple[int, ...] = (0,)


#: The first case is the reference.
CASES: dict[str, Case] = {
    "tp1": Case(loads=(0, 6)),
    "tp2": Case(2, loads=(0, 6)),
    "tp1 float32": Case(arguments=("--dtype", "float32")),
    "tp2 one sequence": Case(2, arguments=("--max-num-seqs", "1")),
    "tp1 one row zero": Case(damage="row"),
    "tp2 eighth of a matrix zero": Case(2, damage="zero"),
    "tp2 halves of a matrix swapped": Case(2, damage="swap"),
    "tp1 one weight not a number": Case(damage="nan"),
}


def measure(home: Path, out: Path, name: str, case: Case) -> None:
    """Record the answers of the server to ``OUT/NAME.json``."""
    model = out / "models" / case.damage
    if not (model / "config.json").is_file():
        python = str(home / "venv" / "bin" / "python")
        subprocess.run([python, str(HERE / "make_model.py"), str(model), "sharp", case.damage], check=True)
    with Server(home, out / f"{name}.log", case.size, model, (*CONTEXT, *case.arguments)) as server:
        measured = recordings(server.url, "small", case.loads, SEEDS)
    (out / f"{name}.json").write_text(json.dumps(measured))


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(143))
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    home = install(os.environ.pop("VLLM_VERSION", DEFAULT_VERSION))
    results: dict[str, t.Any] = {}
    reference: list[Recording] = []
    for name in sys.argv[2:] or CASES:
        case = CASES[name]
        if not (out / f"{name}.json").is_file():
            measure(home, out, name, case)
        measured = json.loads((out / f"{name}.json").read_text())
        reference = reference or measured
        rows = list(distances(measured, reference))
        errors = [answer for item in measured for answer in item["answers"] if "error" in answer]
        results[name] = {"errors": len(errors), "first_errors": errors[:2], **summary(rows), "rows": rows}
        shown = {key: value for key, value in results[name].items() if key != "rows"}
        sys.stdout.write(json.dumps({name: shown}) + "\n")
        sys.stdout.flush()
        (out / "distances.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
