# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All-reduce bandwidth with ``all_reduce_perf`` of NVIDIA's nccl-tests, under NCCL settings that rule a path in or out.

Bus bandwidth is nccl-tests' own: bytes / time x 2 (n - 1) / n, which compares with the hardware whatever the number of
GPUs. The report is the file that ``-J`` writes (nccl-tests 2.17 and newer).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed, warned

CHECK: t.Final = "nccl.bandwidth"

#: What is tried -> the environment that makes it so.
VARIANTS: t.Final[dict[str, dict[str, str]]] = {
    "default": {},
    "p2p_off": {"NCCL_P2P_DISABLE": "1"},
    "shm_off": {"NCCL_SHM_DISABLE": "1"},
    "cumem_off": {"NCCL_CUMEM_ENABLE": "0"},
}
#: Interconnect -> bus bandwidth in bytes per second that a healthy node reaches at the least, and where that is from.
EXPECTED: t.Final[dict[str, tuple[float, str]]] = {
    "nvlink": (
        200e9,
        "all_reduce_perf over NVLink with NVLS off: 266 GB/s on 2 H100, 300 GB/s on 2 H200; on 8 H100 460 GB/s",
    ),
    "pcie": (
        15e9,
        "all_reduce_perf over PCIe: about 15 GB/s at the least, 25 GB/s on 4 A100, 22 to 41 on RTX PRO 6000; through "
        "host memory over PCIe 5.0 x16 26 to 28 GB/s on 2 H100 and H200",
    ),
}
#: nccl-tests itself calls less than this part of the expected bandwidth a failure (NCCL_TESTS_MIN_BW).
TOLERANCE: t.Final = 0.9
#: Below this part a path is broken, not slow.
BROKEN: t.Final = 0.5

#: nccl-tests tells the kind of report from the end of its name, and writes none where it knows no such kind.
REPORT: t.Final = "report.json"

Result = dict[str, t.Any]


class InvalidMeasurement(ValueError):
    """The user asked for what cannot be measured."""


@dataclass(frozen=True)
class Measured:
    """``bandwidth`` in bytes per second; ``None`` with ``error`` where the run failed or gave wrong sums."""

    bandwidth: float | None
    error: str | None = None


class Runner:
    """The one place where the program runs; tests put another in its place."""

    def run(self, argv: Sequence[str], environment: Mapping[str, str], timeout: float) -> tuple[int, str]:
        """Exit status and joined output.

        :raises FileNotFoundError: where the program is not there.
        :raises subprocess.TimeoutExpired: where it hangs, as a broken path makes it do.
        """
        done = subprocess.run(
            list(argv),
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout.decode(errors="replace")


def command(
    program: str, image: str | None, directory: str, gpus: int, largest: int, environment: Mapping[str, str]
) -> list[str]:
    """The command line: the program itself, or within a container of ``image``; ``REPORT`` comes to ``directory``."""
    options = ["-b", str(largest // 8), "-e", str(largest), "-f", "2", "-g", str(gpus), "-J", f"{directory}/{REPORT}"]
    if image is None:
        return [program, *options]
    variables = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
    mounts = ["--volume", f"{directory}:{directory}"]
    run = ["docker", "run", "--rm", "--gpus", "all", "--ipc", "host", *mounts, *variables, "--entrypoint", program]
    return [*run, image, *options]


def read_report(text: str) -> Measured:
    """Best bus bandwidth of a report; one wrong sum makes the whole measurement worthless."""
    try:
        rows = json.loads(text)["results"]
        bodies = [row[kind] for row in rows for kind in ("out_of_place", "in_place") if row.get(kind)]
        wrong = sum(float(body["nwrong"]) for body in bodies if body.get("nwrong") is not None)
        best = max(float(body["bus_bw"]) for body in bodies)
    except (ValueError, LookupError, TypeError, AttributeError):
        return Measured(None, "all_reduce_perf wrote no report that can be read")
    if wrong:
        return Measured(None, f"{wrong:.0f} wrong values in the sums: this path corrupts data")
    return Measured(best * 1e9)


def measure(
    variants: Sequence[str], gpus: int, program: str, image: str | None, largest: int, timeout: float, runner: Runner
) -> dict[str, Measured]:
    """Each variant on its own, so that one that hangs costs only itself.

    :raises FileNotFoundError: where the program is not there.
    """
    found: dict[str, Measured] = {}
    for variant in variants:
        environment = VARIANTS[variant]
        with tempfile.TemporaryDirectory(prefix="nccl-bandwidth-") as directory:
            argv = command(program, image, directory, gpus, largest, environment)
            try:
                code, output = runner.run(argv, environment, timeout)
            except subprocess.TimeoutExpired:
                found[variant] = Measured(None, f"no result after {timeout:.0f} s")
                continue
            report = Path(directory) / REPORT
            if code or not report.exists():
                found[variant] = Measured(None, _reason(output, code))
            else:
                found[variant] = read_report(report.read_text("utf-8", "replace"))
    return found


def judge(found: Mapping[str, Measured], interconnect: str | None, expected: float | None) -> Finding:
    """The check ``nccl.bandwidth`` on what NCCL takes by itself."""
    default = found["default"]
    others = {name: measured.bandwidth for name, measured in found.items() if name != "default" and measured.bandwidth}
    fastest = max(others, key=lambda name: others[name], default=None)
    if default.bandwidth is None:
        return failed(
            CHECK,
            "all-reduce fails with NCCL's own choice of path",
            evidence={"error": default.error, "works": sorted(others)},
            cause=default.error,
            remedy=f"Set {_assignment(fastest)} (role vllm does so with vllm_nccl_bandwidth)." if fastest else None,
        )
    if expected is None and interconnect is None:
        return passed(CHECK, f"all-reduce reaches {_giga(default.bandwidth)}", measured=default.bandwidth, unit="B/s")
    limit, source = (expected, "option expected_bandwidth") if expected else EXPECTED[str(interconnect)]
    details: Result = {"expected": limit, "measured": default.bandwidth, "unit": "B/s", "source": source}
    summary = f"all-reduce reaches {_giga(default.bandwidth)} of {_giga(limit)} expected"
    if default.bandwidth >= TOLERANCE * limit:
        return passed(CHECK, summary, **details)
    better = fastest if fastest and others[fastest] > default.bandwidth / TOLERANCE else None
    remedy = f"Set {_assignment(better)}: {_giga(others[better])} were measured with it." if better else None
    worse = failed if default.bandwidth < BROKEN * limit else warned
    cause = "NCCL takes a slow path between the GPUs." if better else "The interconnect is slower than its kind allows."
    remedy = remedy or "Look at hardware.pcie_link and hardware.topology; on a shared host ask for another one."
    return worse(CHECK, summary, cause=cause, remedy=remedy, **details)


def run(options: Mapping[str, t.Any], runner: Runner | None = None) -> Result:
    """The result of the module.

    :raises InvalidMeasurement: for variants that do not contain ``default``, and sizes that are too small.
    """
    variants = list(dict.fromkeys(["default", *options["variants"]]))
    largest = options["size"]
    if largest < 1 << 20:
        raise InvalidMeasurement(f"size is {largest}; allowed: 1048576 bytes or more")
    if options["gpus"] < 2:
        reason = f"{options['gpus']} GPU: nothing to reduce"
        return {"findings": [not_tested(CHECK, reason).as_dict()], "bandwidth": {}, "errors": {}}
    try:
        found = measure(
            variants,
            options["gpus"],
            options["program"],
            options["image"],
            largest,
            options["timeout"],
            runner or Runner(),
        )
    except FileNotFoundError as error:
        missing = not_tested(CHECK, f"{error.filename or options['program']} is not installed on this node")
        return {"findings": [missing.as_dict()], "bandwidth": {}, "errors": {}}
    if re.search("out of memory", found["default"].error or "", re.I):
        busy = not_tested(CHECK, "no free memory on the GPUs: stop vLLM, or leave it less (--gpu-memory-utilization)")
        return {"findings": [busy.as_dict()], "bandwidth": {}, "errors": _errors(found)}
    return {
        "findings": [judge(found, options["interconnect"], options["expected_bandwidth"]).as_dict()],
        "bandwidth": {name: measured.bandwidth for name, measured in found.items()},
        "errors": _errors(found),
    }


def _errors(found: Mapping[str, Measured]) -> dict[str, str]:
    return {name: measured.error for name, measured in found.items() if measured.error}


def _reason(output: str, code: int) -> str:
    """The line that says why; nccl-tests reports ``Test NCCL failure`` with the cause before it."""
    if not code:
        return "all_reduce_perf ran, but wrote no report: it is older than nccl-tests 2.17"
    telling = [line for line in output.splitlines() if re.search(r"NCCL WARN|failure|error|Invalid", line, re.I)]
    return (telling or output.splitlines() or ["no output"])[0].strip()[:300] + f" (exit status {code})"


def _assignment(variant: str | None) -> str:
    return " ".join(f"{name}={value}" for name, value in VARIANTS[variant or "default"].items())


def _giga(bandwidth: float) -> str:
    return f"{bandwidth / 1e9:.1f} GB/s"
