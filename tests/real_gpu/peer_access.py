# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the test of GPU pairs with PyTorch's copies and nccl-tests, and inject wrong data; see ``run.sh``.

``peer_access.py OUT peers [RUNS]`` needs two GPUs and tests them ``RUNS`` times (default: 5), because a fault or a
mistake of the test may not show each time. For nccl-tests, ``ALL_REDUCE_PERF`` is the path of the program.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path
from unittest import mock

import torch
from ansible_collections.multigpu.vllm.plugins.module_utils.peer import program

GPUS = range(torch.cuda.device_count())
ARMS = {"default": {}, "p2p_off": {"NCCL_P2P_DISABLE": "1"}}
PROTOCOLS = {
    f"{arm}_{protocol}": {**variables, "NCCL_PROTO": protocol}
    for arm, variables in ARMS.items()
    for protocol in ("LL", "Simple")
}
LARGE = [32 << 20, 64 << 20, 128 << 20, 256 << 20]


def lines(**options: t.Any) -> tuple[list[dict[str, t.Any]], float]:
    """Run the program; return its results and the seconds that it took."""
    printed = io.StringIO()
    begun = time.perf_counter()
    configuration = json.dumps({"gpus": list(GPUS), **options})
    with mock.patch.object(sys, "argv", ["program.py", configuration]), contextlib.redirect_stdout(printed):
        program.main()
    return [json.loads(line) for line in printed.getvalue().splitlines()], time.perf_counter() - begun


def healthy(out: Path, runs: int) -> list[dict[str, t.Any]]:
    result = []
    for run in range(runs):
        rows, seconds = lines(arms=PROTOCOLS)
        (out / f"healthy-{run + 1}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        bad = [row for row in rows if row.get("wrong") or "error" in row or "hangs" in row]
        result.append({"seconds": round(seconds, 1), "results": len(rows), "bad": bad})
    return result


def torch_copies() -> dict[str, float]:
    """Return the bandwidth in bytes per second of PyTorch's copies between each ordered pair."""
    speeds = {}
    for one, other in itertools.permutations(GPUS, 2):
        source = torch.ones(16 << 20, dtype=torch.int32, device=f"cuda:{one}")
        target = torch.zeros_like(source, device=f"cuda:{other}")
        best = 0.0
        for _round in range(5):
            torch.cuda.synchronize(one)
            begun = time.perf_counter()
            for _copy in range(200):
                target.copy_(source, non_blocking=True)
            torch.cuda.synchronize(one)
            torch.cuda.synchronize(other)
            best = max(best, 200 * source.nbytes / (time.perf_counter() - begun))
        speeds[f"{one}-{other}"] = best
    return speeds


def bus_bandwidths(out: Path) -> list[dict[str, t.Any]]:
    """Return bus bandwidths in GB/s of all-reduces of each size, ours and those of nccl-tests, in turn."""
    rows = []
    perf = os.environ.get("ALL_REDUCE_PERF")
    for arm, variables in ARMS.items():
        ours, _seconds = lines(
            arms={arm: variables}, copies=False, pairs=False, under_load=False, sizes=LARGE, repeats=40, deadline=30
        )
        row: dict[str, t.Any] = {"arm": arm}
        row["ours"] = {
            item["bytes"] >> 20: round(item["bytes"] / item["seconds"] * 2 * (len(GPUS) - 1) / len(GPUS) / 1e9, 2)
            for item in ours
            if item.get("seconds")
        }
        if perf:
            report = out / f"nccl-tests-{arm}.json"
            argv = [perf, "-b", "32M", "-e", "256M", "-f", "2", "-n", "40", "-g", str(len(GPUS)), "-J", str(report)]
            done = subprocess.run(argv, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
            (out / f"nccl-tests-{arm}.txt").write_text(done.stdout + done.stderr)
            if report.exists():
                results = json.loads(report.read_text())["results"]
                row["nccl-tests"] = {
                    int(item["size"]) >> 20: [item[kind]["bus_bw"] for kind in ("out_of_place", "in_place")]
                    for item in results
                }
        rows.append(row)
    return rows


def injected(rounds: int) -> dict[str, t.Any]:
    """Change one byte between the write and the check, at a random place; return how often it was found."""
    send = program.GpuProcess.send

    def wrong(self: program.GpuProcess, method: str, other: int, size: int, seed: int) -> None:
        send(self, method, other, size, seed)
        at = int.from_bytes(os.urandom(8), "little") % size
        address = self.peers[other] + at
        changed = bytes([self.driver.get(address, 1)[0] ^ (1 << os.urandom(1)[0] % 8)])
        self.driver.put(address, changed)
        self.driver.wait()

    found = tests = 0
    with mock.patch.object(program.GpuProcess, "send", wrong):
        for _round in range(rounds):
            for size in (4, 1 << 10, 1 << 20, 1 << 26):
                rows, _seconds = lines(arms={}, sizes=[size])
                rows = [row for row in rows if row["test"] in ("copy", "write")]
                tests += len(rows)
                found += sum(row.get("wrong", 0) > 0 for row in rows)
    return {"tests": tests, "found": found}


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    for name, test in {
        "healthy": lambda: healthy(out, runs),
        "bus_bandwidths": lambda: bus_bandwidths(out),
        "injected": lambda: injected(3),
        "torch_copies": torch_copies,
    }.items():
        print(json.dumps({name: test()}), flush=True)


if __name__ == "__main__":
    main()
