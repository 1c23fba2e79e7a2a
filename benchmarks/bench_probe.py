# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How true and how cheap throughput_probe is, against a paced server that knows the truth.

Runs the module in a process of its own, as on a node, and compares what it reports with what the server
(tests/support/paced_server.py) did in the same run. Prints a table, and writes all figures as JSON::

    .venv/bin/python benchmarks/bench_probe.py --streams 128 512 1024 --runs 5 --output .benchmark-results.json
    .venv/bin/python benchmarks/bench_probe.py --streams 64 --runs 5 --burst 8 --jitter 0.5 --stall 0.3 --gap 0.06

``wall_overhead`` is the time of the whole process beyond the load itself: start-up, sizing, wind-down.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVER = ROOT / "tests/support/paced_server.py"
MODULE = ROOT / "plugins/modules/throughput_probe.py"
PACE = ("first", "gap", "burst", "jitter", "stall")


def run_module(options: dict[str, t.Any]) -> tuple[dict[str, t.Any], dict[str, float]]:
    """The module's result, and what its whole process took: ``wall``, ``cpu`` (seconds), ``memory`` (bytes)."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = Path(folder, "arguments.json")
        arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
        with Path(folder, "out").open("w+") as out:
            begun = time.monotonic()
            process = subprocess.Popen([sys.executable, str(MODULE), str(arguments)], stdout=out)
            _pid, status, usage = os.wait4(process.pid, 0)
            wall = time.monotonic() - begun
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            result = json.loads(out.read())
    if "results" not in result:
        raise SystemExit(f"the module failed: {result.get('msg')}")
    cost = {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss * 1024}
    return result, cost


def one_run(streams: int, options: argparse.Namespace) -> dict[str, t.Any]:
    """One load of a fresh server: what the server knows, what the probe says, what the probe cost."""
    pace = [f"--{key}={getattr(options, key)}" for key in PACE]
    server = subprocess.Popen([sys.executable, str(SERVER), *pace], stdout=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{int(t.cast(t.IO[str], server.stdout).readline())}"
        step = {
            "prompt_tokens": options.prompt_tokens,
            "output_tokens": options.output_tokens,
            "concurrency": streams,
            "requests": streams * options.requests_per_stream,
        }
        # No warm-up: the server's truth is then of the very same requests.
        result, cost = run_module({"base_url": url, "steps": [step], "warmup_requests": 0, "sample_gpus": False})
        with urllib.request.urlopen(url + "/truth", timeout=30) as answer:
            truth = json.load(answer)
    finally:
        server.kill()
        server.wait()
    measured = result["results"][0]
    cost["wall_overhead"] = cost["wall"] - measured["duration"]
    return {"truth": truth, "measured": measured, "cost": cost, "errors": errors(truth, measured)}


def errors(truth: dict[str, t.Any], measured: dict[str, t.Any]) -> dict[str, float]:
    """Relative errors, 0.01 is 1 % too much; ``tokens`` is a difference in tokens."""
    compared = {
        f"{figure}_{key}": measured[figure][key] / truth[figure][key] - 1
        for figure in ("ttft", "itl")
        for key in ("mean", "p50", "p95", "p99")
    }
    compared["throughput"] = measured["output_throughput"] / truth["throughput"] - 1
    compared["tokens"] = measured["tokens"] - truth["tokens"]
    return compared


def medians(runs: list[dict[str, t.Any]]) -> dict[str, float]:
    """Median of each error's size, of each cost, and of the client's own figures."""
    result = {key: statistics.median(abs(run["errors"][key]) for run in runs) for key in runs[0]["errors"]}
    result |= {key: statistics.median(run["cost"][key] for run in runs) for key in runs[0]["cost"]}
    result["lag_p99"] = statistics.median(run["measured"]["client"]["lag_p99"] for run in runs)
    result["tokens_per_second"] = statistics.median(run["measured"]["output_throughput"] for run in runs)
    result["void"] = sum(run["measured"]["void"] for run in runs)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[128, 512, 1024])
    parser.add_argument("--runs", type=int, default=5, help="runs of each, of which the median is told")
    parser.add_argument("--requests-per-stream", type=int, default=2)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--output-tokens", type=int, default=200)
    parser.add_argument("--output", type=Path, help="write all figures here as JSON")
    for key, value in zip(PACE, (0.2, 0.02, 1, 0.0, 0.0), strict=True):
        parser.add_argument(f"--{key}", type=type(value), default=value)
    options = parser.parse_args()
    report: dict[str, t.Any] = {
        "machine": {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()},
        "options": {key: value for key, value in vars(options).items() if key != "output"},
        "loads": {},
    }
    print("streams  TTFT p50   p99  ITL p50   p99  tokens/s (error)  overhead    CPU  memory   lag  void")
    for streams in options.streams:
        runs = [one_run(streams, options) for _run in range(options.runs)]
        middle = medians(runs)
        report["loads"][str(streams)] = {"median": middle, "runs": runs}
        print(
            "{streams:7d}  {ttft_p50:7.2%} {ttft_p99:6.1%}  {itl_p50:6.2%} {itl_p99:5.1%}"
            "  {tokens_per_second:8,.0f} ({throughput:.2%})  {wall_overhead:6.2f} s {cpu:4.1f} s {memory:4.0f} MB"
            " {lag:4.0f} ms {void:3d}".format(
                **middle | {"memory": middle["memory"] / 1e6, "lag": middle["lag_p99"] * 1e3}, streams=streams
            ),
            flush=True,
        )
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
