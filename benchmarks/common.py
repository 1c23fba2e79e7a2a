# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every benchmark here needs: the machine described, a process's cost, the paced server, medians, JSON out."""

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
#: Cores in use by others before the first run from which they are taken to disturb the figures, and how long that is
#: looked at, in seconds. The load average alone would still tell of the benchmark before this one.
QUIET, LOOK_FOR_OTHERS = 0.2, 2.0
#: Seconds between two looks at a process tree's memory.
_LOOK = 0.1
_SET_CHILD_SUBREAPER = 36  # prctl(2)
#: How a paced server paces, as its own options and their defaults.
PACE = {"first": 0.2, "gap": 0.02, "burst": 1, "jitter": 0.0, "stall": 0.0}

Figures = dict[str, t.Any]


def arguments(description: str | None, runs: int = 5) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes: ``--runs``, ``--output``. SIGTERM then ends what was started, too."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=runs, help="runs of each, of which the median is told")
    parser.add_argument("--output", type=Path, help="write all figures here as JSON")
    return parser


def machine() -> Figures:
    """The machine, and how busy it was; call it before the first run. Warns where other work disturbs the figures.

    ``busy`` is cores in use, ``load_average`` that of the last minute, ``memory`` in bytes.
    """
    load, busy = os.getloadavg()[0], _busy()
    if busy > QUIET:
        print(f"warning: others use {busy:.1f} cores (load average {load:.2f}): not final figures", file=sys.stderr)
    return {
        "cpu": _first(r"^model name\s*: (.*)$", "/proc/cpuinfo") or platform.machine(),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "system": _first(r'^PRETTY_NAME="?([^"\n]*)', "/etc/os-release") or platform.system(),
        "python": platform.python_version(),
        "load_average": load,
        "busy": busy,
        "quiet": busy <= QUIET,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _busy() -> float:
    """Cores in use while this process waits."""
    before = _processor_time()
    time.sleep(LOOK_FOR_OTHERS)
    return (_processor_time() - before) / LOOK_FOR_OTHERS


def _processor_time() -> float:
    """Seconds that all cores have worked, from the first line of /proc/stat (proc_stat(5)); waiting is not work."""
    user, nice, system, _idle, _waiting, *rest = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:])
    return (user + nice + system + sum(rest[:3])) / os.sysconf("SC_CLK_TCK")


def _first(pattern: str, path: str) -> str | None:
    try:
        found = re.search(pattern, Path(path).read_text(), re.MULTILINE)
    except OSError:
        return None
    return found[1] if found else None


def write(report: Mapping[str, t.Any], output: Path | None) -> None:
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(report, indent=1) + "\n")


def medians(runs: Sequence[Mapping[str, t.Any]], size: bool = False) -> Figures:
    """The median of each number that all runs have, in nested mappings too; of its absolute value with ``size``."""
    result: Figures = {}
    for key, value in runs[0].items():
        column: list[t.Any] = [run.get(key) for run in runs]
        if isinstance(value, Mapping):
            result[key] = medians(column, size)
        elif all(isinstance(entry, int | float) for entry in column):
            result[key] = statistics.median(map(abs, column) if size else column)
    return result


def errors(truth: Mapping[str, t.Any], measured: Mapping[str, t.Any]) -> Figures:
    """Relative errors of ``measured`` (``ttft``, ``itl`` in seconds, ``output_throughput``), 0.01 is 1 % too much.

    ``tokens`` is a difference in tokens. What was not measured is left out.
    """
    found: Figures = {
        f"{figure}_{key}": measured[figure][key] / true - 1
        for figure in ("ttft", "itl")
        for key, true in truth[figure].items()
        if measured[figure].get(key) is not None
    }
    found["throughput"] = measured["output_throughput"] / truth["throughput"] - 1
    return found | {"tokens": measured["tokens"] - truth["tokens"]}


@dataclass
class Cost:
    """What a command took, with all processes that it started.

    ``wall`` and ``cpu`` in seconds, ``memory`` in bytes: the highest sum, over the processes that lived at one time, of
    their proportional set sizes (``Pss`` of smaps_rollup, proc_pid_smaps(5): pages that several share count once).
    For a single process it is the kernel's own high-water mark.
    """

    wall: float
    cpu: float
    memory: int

    def as_dict(self) -> Figures:
        return asdict(self)


@dataclass
class Finished:
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
    """Runs ``argv`` to its end, with ``env`` added to the environment.

    :param keep: leave alone what it left behind, such as a server that it started; else that is ended.
    :raises SystemExit: where it takes more than ``timeout`` seconds.
    """
    # Processes that the command leaves behind become ours, so that their time counts too.
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
    """Waits for ``process``; gives the highest memory of it and of all that it started, in bytes."""
    handle = os.pidfd_open(process.pid)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    memory = 0
    try:
        while not poll.poll(_LOOK * 1000):
            memory = max(memory, _memory(_descendants(os.getpid(), others)))
            if time.monotonic() > deadline:
                raise SystemExit(f"{process.args!r} did not end in time")
    finally:
        os.close(handle)
    return memory


def _children(pid: int) -> set[int]:
    found: set[int] = set()
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(map(int, tasks.read_text().split()))
    return found


def _descendants(pid: int, others: set[int] | frozenset[int] = frozenset()) -> set[int]:
    found: set[int] = set()
    for child in _children(pid) - others:
        found |= {child} | _descendants(child)
    return found


def _memory(pids: set[int]) -> int:
    alone = len(pids) == 1
    return (
        sum(_kilobytes(pid, "status", "VmHWM") if alone else _kilobytes(pid, "smaps_rollup", "Pss") for pid in pids)
        * 1024
    )


def _kilobytes(pid: int, file: str, key: str) -> int:
    try:
        return int(_first(rf"^{key}:\s+(\d+) kB", f"/proc/{pid}/{file}") or 0)
    except ProcessLookupError:
        return 0


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _reap(pids: set[int], patience: float = 5.0) -> None:
    """Waits for processes that were left behind, and ends what does not end."""
    deadline = time.monotonic() + patience
    while pids and time.monotonic() < deadline:
        pids = {pid for pid in pids if os.waitpid(pid, os.WNOHANG)[0] == 0}
        time.sleep(0.01)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


class PacedServer:
    """The server of tests/support/paced_server.py in a process of its own."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def truth(self, values: bool = False) -> Figures:
        """What a perfect client would have measured since the last look; with every single latency on demand."""
        with urllib.request.urlopen(self.url + ("/truth?values" if values else "/truth"), timeout=60) as answer:
            return json.load(answer)


@contextlib.contextmanager
def paced_server(pace: Mapping[str, t.Any]) -> Iterator[PacedServer]:
    """A fresh server that paces as ``pace`` says (keys of ``PACE``)."""
    options = [f"--{key}={value}" for key, value in pace.items()]
    server = subprocess.Popen([sys.executable, str(SERVER), *options], stdout=subprocess.PIPE, text=True)
    try:
        yield PacedServer(int(t.cast(t.IO[str], server.stdout).readline()))
    finally:
        server.kill()
        server.wait()
        t.cast(t.IO[str], server.stdout).close()


def judged(
    load: Callable[[PacedServer], tuple[Figures, Cost]], pace: Mapping[str, t.Any] | None = None, values: bool = False
) -> Figures:
    """One load of a fresh server: what the server knows, what the tool says, what it cost, how wrong it is.

    ``overhead`` in ``cost`` is the time of the whole process beyond the load, in seconds.

    :param pace: ``PACE`` where nothing else is given.
    :param load: loads the server; gives ``ttft, itl, tokens, output_throughput`` and its cost.
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
    """The result of one of our modules in a process of its own, as on a node, and what that process took."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder, "arguments.json")
        given.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
        finished = measure([sys.executable, ROOT / "plugins/modules" / f"{name}.py", given], env)
    try:
        result = json.loads(finished.output)
    except ValueError as problem:
        raise SystemExit(f"{name} did not return a result: {finished.errors or finished.output}") from problem
    if result.get("failed"):
        raise SystemExit(f"{name} failed: {result.get('msg')}")
    return result, finished.cost
