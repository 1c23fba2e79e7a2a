# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether throughput_probe tells tokens from chunks: a server that sends 1 to 8 tokens a chunk, with jitter and stalls.

The probe must count every token, and the distribution of its inter-token latencies must be the server's. The two are
compared by the two-sample Kolmogorov-Smirnov statistic D, the largest distance between two cumulative distributions
(N. Smirnov, "Table for estimating the goodness of fit of empirical distributions", Ann. Math. Stat. 19 (1948) 279-281).
D must be at most 0.05; ``critical`` is what two samples of one distribution exceed once in twenty times,
1.358 * sqrt((n + m) / (n * m))::

    .venv/bin/python benchmarks/bench_second_truth.py --streams 64 512 --runs 5 --output .cache/bench/second_truth.json
"""

from __future__ import annotations

import bisect
import functools
import json
import math
import sys
import typing as t
from collections.abc import Sequence

from common import PACE, Cost, Figures, PacedServer, arguments, judged, machine, measure, medians, write

PACED = PACE | {"gap": 0.06, "burst": 8, "jitter": 0.5, "stall": 0.3}
SIZE = {"requests_per_stream": 2, "prompt_tokens": 128, "output_tokens": 200}
LIMIT = 0.05
#: The module's own work in a process of its own, which also tells the histogram behind the percentiles.
PROBE = """
import json, math, sys
from ansible_collections.multigpu.vllm.plugins.module_utils.load import probe, statistics
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step
kept = []
class Keeping(probe.RealDriver):
    def run(self, *arguments):
        kept.append(super().run(*arguments))
        return kept[-1]
url, step = sys.argv[1], Step(name="second truth", **json.loads(sys.argv[2]))
options = probe.Options(url, (step,), warmup_requests=0, sample_gpus=False)
result = probe.probe(options, Keeping())["results"][0]
edge = lambda bucket: math.exp((bucket - statistics._OFFSET) / statistics._RESOLUTION)
buckets = sorted(kept[-1].latencies.itl._buckets.items())
print(json.dumps(result | {"histogram": [[edge(key), edge(key + 1), count] for key, count in buckets]}))
"""


def load(server: PacedServer, streams: int) -> tuple[Figures, Cost]:
    step = {
        "prompt_tokens": SIZE["prompt_tokens"],
        "output_tokens": SIZE["output_tokens"],
        "concurrency": streams,
        "requests": streams * SIZE["requests_per_stream"],
    }
    finished = measure([sys.executable, "-c", PROBE, server.url, json.dumps(step)])
    if finished.status:
        raise SystemExit(finished.errors)
    return json.loads(finished.output), finished.cost


def distance(values: Sequence[float], histogram: Sequence[tuple[float, float, int]]) -> Figures:
    """D between ``values`` and a histogram of ``(lower edge, upper edge, count)``, and its critical value.

    D is looked for at the edges: between two of them, 0.1 % apart, the histogram does not say where its values lie.
    """
    ordered, total = sorted(values), sum(count for _lower, _upper, count in histogram)
    largest, below = 0.0, 0
    for lower, upper, count in histogram:
        for edge, seen in ((lower, below), (upper, below + count)):
            largest = max(largest, abs(bisect.bisect_left(ordered, edge) / len(ordered) - seen / total))
        below += count
    return {"d": largest, "critical": 1.358 * math.sqrt((len(ordered) + total) / (len(ordered) * total))}


def one_run(streams: int) -> Figures:
    run = judged(functools.partial(load, streams=streams), PACED, values=True)
    run["itl"] = distance(run["truth"].pop("values")["itl"], run["measured"].pop("histogram"))
    return run


def middle(runs: Sequence[Figures]) -> dict[str, t.Any]:
    """Medians, and the worst: ``tokens`` is the largest difference of counts, ``d_max`` the largest distance."""
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
    report: Figures = {"machine": machine(), "pace": PACED, "size": SIZE, "limit": LIMIT, "loads": {}}
    print("streams   tokens  miscounted  ITL: D (limit 0.05)    worst  critical  ITL p50    p99  tokens/s")
    for streams in options.streams:
        runs = [one_run(streams) for _run in range(options.runs)]
        figures = middle(runs)
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
    write(report, options.output)


if __name__ == "__main__":
    main()
