# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run modules without Ansible, and helpers shared by all phases."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_module(
    name: str, options: Mapping[str, t.Any], environment: Mapping[str, str] | None = None
) -> dict[str, t.Any]:
    """Run a module in a separate process; return its result with its run time ``wall`` in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = Path(folder, "arguments.json")
        arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": dict(options)}))
        begun = time.perf_counter()
        process = subprocess.run(
            [sys.executable, str(ROOT / f"plugins/modules/{name}.py"), str(arguments)],
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        wall = time.perf_counter() - begun
    try:
        return {**json.loads(process.stdout), "wall": wall}
    except ValueError:
        return {"failed": True, "msg": (process.stdout + process.stderr)[-2000:], "wall": wall}


def output_of(*command: str, timeout: float = 120) -> str:
    """Return standard output and errors of ``command``, or the reason if it cannot run."""
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return process.stdout + process.stderr


def gpu_indexes() -> list[str]:
    """Return the indexes of this machine's GPUs, or an empty list without nvidia-smi."""
    listed = output_of("nvidia-smi", "--query-gpu=index", "--format=csv,noheader").split()
    return [index for index in listed if index.isdigit()]


def seconds_of(work: Callable[[], t.Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def spread(values: list[float]) -> dict[str, float]:
    """Return median, minimum and maximum of repeated measurements."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
