# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare throughput_probe with other load tools against the same paced server.

Each tool sends the same requests to a new server and is compared with what that server recorded. The tools run
alternately, so that a disturbance of the machine affects all of them. benchmarks/peers.sh installs the other tools::

    .venv/bin/python benchmarks/bench_peers.py --streams 128 512 --runs 5 --output .cache/bench/peers.json
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench_probe import load
from common import (
    PACE,
    ROOT,
    Cost,
    Figures,
    PacedServer,
    arguments,
    compare_with_truth,
    machine,
    measure,
    medians,
    write_json,
)

VLLM = ROOT / ".cache/vllm-0.32.0"
PEERS = ROOT / ".cache/peers"
#: Tokenizer for tools that count or generate tokens themselves; nothing is downloaded.
TOKENIZER = VLLM / "model"
SIZE = {"prompt_tokens": 128, "output_tokens": 200, "requests_per_stream": 2}
OURS = "throughput_probe"
#: Seconds after which a tool is killed.
TOOL_TIMEOUT = 180.0
#: Figures compared as a ratio of ours to the best of the others -> their section in a run.
RATIOS = {"cpu": "cost", "memory": "cost", "overhead": "cost", "ttft_p50": "errors", "ttft_p99": "errors"}
ROW = "{streams:7d}  {tool:<22}{ttft_p50:>9} {ttft_p99:>9} {itl_p50:>9} {itl_p99:>9} {throughput:>8}  {cost}"
COST = "{overhead:6.1f} s {cpu:6.1f} s {memory:6.0f} MB"


@dataclass(frozen=True)
class Tool:
    """A load tool; ``itl`` describes the interval over which it measures one inter-token latency."""

    name: str
    itl: str
    run: Callable[[PacedServer, int, Path], tuple[Figures, Cost]]
    #: Returns the command, for the report.
    command: Callable[[str, int, Path], list[str]] | None = None
    installed: Path | None = None


def ours(server: PacedServer, streams: int, _folder: Path | None = None) -> tuple[Figures, Cost]:
    measured, cost = load(server, streams, SIZE)
    keys = ("ttft", "itl", "tokens", "output_throughput", "client", "void")
    return {key: measured[key] for key in keys}, cost


def peer(
    command: Callable[[str, int, Path], list[str]], read: Callable[[Path], Figures], env: dict[str, str]
) -> Callable[[PacedServer, int, Path], tuple[Figures, Cost]]:
    def run(server: PacedServer, streams: int, folder: Path) -> tuple[Figures, Cost]:
        finished = measure(command(server.url, streams, folder), env, folder, TOOL_TIMEOUT)
        try:
            return read(folder), finished.cost
        except (OSError, ValueError, KeyError, TypeError) as problem:
            output = (finished.errors + finished.output).strip().splitlines()[-5:]
            raise ToolFailed(f"{finished.status}: {problem!r} {' '.join(output)}") from problem

    return run


class ToolFailed(Exception):
    """A tool reported no figures; the message contains its last output."""


def vllm_command(url: str, streams: int, folder: Path) -> list[str]:
    return [
        *(str(VLLM / "venv/bin/vllm"), "bench", "serve", "--backend", "openai", "--base-url", url),
        *("--model", "paced", "--tokenizer", str(TOKENIZER), "--dataset-name", "random"),
        *("--random-input-len", str(SIZE["prompt_tokens"]), "--random-output-len", str(SIZE["output_tokens"])),
        *("--num-prompts", str(streams * SIZE["requests_per_stream"]), "--max-concurrency", str(streams)),
        # No trial request and no warm-up, so that the server's truth covers exactly these requests.
        *("--ignore-eos", "--ready-check-timeout-sec", "0", "--num-warmups", "0", "--disable-tqdm"),
        *("--percentile-metrics", "ttft,itl", "--metric-percentiles", "50,95,99"),
        *("--save-result", "--result-dir", str(folder), "--result-filename", "vllm.json"),
    ]


def read_vllm(folder: Path) -> Figures:
    document = json.loads((folder / "vllm.json").read_text())
    return {
        key: {name: document[f"{name}_{key}_ms"] / 1e3 for name in ("mean", "p50", "p95", "p99")}
        for key in ("ttft", "itl")
    } | {"tokens": document["total_output_tokens"], "output_throughput": document["output_throughput"]}


def guidellm_command(url: str, streams: int, folder: Path) -> list[str]:
    size = "prompt_tokens={prompt_tokens},output_tokens={output_tokens}".format(**SIZE)
    return [
        *(str(PEERS / "guidellm==0.8.1/bin/guidellm"), "run"),
        *("--backend", f"kind=openai_http,target={url},model=paced,request_format=/v1/completions"),
        *("--profile", f"kind=concurrent,streams={streams}"),
        *("--constraint", f"kind=max_requests,count={streams * SIZE['requests_per_stream']}"),
        *("--tokenizer", f"kind=huggingface_auto,model={TOKENIZER}", "--data", f"kind=synthetic_text,{size}"),
        *("--output", f"kind=json,path={folder / 'guidellm.json'}", "--disable-console"),
    ]


def read_guidellm(folder: Path) -> Figures:
    document = json.loads((folder / "guidellm.json").read_text())["benchmarks"][0]["metrics"]
    names = {"ttft": "time_to_first_token_ms", "itl": "inter_token_latency_ms"}
    figures: Figures = {}
    for key, name in names.items():
        values = document[name]["successful"]
        figures[key] = {"mean": values["mean"] / 1e3}
        figures[key] |= {p: values["percentiles"][p] / 1e3 for p in ("p50", "p95", "p99")}
    tokens = document["output_token_count"]["successful"]["total_sum"]
    return figures | {"tokens": tokens, "output_throughput": document["output_tokens_per_second"]["successful"]["mean"]}


def aiperf_command(url: str, streams: int, folder: Path) -> list[str]:
    return [
        *(str(PEERS / "aiperf==0.13.0/bin/aiperf"), "profile", "--model", "paced", "--tokenizer", str(TOKENIZER)),
        *("--url", url, "--endpoint-type", "completions", "--streaming", "--concurrency", str(streams)),
        *("--request-count", str(streams * SIZE["requests_per_stream"])),
        *("--isl", str(SIZE["prompt_tokens"]), "--isl-stddev", "0"),
        *("--osl", str(SIZE["output_tokens"]), "--osl-stddev", "0", "--extra-inputs", "ignore_eos:true"),
        *("--use-server-token-count", "--no-gpu-telemetry", "--no-server-metrics", "--ui", "none"),
        *("--export-level", "summary", "--artifact-dir", str(folder / "aiperf")),
    ]


def read_aiperf(folder: Path) -> Figures:
    document = json.loads((folder / "aiperf/profile_export_aiperf.json").read_text())
    names = {"ttft": "time_to_first_token", "itl": "inter_chunk_latency"}
    figures: Figures = {
        key: {"mean": document[name]["avg"] / 1e3} | {p: document[name][p] / 1e3 for p in ("p50", "p95", "p99")}
        for key, name in names.items()
    }
    tokens, rate = document["total_output_tokens"]["avg"], document["output_token_throughput"]["avg"]
    return figures | {"tokens": tokens, "output_throughput": rate}


OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
TOOLS = {
    OURS: Tool(OURS, "every token", ours),
    "vllm": Tool(
        "vllm bench serve 0.32", "every chunk", peer(vllm_command, read_vllm, OFFLINE), vllm_command, VLLM / "complete"
    ),
    "guidellm": Tool(
        "guidellm 0.8.1",
        "mean per request",
        peer(guidellm_command, read_guidellm, OFFLINE),
        guidellm_command,
        PEERS / "guidellm==0.8.1/complete",
    ),
    # aiperf does not run in offline mode, in which it would take the tokenizer's folder for a name on the hub.
    "aiperf": Tool(
        "aiperf 0.13.0",
        "every chunk",
        peer(aiperf_command, read_aiperf, {}),
        aiperf_command,
        PEERS / "aiperf==0.13.0/complete",
    ),
}


def one_run(tool: Tool, streams: int) -> Figures:
    """Load a new server with ``tool``; ``failed`` holds the error if there are no figures."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return compare_with_truth(lambda server: tool.run(server, streams, Path(folder)))
        except (ToolFailed, SystemExit) as problem:
            return {"failed": str(problem)}


def summarise(runs: list[Figures]) -> Figures:
    """Return medians over the successful runs: ``errors`` (absolute), ``cost``, ``measured``, ``truth``."""
    good = [run for run in runs if "failed" not in run]
    failed = [run["failed"] for run in runs if "failed" in run]
    if not good:
        return {"failed": failed}
    return {key: medians([run[key] for run in good], size=key == "errors") for key in good[0]} | {"failed": failed}


def ratios(tools: dict[str, Figures]) -> Figures:
    """Return for each of ``RATIOS`` our value divided by the lowest of the others, and the name of that tool."""
    result: Figures = {}
    others = {name: entry["median"] for name, entry in tools.items() if name != OURS}
    others = {name: entry for name, entry in others.items() if "cost" in entry}
    own = tools.get(OURS, {}).get("median", {})
    for key, part in RATIOS.items():
        if part in own and others:
            best = min(others, key=lambda name: others[name][part][key])
            result[key] = {"ratio": own[part][key] / others[best][part][key], "best": best}
    return result


def row(streams: int, tool: Tool, median: Figures) -> str:
    if "cost" not in median:
        return f"{streams:7d}  {tool.name:<22}failed: {median['failed'][-1][:60]}"
    shown = {
        key: f"{median['errors'][key]:.1%}" for key in ("ttft_p50", "ttft_p99", "itl_p50", "itl_p99", "throughput")
    }
    cost = median["cost"]
    return ROW.format(
        streams=streams, tool=tool.name, cost=COST.format(**cost | {"memory": cost["memory"] / 1e6}), **shown
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[128, 512, 1024])
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--minutes", type=float, default=20, help="time budget: no round starts that would exceed it")
    options = parser.parse_args()
    missing = [name for name in options.tools if (mark := TOOLS[name].installed) and not mark.exists()]
    if missing:
        parser.error(f"not installed: {', '.join(missing)}; benchmarks/peers.sh installs them")
    begun = time.monotonic()
    report: Figures = {
        "machine": machine(),
        "pace": PACE,
        "size": SIZE,
        "tools": {
            name: {
                "name": tool.name,
                "itl": tool.itl,
                "command": tool.command and " ".join(tool.command("URL", options.streams[0], Path("."))),
            }
            for name, tool in TOOLS.items()
        },
        "loads": {},
    }
    print(
        "streams  tool                   TTFT p50       p99   ITL p50       p99 tokens/s  overhead      CPU    memory"
    )
    for streams in options.streams:
        runs: dict[str, list[Figures]] = {name: [] for name in options.tools}
        took = 0.0
        for round_number in range(options.runs):
            if round_number and time.monotonic() - begun + took > options.minutes * 60:
                break
            started = time.monotonic()
            # Each tool runs first in one of the rounds.
            first = round_number % len(options.tools)
            for name in options.tools[first:] + options.tools[:first]:
                runs[name].append(one_run(TOOLS[name], streams))
            took = time.monotonic() - started
        entries: dict[str, Figures] = {
            name: {"median": summarise(results), "runs": results} for name, results in runs.items()
        }
        report["loads"][str(streams)] = {"tools": entries, "ratios": ratios(entries)}
        for name, entry in entries.items():
            print(row(streams, TOOLS[name], entry["median"]), flush=True)
        write_json(report, options.output)


if __name__ == "__main__":
    main()
