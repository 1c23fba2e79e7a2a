# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check throughput_probe against a server that sends 1 to 8 tokens per chunk, with jitter and stalls.

The probe must count every token, and the distribution of its inter-token latencies must equal the server's. They are
compared by the two-sample Kolmogorov-Smirnov statistic D, the largest distance between two cumulative distributions
(N. Smirnov, "Table for estimating the goodness of fit of empirical distributions", Ann. Math. Stat. 19 (1948) 279-281).
D must be at most 0.05. Two samples of one distribution exceed the ``critical`` value in one of twenty cases; it is
1.358 * sqrt((n + m) / (n * m))::

    .venv/bin/python benchmarks/bench_second_truth.py --streams 64 512 --runs 5 --output .cache/bench/second_truth.json
"""

from __future__ import annotations

import bisect
import functools
import math
import typing as t
from collections.abc import Sequence

from bench_probe import load
from common import PACE, Figures, arguments, compare_with_truth, machine, medians, write_json

PACED = PACE | {"gap": 0.06, "burst": 8, "jitter": 0.5, "stall": 0.3}
SIZE = {"requests_per_stream": 2, "prompt_tokens": 128, "output_tokens": 200}
LIMIT = 0.05


def edge(number: int) -> float:
    """Return the lower edge of a bin of the module's ``mergeable`` distributions in seconds, as it documents them."""
    return math.exp((number - 70000) / 1000)


def distance(values: Sequence[float], histogram: Sequence[tuple[float, float, int]]) -> Figures:
    """Return D between ``values`` and a histogram of ``(lower edge, upper edge, count)``, and its critical value.

    D is evaluated at the edges, because the positions of values inside a bin (0.1 % wide) are unknown.
    """
    ordered, total = sorted(values), sum(count for _lower, _upper, count in histogram)
    largest, below = 0.0, 0
    for lower, upper, count in histogram:
        for position, counted in ((lower, below), (upper, below + count)):
            largest = max(largest, abs(bisect.bisect_left(ordered, position) / len(ordered) - counted / total))
        below += count
    return {"d": largest, "critical": 1.358 * math.sqrt((len(ordered) + total) / (len(ordered) * total))}


def one_run(streams: int) -> Figures:
    run = compare_with_truth(functools.partial(load, streams=streams, size=SIZE, mergeable=True), PACED, values=True)
    bins = run["measured"].pop("mergeable")["outcomes"][0]["itl"]["bins"]
    histogram = [(edge(number), edge(number + 1), count) for number, count in sorted(bins)]
    run["itl"] = distance(run["truth"].pop("values")["itl"], histogram)
    return run


def summarise(runs: Sequence[Figures]) -> dict[str, t.Any]:
    """Return medians, and as ``tokens`` and ``d_max`` the largest difference in tokens and the largest distance."""
    return {
        "itl": medians([run["itl"] for run in runs]) | {"d_max": max(run["itl"]["d"] for run in runs)},
        "errors": medians([run["errors"] for run in runs], size=True),
        "tokens": max(abs(run["errors"]["tokens"]) for run in runs),
        "count": runs[0]["truth"]["tokens"],
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[64, 512])
    options = parser.parse_args()
    report: Figures = {
        "machine": machine(),
        "pace": PACED,
        "size": SIZE,
        "limit": LIMIT,
        "runs": options.runs,
        "loads": {},
    }
    print("streams   tokens  miscounted  ITL: D (limit 0.05)    worst  critical  ITL p50    p99  tokens/s")
    for streams in options.streams:
        runs = [one_run(streams) for _run in range(options.runs)]
        figures = summarise(runs)
        report["loads"][str(streams)] = {"median": figures, "runs": runs}
        print(
            "{streams:7d}  {count:7,d}  {tokens:10d}  {d:19.4f}  {d_max:7.4f}  {critical:8.4f}"
            "  {itl_p50:7.2%} {itl_p99:6.2%}  {throughput:8.2%}".format(
                **figures["errors"] | {"tokens": figures["tokens"]},
                **figures["itl"],
                streams=streams,
                count=figures["count"],
            ),
            flush=True,
        )
    write_json(report, options.output)


if __name__ == "__main__":
    main()
