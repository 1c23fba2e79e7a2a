# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure accuracy and cost of throughput_probe against a paced server that records the true latencies.

Runs the module in a separate process, as on a node, and compares what it reports with what the server
(tests/support/paced_server.py) did in the same run::

    .venv/bin/python benchmarks/bench_probe.py --streams 128 512 1024 --runs 5 --output .cache/bench/probe.json

``overhead`` is the time of the whole process without the load itself: start-up, sizing and wind-down.
"""

from __future__ import annotations

import functools
import typing as t

from common import (
    PACE,
    Cost,
    Figures,
    PacedServer,
    arguments,
    compare_with_truth,
    machine,
    medians,
    run_module,
    write_json,
)

COLUMNS = (
    "streams  TTFT p50   p99  ITL p50   p99  tokens/s (error)  overhead    CPU  memory   lag  void",
    "{streams:7d}  {ttft_p50:7.2%} {ttft_p99:6.1%}  {itl_p50:6.2%} {itl_p99:5.1%}  {rate:8,.0f} ({throughput:.2%})"
    "  {overhead:6.2f} s {cpu:4.1f} s {memory:4.0f} MB {lag:4.0f} ms {void:3d}",
)


def load(server: PacedServer, streams: int, size: t.Mapping[str, int], **more: t.Any) -> tuple[Figures, Cost]:
    """Run one step of ``size`` (``prompt_tokens, output_tokens, requests_per_stream``); return result and cost."""
    step = {
        "prompt_tokens": size["prompt_tokens"],
        "output_tokens": size["output_tokens"],
        "concurrency": streams,
        "requests": streams * size["requests_per_stream"],
    }
    # No warm-up and no retries, so that the server's truth covers exactly these requests.
    options = {"base_url": server.url, "steps": [step], "warmup_requests": 0, "sample_gpus": False, **more}
    options |= {"client_limited_retries": 0}
    result, cost = run_module("throughput_probe", options)
    if not result["results"]:
        raise SystemExit(f"throughput_probe measured no step: {[finding['summary'] for finding in result['findings']]}")
    return result["results"][0], cost


def summarise(runs: list[Figures]) -> Figures:
    """Return the medians of absolute errors and costs; ``void`` counts runs that the probe declared void."""
    return {
        "errors": medians([run["errors"] for run in runs], size=True),
        "cost": medians([run["cost"] for run in runs]),
        "output_throughput": medians([run["measured"] for run in runs])["output_throughput"],
        "client": medians([run["measured"]["client"] for run in runs]),
        "void": sum(run["measured"]["void"] for run in runs),
    }


def line(streams: int, figures: Figures) -> str:
    return COLUMNS[1].format(
        streams=streams,
        rate=figures["output_throughput"],
        lag=figures["client"]["lag_p99"] * 1e3,
        void=figures["void"],
        **figures["errors"],
        **figures["cost"] | {"memory": figures["cost"]["memory"] / 1e6},
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[128, 512, 1024])
    size = {"requests_per_stream": 2, "prompt_tokens": 128, "output_tokens": 200}
    for key, value in {**size, **PACE}.items():
        parser.add_argument(f"--{key.replace('_', '-')}", type=type(value), default=value)
    options = vars(parser.parse_args())
    size, pace = ({key: options[key] for key in names} for names in (size, PACE))
    report: Figures = {"machine": machine(), "pace": pace, "size": size, "runs": options["runs"], "loads": {}}
    print(COLUMNS[0])
    for streams in options["streams"]:
        runs = [
            compare_with_truth(functools.partial(load, streams=streams, size=size), pace)
            for _run in range(options["runs"])
        ]
        report["loads"][str(streams)] = {"median": summarise(runs), "runs": runs}
        print(line(streams, report["loads"][str(streams)]["median"]), flush=True)
    write_json(report, options["output"])


if __name__ == "__main__":
    main()
