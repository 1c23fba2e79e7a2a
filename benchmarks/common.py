# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared parts of the benchmarks: machine description, cost of a process, paced server, medians, JSON output."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import platform
import re
import resource
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVER = ROOT / "tests/support/paced_server.py"
#: If other processes use more cores than this before the first run, the figures count as disturbed.
MAX_BUSY_CORES = 0.2
#: Seconds for which that is measured. The load average would still include the previous benchmark.
BUSY_WINDOW = 2.0
#: Seconds between two readings of a process tree's memory.
_MEMORY_INTERVAL = 0.1
_SET_CHILD_SUBREAPER = 36  # prctl(2)
#: Options of the paced server and their defaults.
PACE = {"first": 0.2, "gap": 0.02, "burst": 1, "jitter": 0.0, "stall": 0.0}

Figures = dict[str, t.Any]


def arguments(description: str | None, runs: int = 5) -> argparse.ArgumentParser:
    """Return a parser with ``--runs`` and ``--output``. SIGTERM then exits, so that child processes are stopped."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=runs, help="runs per configuration; the median is reported")
    parser.add_argument("--output", type=Path, help="file to which all figures are written as JSON")
    return parser


def machine() -> Figures:
    """Return a description of the machine and its current load. Call before the first run.

    Prints a warning if other processes disturb the figures. ``busy`` is the number of cores in use, ``load_average``
    that of the last minute, ``memory`` is in bytes.
    """
    load, busy = os.getloadavg()[0], _busy()
    if busy > MAX_BUSY_CORES:
        print(
            f"warning: other processes use {busy:.1f} cores (load average {load:.2f}); figures are not final",
            file=sys.stderr,
        )
    return {
        "cpu": _first(r"^model name\s*: (.*)$", "/proc/cpuinfo") or platform.machine(),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "system": _first(r'^PRETTY_NAME="?([^"\n]*)', "/etc/os-release") or platform.system(),
        "python": platform.python_version(),
        "load_average": load,
        "busy": busy,
        "quiet": busy <= MAX_BUSY_CORES,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _busy() -> float:
    """Return the number of cores in use while this process sleeps."""
    before = _processor_time()
    time.sleep(BUSY_WINDOW)
    return (_processor_time() - before) / BUSY_WINDOW


def _processor_time() -> float:
    """Return the busy seconds of all cores from /proc/stat (proc_stat(5)), without idle and I/O wait."""
    user, nice, system, _idle, _waiting, *rest = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:])
    return (user + nice + system + sum(rest[:3])) / os.sysconf("SC_CLK_TCK")


def _first(pattern: str, path: str) -> str | None:
    try:
        match = re.search(pattern, Path(path).read_text(), re.MULTILINE)
    except OSError:
        return None
    return match[1] if match else None


def write_json(report: Mapping[str, t.Any], output: Path | None) -> None:
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(report, indent=1) + "\n")


def medians(runs: Sequence[Mapping[str, t.Any]], size: bool = False) -> Figures:
    """Return the median of each number that all runs have, also in nested mappings; of absolute values if ``size``."""
    result: Figures = {}
    for key, value in runs[0].items():
        column: list[t.Any] = [run.get(key) for run in runs]
        if isinstance(value, Mapping):
            result[key] = medians(column, size)
        elif all(isinstance(entry, int | float) for entry in column):
            result[key] = statistics.median(map(abs, column) if size else column)
    return result


def errors(truth: Mapping[str, t.Any], measured: Mapping[str, t.Any]) -> Figures:
    """Return the relative errors of ``measured`` (``ttft``, ``itl``, ``output_throughput``); 0.01 is 1 % too high.

    ``tokens`` is a difference in tokens. Missing measurements are omitted.
    """
    result: Figures = {
        f"{figure}_{key}": measured[figure][key] / true - 1
        for figure in ("ttft", "itl")
        for key, true in truth[figure].items()
        if measured[figure].get(key) is not None
    }
    result["throughput"] = measured["output_throughput"] / truth["throughput"] - 1
    return result | {"tokens": measured["tokens"] - truth["tokens"]}


@dataclass
class Cost:
    """Resources used by a command and all processes that it started.

    ``wall`` and ``cpu`` are in seconds. ``memory`` is the highest sum of the processes' proportional set sizes in bytes
    (``Pss`` of smaps_rollup, proc_pid_smaps(5), which counts shared pages once). For a single process it is the
    kernel's high-water mark.
    """

    wall: float
    cpu: float
    memory: int

    def as_dict(self) -> Figures:
        return asdict(self)


@dataclass
class Finished:
    """Exit status, output and cost of a command that has ended."""

    status: int
    output: str
    errors: str
    cost: Cost


def measure(
    argv: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 600.0,
    keep: bool = False,
) -> Finished:
    """Run ``argv`` to completion, with ``env`` added to the environment.

    :param keep: keep processes running that the command left behind, such as a server; otherwise they are stopped.
    :raises SystemExit: if it takes more than ``timeout`` seconds.
    """
    # Orphaned processes of the command become our children, so that their CPU time is counted.
    if not keep:
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    others = _children(os.getpid())
    before = _cpu_of_children()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        begun = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in argv],
            env={**os.environ, **(env or {})},
            cwd=cwd or ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            memory = _watch(process, others, begun + timeout)
            wall = time.monotonic() - begun
        finally:
            with contextlib.suppress(ProcessLookupError):
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not keep:
                _reap(_children(os.getpid()) - others)
        output.seek(0)
        errors.seek(0)
        cost = Cost(wall, _cpu_of_children() - before, memory)
        return Finished(process.returncode, output.read(), errors.read(), cost)


def _watch(process: subprocess.Popen[bytes], others: set[int], deadline: float) -> int:
    """Wait for ``process``; return the peak memory of it and its descendants in bytes."""
    handle = os.pidfd_open(process.pid)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    memory = 0
    try:
        while not poll.poll(_MEMORY_INTERVAL * 1000):
            memory = max(memory, _memory(_descendants(os.getpid(), others)))
            if time.monotonic() > deadline:
                raise SystemExit(f"{process.args!r} did not finish in time")
    finally:
        os.close(handle)
    return memory


def _children(pid: int) -> set[int]:
    children: set[int] = set()
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            children.update(map(int, tasks.read_text().split()))
    return children


def _descendants(pid: int, others: set[int] | frozenset[int] = frozenset()) -> set[int]:
    descendants: set[int] = set()
    for child in _children(pid) - others:
        descendants |= {child} | _descendants(child)
    return descendants


def _memory(pids: set[int]) -> int:
    file, key = ("status", "VmHWM") if len(pids) == 1 else ("smaps_rollup", "Pss")
    return sum(_kilobytes(pid, file, key) for pid in pids) * 1024


def _kilobytes(pid: int, file: str, key: str) -> int:
    try:
        return int(_first(rf"^{key}:\s+(\d+) kB", f"/proc/{pid}/{file}") or 0)
    except ProcessLookupError:
        return 0


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _reap(pids: set[int], timeout: float = 5.0) -> None:
    """Wait for processes that were left behind; kill those that do not exit."""
    deadline = time.monotonic() + timeout
    while pids and time.monotonic() < deadline:
        pids = {pid for pid in pids if os.waitpid(pid, os.WNOHANG)[0] == 0}
        time.sleep(0.01)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


class PacedServer:
    """Client of tests/support/paced_server.py, which runs as a separate process."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def truth(self, values: bool = False) -> Figures:
        """Return what a perfect client would have measured since the last call; with ``values``, also every latency."""
        with urllib.request.urlopen(self.url + ("/truth?values" if values else "/truth"), timeout=60) as answer:
            return json.load(answer)


@contextlib.contextmanager
def paced_server(pace: Mapping[str, t.Any]) -> Iterator[PacedServer]:
    """Run a new server with the options ``pace`` (keys of ``PACE``)."""
    options = [f"--{key}={value}" for key, value in pace.items()]
    server = subprocess.Popen([sys.executable, str(SERVER), *options], stdout=subprocess.PIPE, text=True)
    try:
        yield PacedServer(int(t.cast(t.IO[str], server.stdout).readline()))
    finally:
        server.kill()
        server.wait()
        t.cast(t.IO[str], server.stdout).close()


def compare_with_truth(
    load: Callable[[PacedServer], tuple[Figures, Cost]], pace: Mapping[str, t.Any] | None = None, values: bool = False
) -> Figures:
    """Load a new server and return the server's truth, the tool's measurements, their errors and the tool's cost.

    ``overhead`` in ``cost`` is the time of the whole process in seconds, without the load itself.

    :param load: loads the server; returns ``ttft, itl, tokens, output_throughput`` and its cost.
    :param pace: options of the server, by default ``PACE``.
    """
    with paced_server(PACE if pace is None else pace) as server:
        measured, cost = load(server)
        truth = server.truth(values)
    return {
        "truth": truth,
        "measured": measured,
        "cost": cost.as_dict() | {"overhead": cost.wall - truth["duration"]},
        "errors": errors(truth, measured),
    }


def run_module(name: str, options: Mapping[str, t.Any], env: Mapping[str, str] | None = None) -> tuple[Figures, Cost]:
    """Run one of our modules in a separate process, as on a node; return its result and cost."""
    with tempfile.TemporaryDirectory() as folder:
        arguments_file = Path(folder, "arguments.json")
        arguments_file.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
        finished = measure([sys.executable, ROOT / "plugins/modules" / f"{name}.py", arguments_file], env)
    try:
        result = json.loads(finished.output)
    except ValueError as problem:
        raise SystemExit(f"{name} did not return a result: {finished.errors or finished.output}") from problem
    if result.get("failed"):
        raise SystemExit(f"{name} failed: {result.get('msg')}")
    return result, finished.cost
