# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a real vLLM with random weights on GPUs: ``vllm_lane.py OUT MODE``; see ``run.sh``.

``vllm`` validates healthy and faulty servers and compares verdict and speed with the truth and ``vllm bench serve``.
``speeds`` only measures, with several servers on the GPUs at the same time, of which one per GPU has requests.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import typing as t
import urllib.error
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import shapes
import traces
import whole
from node import gpu_indexes, output_of, run_module
from vllm_bench import Bench
from vllm_server import (
    SOCKETS,
    Case,
    Server,
    parallel,
    running,
)

#: GPUs of this machine; 2 without nvidia-smi, for a dry run.
GPUS = len(gpu_indexes()) or 2
#: Longest expected times in seconds: from the start of a server to the first answer, one validation with benchmark,
#: one case of ``speeds``.
START, VALIDATION, MEASUREMENT = 150, 60, 30
#: Share of the GPU memory that servers of ``speeds`` may use together.
MEMORY_SHARE = 0.9
#: vLLM's arguments in ``speeds``: servers share the GPUs, so no server may size its KV cache by the free memory.
SHARED = (
    *("--max-model-len", "512", "--gpu-memory-utilization", "0.02"),
    *("--compilation-config", json.dumps({"cudagraph_capture_sizes": [1, 2, 4, 8, 16, 32, 64]})),
)
#: Of the second server in ``second_server`` and ``two_servers``.
OTHER_SERVER = ("--gpu-memory-utilization", "0.3")
#: In ``vllm``; leaves memory for another process on the GPU.
SINGLE = ("--max-model-len", "8192", "--gpu-memory-utilization", "0.8")

#: Cases of ``speeds``, in the order in which they share the GPUs.
SPEEDS: dict[str, Case] = {
    "7b-tp1": Case("7b"),
    "7b-tp2": parallel("7b", 2),
    "32b-tp1": Case("32b"),
    "32b-tp2": parallel("32b", 2),
    "8b-gqa-tp1": Case("8b-gqa"),
    "8b-gqa-tp2": parallel("8b-gqa", 2),
    "1.5b-tp1": Case("1.5b"),
    "1.5b-tp2": parallel("1.5b", 2),
    "14b-tp1": Case("14b"),
    "14b-tp2": parallel("14b", 2),
    "8b-gqa-fp8-tp1": Case("8b-gqa", arguments=("--quantization", "fp8")),
    "8b-gqa-fp8-tp2": parallel("8b-gqa", 2, 1, 1, "--quantization", "fp8"),
    "8b-gqa-fp8kv-tp1": Case("8b-gqa", arguments=("--kv-cache-dtype", "fp8")),
    "14b-pp2": parallel("14b", stages=2),
    "32b-pp2": parallel("32b", stages=2),
    "7b-tp2-nccl": parallel("7b", 2, 1, 1, "--disable-custom-all-reduce"),
    "7b-tp2-sockets-nccl": parallel("7b", 2, 1, 1, "--disable-custom-all-reduce", **SOCKETS),
}


@dataclasses.dataclass(frozen=True)
class Check:
    """A server, optionally with a fault, and the verdict that is true: ``text`` matches the first cause."""

    case: Case
    fails: bool = True
    text: str = ""
    fault: str = ""

    def holds(self, status: str, first: str) -> bool:
        """Return whether a report with ``status`` and ``first`` cause is true."""
        matches = re.search(self.text, first, re.IGNORECASE | re.DOTALL)
        return matches is not None and (status == "fail") == self.fails


#: Speculative decoding without a second model.
NGRAM = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4, "prompt_lookup_min": 2}
#: A load step of the chat endpoint.
CHAT = {"name": "chat", "prompt_tokens": 128, "output_tokens": 128, "concurrency": 4, "requests": 16}


def checks(shape: str, gpus: int) -> dict[str, Check]:
    """Return the checks for a machine with ``gpus`` GPUs. Consecutive checks of the same server share a start."""
    rank, half = lost_rank(gpus), gpus // 2
    healthy = parallel(shape, gpus)
    own = "--disable-custom-all-reduce"
    single = {
        "single": Check(Case(shape), fails=False),
        "second_server": Check(Case(shape, arguments=("--gpu-memory-utilization", "0.5")), fails=False, fault="server"),
        "context": Check(
            Case(shape, arguments=("--max-model-len", "auto", "--kv-cache-memory-bytes", str(2**30))), fails=False
        ),
        "speculation": Check(Case(shape, arguments=("--speculative-config", json.dumps(NGRAM))), fails=False),
        "reasoning": Check(Case(shape, arguments=("--reasoning-parser", "deepseek_r1")), fails=False),
    }
    several = {
        "healthy": Check(healthy, fails=False),
        "contention": Check(healthy, text=r"another process", fault="contention"),
        "stopped": Check(healthy, text=rf"rank {rank}\b.*stopped", fault="stopped"),
        "killed": Check(healthy, text=rf"rank {rank}\b.*(died|killed|exited)", fault="killed"),
        "tp_off": Check(Case(shape), text=rf"1 of {gpus} GPUs"),
        "sockets_nccl": Check(parallel(shape, gpus, 1, 1, own, **SOCKETS), text=r"TCP sockets"),
        "sockets": Check(parallel(shape, gpus, 1, 1, **SOCKETS), fails=False, text=r"sockets"),
        "sleeping": Check(
            parallel(shape, gpus, 1, 1, "--enable-sleep-mode", VLLM_SERVER_DEV_MODE="1"), text="sleep", fault="sleeping"
        ),
        "embeddings": Check(parallel(shape, gpus, 1, 1, "--runner", "pooling", "--convert", "embed"), fails=False),
        "preemptions": Check(
            parallel(shape, gpus, 1, 1, "--max-model-len", "1280", "--num-gpu-blocks-override", "150"),
            fails=False,
            text=r"preempted|KV cache",
        ),
        "pp": Check(parallel(shape, stages=gpus), fails=False),
        "dp": Check(parallel(shape, replicas=gpus), fails=False),
    }
    of_four = {
        "half": Check(parallel(shape, half), text=rf"{half} of {gpus} GPUs"),
        "tp_pp": Check(parallel(shape, half, stages=2), fails=False),
        "tp_dp": Check(parallel(shape, half, replicas=2), fails=False),
        "two_servers": Check(
            parallel(shape, half, CUDA_VISIBLE_DEVICES=",".join(map(str, range(half)))), fails=False, fault="server"
        ),
    }
    return single if gpus == 1 else {**several, **(of_four if gpus >= 4 else {})}


def lost_rank(gpus: int) -> int:
    """Return the rank that is stopped or killed; it runs on the GPU with the same number."""
    return gpus // 2


class Lane:
    """Options and output of a run. Every row is written as soon as it exists."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.out, self.work, self.streams = options.out.resolve(), options.work.resolve(), options.streams
        self.at_once, self.dry_run, self.gpus = options.at_once, options.dry_run, options.gpus
        self.begun = time.monotonic()
        self.deadline = self.begun + options.budget
        self.out.mkdir(parents=True, exist_ok=True)

    @property
    def left(self) -> float:
        return self.deadline - time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.begun:4.0f} s] {text}", flush=True)

    def row(self, name: str, **values: t.Any) -> dict[str, t.Any]:
        row = {"case": name, **values}
        with (self.out / "summary.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        return row

    def not_run(self, *names: str) -> None:
        for name in names:
            self.row(name, error="not run: no time left")
        self.say(f"not run, no time left: {', '.join(names)}")

    def server(self, name: str, case: Case, arguments: tuple[str, ...], environment: Mapping[str, str]) -> Server:
        return Server(case, self.out / name, self.work, arguments, environment)


def gpu_memory() -> int:
    """Return the bytes of the smallest GPU; 141 GB without nvidia-smi, for a dry run."""
    text = output_of("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")
    return min((int(line) << 20 for line in text.split() if line.isdigit()), default=141 * 10**9)


def waves(cases: Mapping[str, Case], at_once: int, memory: float) -> list[dict[str, tuple[int, ...]]]:
    """Return groups of at most ``at_once`` cases that fit into ``memory`` bytes per GPU, with the GPUs of each case."""
    result: list[dict[str, tuple[int, ...]]] = []
    for name, case in cases.items():
        for wave in [*result, {}]:
            used = [sum(cases[other].gpu_bytes for other, gpus in wave.items() if gpu in gpus) for gpu in range(GPUS)]
            gpus = tuple(sorted(sorted(range(GPUS), key=used.__getitem__)[: case.gpus]))
            if not wave or (len(wave) < at_once and all(used[gpu] + case.gpu_bytes <= memory for gpu in gpus)):
                break
        if not wave:
            result.append(wave)
        wave[name] = gpus
    return result


def together(wave: Mapping[str, tuple[int, ...]]) -> Iterator[list[str]]:
    """Yield the cases to measure at the same time: one for each GPU, or one that uses both."""
    single = [[name for name, gpus in wave.items() if gpus == (gpu,)] for gpu in range(GPUS)]
    for names in itertools.zip_longest(*single):
        yield [name for name in names if name]
    for name, gpus in wave.items():
        if len(gpus) > 1:
            yield [name]


def speeds(lane: Lane, cases: Mapping[str, Case]) -> None:
    with contextlib.ExitStack() as stack:
        benches = [] if lane.dry_run else [stack.enter_context(Bench(lane.out / f"bench{i}.log")) for i in range(GPUS)]
        for wave in waves(cases, lane.at_once, MEMORY_SHARE * gpu_memory()):
            lane.say(f"starting {', '.join(wave)}")
            servers = {}
            for name, gpus in wave.items():
                environment = {"VLLM_CACHE_ROOT": str(lane.work / "cache" / name)}
                if len(gpus) < GPUS:
                    environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
                arguments = (*SHARED, "--kv-cache-memory-bytes", str(cases[name].kv_cache_bytes))
                servers[name] = lane.server(name, cases[name], arguments, environment)
            if lane.dry_run:
                print(*servers.values(), sep="\n")
            elif lane.left < START + MEASUREMENT:
                lane.not_run(*wave)
            else:
                with running(servers.values(), lane.deadline - MEASUREMENT):
                    lane.say("measuring")
                    for names in together(wave):
                        if lane.left < MEASUREMENT:
                            lane.not_run(*names)
                            continue
                        with ThreadPoolExecutor(GPUS) as pool:
                            list(pool.map(lambda n, b: measure(lane, n, servers[n], b), names, benches))  # noqa: B023


def measure(lane: Lane, name: str, server: Server, bench: Bench) -> None:
    """Write one row per number of streams."""
    if server.start_seconds is None:
        lane.row(name, error=f"not up: {server.error()}")
        lane.say(f"{name} is not up: {server.error()}")
        return
    shown = []
    for streams in lane.streams:
        result = bench.run(server.url, server.case.shape, server.model, streams, server.log.parent)
        lane.row(name, streams=streams, start_seconds=round(server.start_seconds, 1), **result)
        shown.append(f"{streams}: {result.get('error') or result['median_itl_ms']}")
    lane.say(f"{name} (up after {server.start_seconds:.0f} s), median ITL in ms by streams: {', '.join(shown)}")


@contextlib.contextmanager
def fault(lane: Lane, name: str, server: Server) -> Iterator[None]:
    """Apply a fault to a GPU, to the process of a rank or to the server, or start an idle second server."""
    if name == "contention":
        with traces.running("one_gpu", 1, {"CUDA_VISIBLE_DEVICES": str(lane.gpus - 1)}):
            yield
        return
    if name == "sleeping":
        # The first sleep copies the weights to the host's memory.
        server.get("/sleep", b"{}", timeout=90)
        yield
        server.get("/wake_up", b"{}", timeout=90)
        return
    if name == "server":
        free = range(server.case.gpus, lane.gpus) or range(lane.gpus)
        case = dataclasses.replace(server.case, shape="1.5b", arguments=(*server.case.arguments, *OTHER_SERVER))
        other = lane.server("other", case, SINGLE, {"CUDA_VISIBLE_DEVICES": ",".join(map(str, free))})
        with running([other], lane.deadline - VALIDATION):
            if other.start_seconds is None:
                raise RuntimeError(f"not up: {other.error()}")
            yield
        return
    pid = server.rank(f"Worker_TP{lost_rank(lane.gpus)}") if name else 0
    if name:
        os.kill(pid, {"stopped": signal.SIGSTOP, "killed": signal.SIGKILL}[name])
        time.sleep(5)
    try:
        yield
    finally:
        if name == "stopped":
            os.kill(pid, signal.SIGCONT)
            time.sleep(3)


def verdicts(lane: Lane, checks: Mapping[str, Check]) -> None:
    rows = []
    with contextlib.ExitStack() as stack:
        bench = None if lane.dry_run else stack.enter_context(Bench(lane.out / "bench.log"))
        for case, group in itertools.groupby(checks, key=lambda name: checks[name].case):
            names = list(group)
            lane.say(f"starting {', '.join(names)}")
            server = lane.server(names[0], case, SINGLE, {"VLLM_CACHE_ROOT": str(lane.work / "cache")})
            if bench is None:
                print(server)
            elif lane.left < START + VALIDATION:
                lane.not_run(*names)
            else:
                with running([server], lane.deadline - VALIDATION):
                    for name in names:
                        if lane.left < VALIDATION:
                            lane.not_run(name)
                            continue
                        try:
                            rows.append(lane.row(name, **verdict(lane, name, checks[name], server, bench)))
                        except Exception:  # noqa: BLE001 a failed check is reported and the others still run
                            lane.row(name, error=traceback.format_exc()[-3000:])
                            lane.say(traceback.format_exc())
                            continue
                        lane.say(f"{name}: {rows[-1]['status']}, {rows[-1]['first']}")
    if rows:
        (lane.out / "table.md").write_text(table(rows))
        print(table(rows))


def verdict(lane: Lane, name: str, check: Check, server: Server, bench: Bench) -> dict[str, t.Any]:
    """Validate a server and measure it with vLLM's benchmark; return a row of the summary."""
    if server.start_seconds is None:
        raise RuntimeError(f"not up: {server.error()}")
    out = lane.out / name
    out.mkdir(exist_ok=True)
    with fault(lane, check.fault, server):
        report = whole.validate(
            lane.work,
            server.url,
            lane.gpus,
            out,
            validate_log_paths=[str(server.log)],
            validate_report_formats=["text"],
            validate_prompt_tokens=[128] if check.fault else [128, 1024],
            validate_load_duration=8,
            **({"validate_timeout": 20} if check.fault in ("stopped", "killed", "sleeping") else {}),
        )
        (out / "nvidia-smi.txt").write_text(output_of("nvidia-smi"))
    if out != server.log.parent:
        shutil.copy(server.log, out)
    if not check.fault:
        body = json.dumps({"model": server.case.shape, "prompt": "one two", "max_tokens": 4})
        with contextlib.suppress(urllib.error.HTTPError):  # a server of embeddings
            (out / "completion.json").write_bytes(server.get("/v1/completions", body.encode()))
        (out / "metrics.prom").write_bytes(server.get("/metrics"))
    if "--reasoning-parser" in server.case.arguments:
        probed = run_module("throughput_probe", {"base_url": server.url, "endpoint": "chat", "steps": [CHAT]})
        (out / "chat.json").write_text(json.dumps(probed, indent=1))
    result = {
        **figures_of(report),
        "seconds": round(report["seconds"], 1),
        "start_seconds": round(server.start_seconds, 1),
    }
    result["as_expected"] = check.holds(result["status"], result["first"])
    if not check.fault:
        result["vllm"] = {
            str(streams): bench.run(server.url, server.case.shape, server.model, streams, out)
            for streams in (1, whole.STREAMS)
        }
    return result


def figures_of(report: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return verdict, causes and the speed by streams (ms, tok/s) of a report."""
    (host,) = report["hosts"].values()
    causes = [f"{item['title']}. {item['cause']}" for item in host["diagnoses"]]
    ours: dict[str, t.Any] = {}
    for step in host["load"]:
        if step["itl"]:
            ours.setdefault(
                str(step["concurrency"]),
                {
                    "output_throughput": step["output_throughput"],
                    "median_itl_ms": 1000 * step["itl"]["p50"],
                    "expectation": step["expectation"],
                },
            )
    return {
        "status": host["status"],
        "headline": host["headline"],
        "first": causes[0] if causes else "",
        "causes": causes,
        "gain": next((item["expected_gain"] for item in host["diagnoses"] if item.get("expected_gain")), None),
        "ours": ours,
    }


def table(rows: list[dict[str, t.Any]]) -> str:
    """Return verdicts, gains and latencies as a Markdown table; "measured gain" is the healthy server's factor."""
    healthy = next((speed(row, "vllm", "1") for row in rows if row["case"] == "healthy"), None)
    lines = [
        "| case | as expected | verdict, first cause | one stream: ours / vLLM (ms) | 16 streams: ours / vLLM (tok/s) "
        "| predicted gain | measured gain |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        one = [row.get(who, {}).get("1", {}).get("median_itl_ms") for who in ("ours", "vllm")]
        many = [speed(row, who, str(whole.STREAMS)) for who in ("ours", "vllm")]
        own = speed(row, "vllm", "1")
        cells = [
            row["case"],
            "yes" if row["as_expected"] else "NO",
            f"{row['status']}: {row['first']}",
            " / ".join("-" if value is None else f"{value:.2f}" for value in one),
            " / ".join("-" if value is None else f"{value:.0f}" for value in many),
            row["gain"] or "-",
            f"{healthy / own:.2f}x" if healthy and own else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def speed(row: Mapping[str, t.Any], who: str, streams: str) -> float | None:
    """Return tok/s; for one stream, without the time to the first token."""
    figures = row.get(who, {}).get(streams, {})
    if streams == "1":
        return 1000 / figures["median_itl_ms"] if figures.get("median_itl_ms") else None
    return figures.get("output_throughput")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("mode", choices=["vllm", "speeds"])
    parser.add_argument("--cases", default="", help="names, separated by commas; default: all of the mode")
    parser.add_argument("--shape", default="7b", choices=shapes.SHAPES, help="dimensions of the model in vllm")
    parser.add_argument("--gpus", type=int, default=GPUS, help="GPUs to use in vllm; default: all")
    parser.add_argument("--streams", default="1,2,4,8,16,32,64", help="concurrent requests in speeds")
    parser.add_argument("--budget", type=float, default=3600, help="seconds after which no further case is started")
    parser.add_argument("--at-once", type=int, default=8, help="servers that share the GPUs in speeds")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "multigpu-vllm-lane"))
    parser.add_argument("--dry-run", action="store_true", help="print the servers' commands")
    options = parser.parse_args()
    options.streams = [int(number) for number in options.streams.split(",")]
    known = checks(options.shape, options.gpus) if options.mode == "vllm" else SPEEDS
    wanted = options.cases.split(",") if options.cases else list(known)
    if unknown := set(wanted) - set(known):
        parser.error(f"unknown cases {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    options.work.mkdir(parents=True, exist_ok=True)
    # Stop the servers also when a time limit ends the run.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(143))
    lane = Lane(options)
    chosen: dict[str, t.Any] = {name: known[name] for name in wanted}
    if options.mode == "vllm":
        verdicts(lane, chosen)
        return
    fitting = {name: case for name, case in chosen.items() if case.gpus <= GPUS}
    for name in set(chosen) - set(fitting):
        lane.row(name, error=f"not run: it needs more than {GPUS} GPU")
    speeds(lane, fitting)


if __name__ == "__main__":
    main()
