# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why throughput_probe speaks HTTP through asyncio.BufferedProtocol: the same load over other machinery.

The others do only what none can leave out (http_client.py), the probe does all that it ever does. They run in
vLLM's environment, which has them all (benchmarks/peers.sh)::

    .venv/bin/python benchmarks/bench_http.py --streams 128 1024 --runs 5 --output .cache/bench/http.json
"""

from __future__ import annotations

import json

from bench_peers import OURS, SIZE, VLLM, middle, ours
from common import PACE, ROOT, Cost, Figures, PacedServer, arguments, judged, machine, measure, write

PYTHON = VLLM / "venv/bin/python"
CLIENT = ROOT / "benchmarks/http_client.py"
NAMES = {
    OURS: "throughput_probe, whole",
    "buffered": "asyncio.BufferedProtocol",
    "protocol": "asyncio.Protocol",
    "streams": "asyncio streams",
    "aiohttp": "aiohttp",
    "httpx": "httpx",
    "requests": "requests, a thread a stream",
}


def summary(values: list[float]) -> Figures:
    ordered = sorted(values)
    picked = {name: ordered[int(q * (len(ordered) - 1))] for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
    return {"mean": sum(ordered) / len(ordered)} | picked


def other(machinery: str, server: PacedServer, streams: int) -> tuple[Figures, Cost]:
    size = {
        "streams": streams,
        "each": SIZE["requests_per_stream"],
        "prompt-tokens": SIZE["prompt_tokens"],
        "output-tokens": SIZE["output_tokens"],
    }
    options = [word for name, value in size.items() for word in (f"--{name}", str(value))]
    finished = measure([PYTHON, CLIENT, machinery, "--url", server.url, *options], timeout=120)
    if finished.status:
        raise SystemExit(f"{machinery}: {finished.errors}")
    found = json.loads(finished.output)
    figures = {key: summary(found[key]) for key in ("ttft", "itl")}
    return figures | {
        "tokens": found["tokens"],
        "output_throughput": found["tokens"] / found["duration"],
    }, finished.cost


def one_run(machinery: str, streams: int) -> Figures:
    """One load of a fresh server over ``machinery``; ``failed`` says why there are no figures."""
    try:
        return judged(lambda server: ours(server, streams) if machinery == OURS else other(machinery, server, streams))
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
        entries = {name: {"median": middle(found), "runs": found} for name, found in runs.items()}
        report["loads"][str(streams)] = entries
        for name, entry in entries.items():
            print(line(streams, NAMES[name], entry["median"]), flush=True)
        write(report, options.output)


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
