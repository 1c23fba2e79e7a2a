# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the all-reduce bandwidth under different NCCL settings, with a program of this collection or nccl-tests.

NVIDIA's nccl-tests define the bus bandwidth as bytes / time x 2 (n - 1) / n, which can be compared with the bandwidth
of the hardware for any number of GPUs. On two H200 both programs agree within 4 %. The report of ``all_reduce_perf`` is
the file that ``-J`` writes (nccl-tests 2.17 and newer).
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils import container_engine
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.peer.run import missing_library, rows_of
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask_line
from ansible_collections.multigpu.vllm.plugins.module_utils.units import gb_per_second

CHECK: t.Final = "nccl.bandwidth"

#: Variant -> environment variables.
VARIANTS: t.Final[dict[str, dict[str, str]]] = {
    "default": {},
    "p2p_off": {"NCCL_P2P_DISABLE": "1"},
    "shm_off": {"NCCL_SHM_DISABLE": "1"},
    "cumem_off": {"NCCL_CUMEM_ENABLE": "0"},
}

ARGUMENT_SPEC: t.Final[dict[str, dict[str, t.Any]]] = {
    "gpus": {"type": "int", "required": True},
    "program": {"type": "str"},
    "image": {"type": "str"},
    "variants": {"type": "list", "elements": "str", "choices": list(VARIANTS), "default": ["p2p_off"]},
    "size": {"type": "int", "default": 268435456},
    "timeout": {"type": "float", "default": 120.0},
    "expected_bandwidth": {"type": "float"},
}
#: Fraction of the expected bandwidth below which nccl-tests itself reports a failure (NCCL_TESTS_MIN_BW).
TOLERANCE: t.Final = 0.9
#: Fraction of the expected bandwidth below which the path counts as broken instead of slow.
BROKEN: t.Final = 0.5

#: nccl-tests derives the format of the report from its suffix, and writes no report for an unknown suffix.
REPORT: t.Final = "report.json"

Result = dict[str, t.Any]


@dataclass(frozen=True)
class Measured:
    """The measured ``bandwidth`` in bytes per second, or the ``error`` if the measurement failed."""

    bandwidth: float | None
    error: str | None = None


def command(
    program: str, image: str | None, directory: str, gpus: int, largest: int, environment: Mapping[str, str]
) -> list[str]:
    """Return the command that measures the bandwidth and writes the file ``REPORT`` to ``directory``.

    The command runs in a container with the name of ``directory`` if ``image`` is set.
    """
    options = ["-b", str(largest // 8), "-e", str(largest), "-f", "2", "-g", str(gpus), "-J", f"{directory}/{REPORT}"]
    if image is None:
        return [program, *options]
    variables = [option for name, value in environment.items() for option in ("--env", f"{name}={value}")]
    volume = f"{directory}:{directory}"
    return container_engine.gpu_container(image, [program, *options], Path(directory).name, volume, variables)


def read_report(text: str) -> Measured:
    """Return the highest bus bandwidth in an ``all_reduce_perf`` report, or an error if the report shows wrong sums."""
    try:
        rows = json.loads(text)["results"]
        bodies = [row[kind] for row in rows for kind in ("out_of_place", "in_place") if row.get(kind)]
        wrong = sum(float(body["nwrong"]) for body in bodies if body.get("nwrong") is not None)
        best = max(float(body["bus_bw"]) for body in bodies)
    except (ValueError, LookupError, TypeError, AttributeError):
        return Measured(None, "all_reduce_perf wrote an unreadable report")
    if wrong:
        return Measured(None, f"{wrong:.0f} wrong values in the sums: this path corrupts data")
    return Measured(best * 1e9)


def read_rows(rows: Sequence[Result], ended: str | None, gpus: int) -> Measured:
    """Return the highest bus bandwidth in the rows of this collection's program, or the error of the first bad row.

    :param ended: why the program ended early, or None.
    """
    times = {row["bytes"]: row["seconds"] for row in rows if row.get("seconds")}
    best = max((size / seconds * 2 * (gpus - 1) / gpus for size, seconds in times.items()), default=None)
    for row in rows:
        if row.get("wrong"):
            return Measured(None, f"wrong sums in {row['wrong']} of {row['pages']} pages: this path corrupts data")
        if "hangs" in row:
            return Measured(None, f"GPU {', '.join(map(str, row['hangs']))} gave no result")
        if "error" in row:
            return Measured(None, mask_line(str(row["error"]))[:300])
    return Measured(best) if best and not ended else Measured(None, ended or "the program measured nothing")


def measure_with_own_program(variant: str, options: Mapping[str, t.Any], commands: Commands) -> Measured:
    """Measure as ``measure`` does, with this collection's program."""
    largest, gpus = options["size"] // 4 * 4, options["gpus"]
    configuration = {
        "gpus": list(range(gpus)),
        "arms": {variant: VARIANTS[variant]},
        "sizes": [largest // 32 * 4, largest // 8 * 4, largest],
        "copies": False,
        "pairs": False,
        "under_load": False,
        "deadline": options["timeout"] / 4,
    }
    return read_rows(*rows_of(configuration, options["image"], options["timeout"], commands), gpus)


def measure(variant: str, options: Mapping[str, t.Any], commands: Commands) -> Measured:
    """Measure the bandwidth with the environment variables of ``variant``, a key of ``VARIANTS``.

    A broken path hangs, so the measurement ends after ``timeout`` seconds of ``options``.

    :param options: the module's parameters.
    :raises FileNotFoundError: if the program is not installed.
    """
    if options["program"] is None:
        return measure_with_own_program(variant, options, commands)
    environment = VARIANTS[variant]
    with tempfile.TemporaryDirectory(prefix="multigpu-nccl-bandwidth-") as directory:
        argv = command(options["program"], options["image"], directory, options["gpus"], options["size"], environment)
        try:
            finished = commands.complete(argv, environment, options["timeout"], joined=True)
        except subprocess.TimeoutExpired:
            if options["image"] is not None:
                container_engine.remove(Path(directory).name, commands)
            return Measured(None, f"no result after {options['timeout']:.0f} s")
        report = Path(directory) / REPORT
        if finished.returncode or not report.exists():
            return Measured(None, _failure(finished.stdout, finished.returncode))
        return read_report(report.read_text("utf-8", "replace"))


def judge(results: Mapping[str, Measured], limit: float | None, source: str) -> Finding:
    """Return the ``nccl.bandwidth`` finding for the path that NCCL chooses by default between the GPUs.

    :param limit: bandwidth of a healthy node in bytes per second, or None if there is no limit.
    :param source: source of ``limit``.
    """
    default = results["default"]
    others = {name: result.bandwidth for name, result in results.items() if name != "default" and result.bandwidth}
    fastest = max(others, key=lambda name: others[name], default=None)
    if default.bandwidth is None:
        return failed(
            CHECK,
            "all-reduce fails on the path that NCCL chooses",
            evidence={"error": default.error, "works": sorted(others)},
            cause=default.error,
            remedy=f"Set {_assignment(fastest)}, as the vllm role does with vllm_nccl_bandwidth." if fastest else None,
        )
    if limit is None:
        return passed(
            CHECK, f"all-reduce reaches {gb_per_second(default.bandwidth)}", measured=default.bandwidth, unit="B/s"
        )
    details: Result = {"expected": limit, "measured": default.bandwidth, "unit": "B/s", "source": source}
    summary = f"all-reduce reaches {gb_per_second(default.bandwidth)} of {gb_per_second(limit)} expected"
    if default.bandwidth >= TOLERANCE * limit:
        return passed(CHECK, summary, **details)
    better = fastest if fastest and others[fastest] > default.bandwidth / TOLERANCE else None
    if better:
        cause = "NCCL chooses a slow path between the GPUs."
        remedy = f"Set {_assignment(better)}, which reached {gb_per_second(others[better])} in this measurement."
    else:
        cause = "The interconnect is slower than usual for its kind."
        remedy = "See hardware.pcie_link and hardware.topology; on a shared host, request another one."
    verdict = failed if default.bandwidth < BROKEN * limit else warned
    return verdict(CHECK, summary, cause=cause, remedy=remedy, **details)


def run(options: Mapping[str, t.Any], commands: Commands | None = None, *, check_mode: bool = False) -> Result:
    """Measure the bandwidth with each variant of the NCCL settings, and return the module's result.

    A variant that hangs does not affect the others. In check mode, nothing is measured.

    :raises ValueError: if ``size`` is too small.
    """
    if check_mode:
        return without_bandwidth("check mode: nothing is measured")
    if options["size"] < 1 << 20:
        raise ValueError(f"size must be at least 1048576 bytes, got {options['size']}")
    if options["gpus"] < 2:
        return without_bandwidth(f"{options['gpus']} GPU: all-reduce needs at least 2")
    commands = commands or Commands()
    try:
        results = {name: measure(name, options, commands) for name in dict.fromkeys(["default", *options["variants"]])}
    except FileNotFoundError as error:
        return without_bandwidth(f"{error.filename or options['program']} is not installed on this node")
    errors = {name: result.error for name, result in results.items() if result.error}
    missing = missing_library(errors.values())
    if missing:
        return without_bandwidth(missing) | {"errors": errors}
    if re.search("out.of.memory", errors.get("default", ""), re.I):
        reason = "not enough free GPU memory: stop vLLM, or lower its --gpu-memory-utilization"
        return without_bandwidth(reason) | {"errors": errors}
    finding = judge(results, options["expected_bandwidth"], "option expected_bandwidth")
    bandwidth = {name: result.bandwidth for name, result in results.items()}
    return {"findings": [finding.as_dict()], "bandwidth": bandwidth, "errors": errors, "gpus": options["gpus"]}


def without_bandwidth(reason: str) -> Result:
    """Return the module's result for a node whose bandwidth could not be measured. ``reason`` is shown to the user."""
    return {"findings": [not_tested(CHECK, reason).as_dict()], "bandwidth": {}, "errors": {}}


def _failure(output: str, code: int) -> str:
    """Return a message that explains why the measurement failed: the first line of ``output`` that shows an error."""
    if not code:
        return "all_reduce_perf ran but wrote no report: it is older than nccl-tests 2.17"
    causes = [line for line in output.splitlines() if re.search(r"NCCL WARN|failure|error|Invalid", line, re.I)]
    return mask_line((causes or output.splitlines() or ["no output"])[0].strip())[:300] + f" (exit status {code})"


def _assignment(variant: str | None) -> str:
    return " ".join(f"{name}={value}" for name, value in VARIANTS[variant or "default"].items())
