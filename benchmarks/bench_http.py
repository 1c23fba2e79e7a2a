# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare throughput_probe's HTTP client with the same load over other HTTP libraries.

The other clients do only the minimum (http_client.py), while the probe does all of its work. They run in vLLM's
environment, which has all of the libraries (benchmarks/peers.sh)::

    .venv/bin/python benchmarks/bench_http.py --streams 128 1024 --runs 5 --output .cache/bench/http.json
"""

from __future__ import annotations

import json

from bench_peers import OURS, SIZE, VLLM, ours, summarise
from common import PACE, ROOT, Cost, Figures, PacedServer, arguments, compare_with_truth, machine, measure, write_json

PYTHON = VLLM / "venv/bin/python"
CLIENT = ROOT / "benchmarks/http_client.py"
NAMES = {
    OURS: "throughput_probe, whole",
    "buffered": "asyncio.BufferedProtocol",
    "protocol": "asyncio.Protocol",
    "streams": "asyncio streams",
    "aiohttp": "aiohttp",
    "httpx": "httpx",
    "requests": "requests, a thread per stream",
}


def summary(values: list[float]) -> Figures:
    ordered = sorted(values)
    picked = {name: ordered[int(q * (len(ordered) - 1))] for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
    return {"mean": sum(ordered) / len(ordered)} | picked


def run_client(machinery: str, server: PacedServer, streams: int) -> tuple[Figures, Cost]:
    size = {
        "streams": streams,
        "requests-per-stream": SIZE["requests_per_stream"],
        "prompt-tokens": SIZE["prompt_tokens"],
        "output-tokens": SIZE["output_tokens"],
    }
    options = [word for name, value in size.items() for word in (f"--{name}", str(value))]
    finished = measure([PYTHON, CLIENT, machinery, "--url", server.url, *options], timeout=120)
    if finished.status:
        raise SystemExit(f"{machinery}: {finished.errors}")
    measured = json.loads(finished.output)
    figures = {key: summary(measured[key]) for key in ("ttft", "itl")}
    return figures | {
        "tokens": measured["tokens"],
        "output_throughput": measured["tokens"] / measured["duration"],
    }, finished.cost


def one_run(machinery: str, streams: int) -> Figures:
    """Load a new server over ``machinery``; ``failed`` holds the error if there are no figures."""
    try:
        return compare_with_truth(
            lambda server: ours(server, streams) if machinery == OURS else run_client(machinery, server, streams)
        )
    except SystemExit as problem:
        return {"failed": str(problem)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--machinery", nargs="+", choices=NAMES, default=list(NAMES))
    options = parser.parse_args()
    if not PYTHON.exists():
        parser.error("vLLM's environment is not installed; benchmarks/peers.sh installs it")
    report: Figures = {
        "machine": machine(),
        "pace": PACE,
        "size": SIZE,
        "names": NAMES,
        "runs": options.runs,
        "loads": {},
    }
    print(f"streams  {'machinery':<38}TTFT p50     p99  ITL p50     p99  throughput    CPU  memory")
    for streams in options.streams:
        runs: dict[str, list[Figures]] = {name: [] for name in options.machinery}
        for _run in range(options.runs):
            for name in options.machinery:
                runs[name].append(one_run(name, streams))
        entries = {name: {"median": summarise(results), "runs": results} for name, results in runs.items()}
        report["loads"][str(streams)] = entries
        for name, entry in entries.items():
            print(line(streams, NAMES[name], entry["median"]), flush=True)
        write_json(report, options.output)


def line(streams: int, name: str, median: Figures) -> str:
    if "cost" not in median:
        return f"{streams:7d}  {name:<38}failed: {median['failed'][-1][:60]}"
    wrong, cost = median["errors"], median["cost"]
    return (
        f"{streams:7d}  {name:<38}{wrong['ttft_p50']:8.1%} {wrong['ttft_p99']:7.1%} {wrong['itl_p50']:8.1%}"
        f" {wrong['itl_p99']:7.1%}  {wrong['throughput']:10.1%}  {cost['cpu']:5.1f} s {cost['memory'] / 1e6:4.0f} MB"
    )


if __name__ == "__main__":
    main()
