# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ``validate.yml`` on servers that compute on GPUs (``serving.py``), healthy and misconfigured.

The measurements of the probe are compared with the step times that the servers recorded.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import typing as t
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from node import ROOT

HERE = Path(__file__).resolve().parent
STREAMS = 16
#: Case -> number of ranks and environment of the server. Cases that need more GPUs than available are skipped.
CASES: dict[str, tuple[int, dict[str, str]]] = {
    "one_rank": (1, {}),
    "two_ranks": (2, {}),
    "sockets": (2, {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}),
}
#: Keys of a load step that are copied to the results.
STEP_KEYS = ("concurrency", "output_throughput", "ttft", "itl", "tpot", "token_ratio")


def mappings_with(part: t.Any, keys: set[str]) -> list[dict[str, t.Any]]:
    """Return all mappings in a part of the report that have all of ``keys``."""
    if isinstance(part, Mapping) and keys <= set(part):
        return [dict(part)]
    inner = part.values() if isinstance(part, Mapping) else part if isinstance(part, list) else ()
    return [mapping for item in inner for mapping in mappings_with(item, keys)]


@contextlib.contextmanager
def server(folder: Path, ranks: int, environment: Mapping[str, str]) -> Iterator[str]:
    """Run a server and yield its URL; its log and ``steps.json`` are kept in ``folder``."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/vllm").symlink_to(HERE / "serving.py")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(folder / "bin/vllm"), "serve", str(folder / "model"), "--port", str(port)]
    command += ["--tensor-parallel-size", str(ranks)] if ranks > 1 else []
    with (folder / "vllm.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "NCCL_DEBUG": "INFO", **environment}
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "vllm.log").read_text()[-3000:])
            time.sleep(0.2)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2):
            return True
    except OSError:
        return False


def validate(folder: Path, url: str, gpus: int, out: Path, **overrides: t.Any) -> dict[str, t.Any]:
    """Run the playbook and return its report; its output is written to ``out/validate.txt``.

    ``overrides`` are variables of the role, for example ``validate_timeout``.
    """
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "validate_base_url": url,
        "validate_log_paths": [str(folder / "vllm.log")],
        "validate_expected_gpu_count": gpus or None,
        "validate_prompt_tokens": [128, 512],
        "validate_output_tokens": 128,
        "validate_concurrency": STREAMS,
        "validate_load_duration": 10,
        "validate_fail_on": "never",
        "validate_report_dir": str(out),
        "validate_report_formats": ["text", "html"],
        "validate_environment": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        **overrides,
    }
    inventory = folder / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"gpu-node": variables}}}))
    command = [sys.executable, "-m", "ansible", "playbook", str(ROOT / "playbooks/validate.yml"), "-i", str(inventory)]
    begun = time.monotonic()
    completed = subprocess.run(
        command,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(folder), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    (out / "validate.txt").write_text(completed.stdout + completed.stderr)
    if completed.returncode:
        raise RuntimeError((completed.stdout + completed.stderr)[-4000:])
    return {"seconds": time.monotonic() - begun, **json.loads((out / "report.json").read_text())}


def truth(folder: Path) -> dict[str, t.Any]:
    """Return median seconds and number of the server's steps by batch size."""
    steps = json.loads((folder / "steps.json").read_text())
    return {size: {"median": statistics.median(seconds), "count": len(seconds)} for size, seconds in steps.items()}


def run(work: Path, out: Path, gpus: int) -> dict[str, t.Any]:
    """Run all cases for which there are enough GPUs."""
    cases = {name: case for name, case in CASES.items() if case[0] <= max(gpus, 1)}
    return {name: run_case(work / name, out / name, gpus, *case) for name, case in cases.items()}


def run_case(folder: Path, out: Path, gpus: int, ranks: int, environment: Mapping[str, str]) -> dict[str, t.Any]:
    out.mkdir(parents=True, exist_ok=True)
    with server(folder, ranks, environment) as url:
        try:
            report = validate(folder, url, gpus, out)
        finally:
            (out / "vllm.log").write_bytes((folder / "vllm.log").read_bytes())
    (host,) = report["hosts"].values()
    return {
        "seconds": report["seconds"],
        "headline": host["headline"],
        "diagnoses": [
            {key: diagnosis.get(key) for key in ("id", "title", "cause", "remedy")} for diagnosis in host["diagnoses"]
        ],
        "server": truth(folder),
        "steps": {
            step["name"]: {key: step.get(key) for key in STEP_KEYS}
            for step in mappings_with(host, {"name", *STEP_KEYS[:2]})
        },
        "findings": [
            {key: finding.get(key) for key in ("check", "status", "summary", "expected", "measured", "unit")}
            for finding in mappings_with(host, {"check", "status"})
        ],
    }
