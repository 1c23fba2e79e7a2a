# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the speed of nccl_log_scan with an equivalent grep.

Generates logs in which all lines differ (seeded, kept under .cache/bench), then alternately runs our module in a
separate process and ``grep -ciE 'nccl|error|warn|fail|out of memory|xid'``::

    .venv/bin/python benchmarks/bench_scan.py --size 512 --runs 5 --output .cache/bench/scan.json

``mixed`` is a server's log: 95 % access and statistics lines, 3 % NCCL INFO, 2 % requests, a fault every 50,000 lines.
``dense`` has a fault every 20 lines, ``repeated`` the same error every 3 lines, as from a node in a crash loop. Ratios
compare two consecutive runs, so that other work on the machine slows both.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path

from common import ROOT, Figures, arguments, machine, measure, medians, run_module, write_json

PATTERN = "nccl|error|warn|fail|out of memory|xid"
CACHE = ROOT / ".cache/bench"
#: Increase when the generator changes, so that older logs are not reused.
EDITION = 2
SEED = 20261123
MEGABYTE = 1 << 20
#: Mix -> number of lines per fault.
MIXES = {"mixed": 50_000, "dense": 20, "repeated": 3}

COLUMNS = (
    "mix          size    ours (scan)    grep  ratio (scan, CPU)   MB/s  memory  fault lines",
    "{mix:<9}{size:5d} MB  {ours:5.2f} ({scan:.2f}) {grep:5.2f} s  {ratio:5.2f} ({scan_ratio:.2f}, {cpu_ratio:.2f})"
    "  {rate:5.0f}  {memory:3.0f} MB  {faults:11,d}",
)

FAULTS = (
    "(Worker_TP{rank} pid=81{rank}) ERROR {stamp} [multiproc_executor.py:783] torch.OutOfMemoryError: CUDA out of "
    "memory. Tried to allocate {small}.00 MiB. GPU {rank} has a total capacity of 79.25 GiB of which {small}.69 MiB "
    "is free.",
    "gpu-01:81{rank}:{big} [{rank}] misc/shmutils.cc:87 NCCL WARN Error: failed to extend /dev/shm/nccl-{hex} to "
    "{big} bytes",
    "(EngineCore_DP0 pid=81{rank}) ERROR {stamp} [core.py:843] RuntimeError: NCCL error: unhandled system error (run "
    "with NCCL_DEBUG=INFO for details)",
    "[rank{rank}]:[E{stamp} ProcessGroupNCCL.cpp:616] [Rank {rank}] Watchdog caught collective operation timeout: "
    "WorkNCCL(SeqNum={big}, OpType=ALLREDUCE, NumelIn={big}, NumelOut={big}, Timeout(ms)=600000) ran for 60{small} "
    "milliseconds before timing out.",
    "kernel: NVRM: Xid (PCI:0000:{rank}b:00): 31, pid={big}, name=VLLM::Worker_TP, Ch 000000{small}, intr 00000000. "
    "MMU Fault: ENGINE GRAPHICS GPCCLIENT_T1_0 faulted @ 0x7f_{hex}. Fault is of type FAULT_PDE ACCESS_TYPE_VIRT_READ",
    "gpu-01:81{rank}:{big} [{rank}] net_ib.cc:842 NCCL WARN NET/IB : Got completion from peer 10.0.0.{rank}<{small}> "
    "with status=12 opcode=0 len={small} vendor err 129 (Recv) localGid fe80::{hex}",
    "(Worker_TP{rank} pid=81{rank}) ERROR {stamp} [multiproc_executor.py:784] RuntimeError: CUDA error: an illegal "
    "memory access was encountered",
    "(EngineCore_DP0 pid=81{rank}) WARNING {stamp} [scheduler.py:1057] Sequence group cmpl-{hex}-{rank} is preempted "
    "by PreemptionMode.RECOMPUTE mode because there is not enough KV cache space.",
    "[rank{rank}]: torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/NCCLUtils.hpp:"
    "{big}, remote process exited or there was a network error, NCCL version 2.27.3",
    "(APIServer pid=812) ERROR {stamp} [async_llm.py:525] vllm.v1.engine.exceptions.EngineDeadError: EngineCore "
    "encountered an issue. See stack trace (above) for the root cause. Request cmpl-{hex}",
)

NCCL = (
    "AllReduce: opCount {hex} sendbuff 0x7f{hex} recvbuff 0x7f{hex} count {big} datatype 9 op 0 root 0 comm 0x55{hex} "
    "[nranks=4] stream 0x56{hex}",
    "Channel {small:.2}/0 : {rank}[{rank}] -> {rank}[{rank}] via P2P/CUMEM/read",
    "Channel 00/0 : {rank}[{rank}] -> {rank}[{rank}] via P2P/CUMEM/read",
    "Trees [0] -1/-1/-1->{rank}->{rank} [1] 4/-1/-1->{rank}->{rank} [2] -1/-1/-1->{rank}->{rank} [3] 4/10/-1->{rank}",
    "Connected all rings, use ring PXN 0 GDR 1",
    "Setting affinity for GPU {rank} to {hex}",
    "NVLS comm 0x55{hex} headRank {rank} nHeads 8 buffSize 1048576 memSize 2097152 nvlsPerRankSize {big}",
    "threadThresholds 8/8/64 | 32/8/64 | 512 | 512 {hex}",
    "comm 0x55{hex} rank {rank} nranks 8 cudaDev {rank} nvmlDev {rank} busId {small}000 commId 0x{hex} - Init COMPLETE",
    "24 coll channels, 24 collnet channels, 0 nvls channels, 32 p2p channels, {small} p2p channels per peer",
)


def lines(every: int, varied: bool) -> Iterator[str]:
    """Yield an endless, reproducible log with a fault every ``every`` lines, of all kinds if ``varied``."""
    random_ = random.Random(SEED)
    for number in itertools.count(1):
        values = {
            "rank": str(number % 8),
            "small": str(random_.randrange(10, 1000)),
            "big": str(random_.randrange(1000, 10_000_000)),
            "hex": f"{random_.getrandbits(40):010x}",
            "stamp": f"11-23 {number // 3_600_000 % 24:02d}:{number // 60_000 % 60:02d}:{number // 1000 % 60:02d}",
        }
        # The container engine's time stamp makes similar lines differ.
        stamp = f"2026-11-23T{values['stamp'][6:]}.{number % 1000:03d}{random_.randrange(10**6):06d}Z "
        if number % every == 0:
            yield stamp + FAULTS[number // every % len(FAULTS) if varied else 0].format(**values)
        else:
            yield stamp + _usual(random_.random(), random_, values)


def _usual(kind: float, random_: random.Random, values: dict[str, str]) -> str:
    small, big, rank = values["small"], values["big"], values["rank"]
    if kind < 0.72:
        path = ("chat/completions", "completions")[len(small) % 2]
        return f'(APIServer pid=812) INFO:     10.0.{rank}.{small[:2]}:{big} - "POST /v1/{path} HTTP/1.1" 200 OK'
    if kind < 0.95:
        return (
            f"(APIServer pid=812) INFO {values['stamp']} [loggers.py:259] Engine 000: Avg prompt throughput: "
            f"{big}.{rank} tokens/s, Avg generation throughput: {small}.{rank} tokens/s, Running: {small} reqs, "
            f"Waiting: {rank} reqs, GPU KV cache usage: {small[:2]}.{rank}%, Prefix cache hit rate: {small[-2:]}.7%"
        )
    if kind < 0.98:
        return f"gpu-01:81{rank}:{big} [{rank}] NCCL INFO " + random_.choice(NCCL).format(**values)
    return f"(APIServer pid=812) INFO {values['stamp']} [async_llm.py:387] Added request chatcmpl-{values['hex']}{big}."


def log_of(mix: str, size: int) -> Path:
    """Return the log of a mix with ``size`` megabytes; generates it if it is missing."""
    path = CACHE / f"scan-{mix}-{size}-{EDITION}.log"
    if path.exists():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    partial, left = path.with_suffix(".part"), size * MEGABYTE
    log_lines = lines(MIXES[mix], mix != "repeated")
    with partial.open("wb") as log:
        while left > 0:
            left -= log.write("\n".join([*itertools.islice(log_lines, 10_000), ""]).encode())
    partial.rename(path)
    return path


def one_run(path: Path) -> Figures:
    """Run module and grep once and compare them. grep counts ``lines``, the module ``faults``."""
    result, ours = run_module("nccl_log_scan", {"paths": [str(path)]})
    grep = measure(["grep", "-ciE", PATTERN, path])
    return {
        "ours": ours.as_dict() | {"scan": result["duration"]},
        "grep": grep.cost.as_dict(),
        "ratio": ours.wall / grep.cost.wall,
        "cpu_ratio": ours.cpu / grep.cost.cpu,
        "scan_ratio": result["duration"] / grep.cost.wall,
        "lines": int(grep.output),
        "faults": sum(finding["count"] or 0 for finding in result["findings"]),
        "classes": sorted({finding["class"] for finding in result["findings"] if finding["class"]}),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--size", type=int, default=512, help="megabytes of each log")
    parser.add_argument("--mixes", nargs="+", choices=MIXES, default=list(MIXES))
    options = parser.parse_args()
    report: Figures = {
        "machine": machine(),
        "pattern": PATTERN,
        "locale": os.environ.get("LC_ALL") or os.environ.get("LANG"),
        "size": options.size * MEGABYTE,
    }
    report |= {"runs": options.runs, "mixes": {}}
    print(COLUMNS[0])
    for mix in options.mixes:
        path = log_of(mix, options.size)
        one_run(path)  # warms the page cache for both
        runs = [one_run(path) for _run in range(options.runs)]
        median = medians(runs)
        report["mixes"][mix] = {"median": median, "runs": runs}
        print(line(mix, options.size, median), flush=True)
    write_json(report, options.output)


def line(mix: str, size: int, median: Figures) -> str:
    ours = median["ours"]
    return COLUMNS[1].format(
        mix=mix,
        size=size,
        ours=ours["wall"],
        scan=ours["scan"],
        grep=median["grep"]["wall"],
        ratio=median["ratio"],
        cpu_ratio=median["cpu_ratio"],
        scan_ratio=median["scan_ratio"],
        rate=size / ours["wall"],
        memory=ours["memory"] / 1e6,
        faults=round(median["faults"]),
    )


if __name__ == "__main__":
    main()
