# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NCCL between real GPUs: ``nccl_bandwidth`` with every variant, and real logs of every path for ``nccl_log_scan``."""

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

#: Paths that are tried by hand: what the module tries, and both fast paths off, which the module never sets.
PATHS: t.Final[dict[str, dict[str, str]]] = {
    **VARIANTS,
    "socket": {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"},
}


def start_build(work: Path) -> subprocess.Popen[bytes] | None:
    """Begin to build all_reduce_perf from ``NCCL_TESTS`` against the NCCL that torch brings; ``None`` without it."""
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
    """Where all_reduce_perf is; ``None`` where there is none."""
    built = work / "build/all_reduce_perf"
    return str(built) if built.exists() else os.environ.get("ALL_REDUCE_PERF") or shutil.which("all_reduce_perf")


def environment(work: Path) -> dict[str, str]:
    here = [str(work / "nccl/lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    return {"LD_LIBRARY_PATH": ":".join(item for item in here if item)}


def module(work: Path, gpus: int, nvlink: bool) -> dict[str, t.Any]:
    """``nccl_bandwidth`` as a user runs it, with every variant."""
    options = {"gpus": gpus, "program": program(work), "variants": list(VARIANTS), "timeout": 90}
    return run_module("nccl_bandwidth", {**options, "interconnect": "nvlink" if nvlink else "pcie"}, environment(work))


def logs_of_tests(work: Path, gpus: int, folder: Path) -> dict[str, t.Any]:
    """Report and NCCL log of all_reduce_perf on each path, written to ``folder``, and what the log scan reads."""
    found: dict[str, t.Any] = {}
    for name, settings in PATHS.items():
        place = folder / f"all-reduce-perf-{name}"
        place.mkdir(parents=True, exist_ok=True)
        argv = command(t.cast(str, program(work)), None, str(place), gpus, 64 * 2**20, settings)
        told = {**os.environ, **environment(work), **settings, "NCCL_DEBUG": "INFO"}
        try:
            done = subprocess.run(argv, env=told, capture_output=True, text=True, timeout=90, check=False)
            text, code = done.stdout + done.stderr, done.returncode
        except subprocess.TimeoutExpired as late:
            text, code = (late.stdout or b"").decode(errors="replace"), 124
        (place / "nccl.log").write_text(text)
        clean(place / REPORT)
        found[name] = {"code": code, **scan(place / "nccl.log")}
    return found


def clean(report: Path) -> None:
    """Take the environment of the run out of a report: nobody needs it, and it can hold secrets."""
    if report.exists():
        told = json.loads(report.read_text())
        report.write_text(
            json.dumps({key: value for key, value in told.items() if key not in ("env", "args")}, indent=1)
        )


def logs_of_torch(gpus: int, folder: Path) -> dict[str, t.Any]:
    """The same from PyTorch with one process a GPU, as vLLM's workers are."""
    found: dict[str, t.Any] = {}
    for name in ("default", "p2p_off", "shm_off", "cumem_off", "socket"):
        place = folder / f"torch-{name}"
        place.mkdir(parents=True, exist_ok=True)
        size = 32 * 2**20 if name == "socket" else 256 * 2**20
        try:
            with running(str(size), gpus, {**PATHS[name], "NCCL_DEBUG": "INFO"}, "reduce.py") as files:
                text = "".join(file.read_text() for file in files)
        except RuntimeError as error:
            text = str(error)
        (place / "nccl.log").write_text(text)
        speed = re.search(r"bus bandwidth ([\d.]+) GB/s", text)
        found[name] = {"bus_bandwidth": float(speed[1]) * 1e9 if speed else None, **scan(place / "nccl.log")}
    return found


def scan(log: Path) -> dict[str, t.Any]:
    result = run_module("nccl_log_scan", {"paths": [str(log)]})
    keys = ("transports", "nccl_version", "healthy", "findings", "msg")
    return {key: result.get(key) for key in keys}
