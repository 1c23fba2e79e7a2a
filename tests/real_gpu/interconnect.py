# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NCCL between real GPUs: ``nccl_bandwidth`` with every variant, and logs of every transport for ``nccl_log_scan``."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
import typing as t
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.bandwidth import REPORT, VARIANTS, command
from node import run_module
from traces import running

#: Tested transports: the variants of the module, and sockets, which the module never forces.
TRANSPORTS: t.Final[dict[str, dict[str, str]]] = {
    **VARIANTS,
    "socket": {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"},
}


def start_build(work: Path) -> subprocess.Popen[bytes] | None:
    """Start building all_reduce_perf from ``NCCL_TESTS`` with torch's NCCL; return None if that is not possible."""
    source, nvcc = os.environ.get("NCCL_TESTS"), shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    package = Path(sysconfig.get_paths()["purelib"], "nvidia/nccl")
    if not source or not Path(nvcc).exists() or not package.exists():
        return None
    home, build = work / "nccl", work / "build"
    (home / "lib").mkdir(parents=True)
    (home / "include").symlink_to(package / "include")
    for name in ("libnccl.so", "libnccl.so.2"):
        (home / "lib" / name).symlink_to(package / "lib/libnccl.so.2")
    shutil.copytree(source, work / "nccl-tests")
    cuda = Path(nvcc).resolve().parents[1]
    options = [f"NCCL_HOME={home}", f"CUDA_HOME={cuda}", f"NVCC={nvcc}", f"BUILDDIR={build}"]
    options += ["NVCC_GENCODE=-arch=native", "CUDARTLIB=cudart_static"]
    with (work / "build.log").open("w") as log:
        argv = ["make", "-j8", "-C", str(work / "nccl-tests/src"), *options, f"{build}/all_reduce_perf"]
        return subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)


def program(work: Path) -> str | None:
    """Return the path of all_reduce_perf, or None if it is not available."""
    built = work / "build/all_reduce_perf"
    return str(built) if built.exists() else os.environ.get("ALL_REDUCE_PERF") or shutil.which("all_reduce_perf")


def environment(work: Path) -> dict[str, str]:
    paths = [str(work / "nccl/lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    return {"LD_LIBRARY_PATH": ":".join(item for item in paths if item)}


def module(work: Path, gpus: int) -> dict[str, t.Any]:
    """Run ``nccl_bandwidth`` as a user does, with every variant, and with nccl-tests for comparison."""
    options = {"gpus": gpus, "variants": list(VARIANTS), "timeout": 90}
    result = run_module("nccl_bandwidth", options, environment(work))
    compared = run_module("nccl_bandwidth", {**options, "program": program(work)}, environment(work))
    return {**result, "nccl_tests": compared.get("bandwidth")}


def logs_of_tests(work: Path, gpus: int, folder: Path) -> dict[str, t.Any]:
    """Run all_reduce_perf on each transport, write report and NCCL log to ``folder``, return the log scans."""
    results: dict[str, t.Any] = {}
    for name, settings in TRANSPORTS.items():
        directory = folder / f"all-reduce-perf-{name}"
        directory.mkdir(parents=True, exist_ok=True)
        argv = command(t.cast(str, program(work)), None, str(directory), gpus, 64 * 2**20, settings)
        variables = {**os.environ, **environment(work), **settings, "NCCL_DEBUG": "INFO"}
        try:
            done = subprocess.run(argv, env=variables, capture_output=True, text=True, timeout=90, check=False)
            text, code = done.stdout + done.stderr, done.returncode
        except subprocess.TimeoutExpired as error:
            text, code = (error.stdout or b"").decode(errors="replace"), 124
        (directory / "nccl.log").write_text(text)
        clean(directory / REPORT)
        results[name] = {"code": code, **scan(directory / "nccl.log")}
    return results


def clean(report: Path) -> None:
    """Remove the environment of the run from a report, because it can contain secrets."""
    if report.exists():
        document = json.loads(report.read_text())
        report.write_text(
            json.dumps({key: value for key, value in document.items() if key not in ("env", "args")}, indent=1)
        )


def logs_of_torch(gpus: int, folder: Path) -> dict[str, t.Any]:
    """Do the same with PyTorch and one process per GPU, as in vLLM."""
    results: dict[str, t.Any] = {}
    for name in ("default", "p2p_off", "shm_off", "cumem_off", "socket"):
        directory = folder / f"torch-{name}"
        directory.mkdir(parents=True, exist_ok=True)
        size = 32 * 2**20 if name == "socket" else 256 * 2**20
        try:
            with running(str(size), gpus, {**TRANSPORTS[name], "NCCL_DEBUG": "INFO"}, "reduce.py") as files:
                text = "".join(file.read_text() for file in files)
        except RuntimeError as error:
            text = str(error)
        (directory / "nccl.log").write_text(text)
        speed = re.search(r"bus bandwidth ([\d.]+) GB/s", text)
        results[name] = {"bus_bandwidth": float(speed[1]) * 1e9 if speed else None, **scan(directory / "nccl.log")}
    return results


def scan(log: Path) -> dict[str, t.Any]:
    result = run_module("nccl_log_scan", {"paths": [str(log)]})
    keys = ("transports", "nccl_version", "healthy", "findings", "msg")
    return {key: result.get(key) for key in keys}
