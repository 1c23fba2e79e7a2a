# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start a real vLLM on CPU with two ranks, validate it with the playbook, and check the report.

``VLLM_VERSION`` selects the release (default 0.32.0). Needs two cores, 4 GB of memory and 3.4 GB of disk.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from expect import lines, problems
from install import DEFAULT_VERSION, install
from liveness import liveness_problems
from serve import Server

ROOT = Path(__file__).resolve().parents[2]
#: Directory in which the report of the last run is kept.
REPORTS = ROOT / "tests" / "output" / "real_vllm"


def validate(server: Server, directory: Path, reports: Path) -> tuple[int, dict]:
    """Run ``playbooks/validate.yml`` against ``server``; return exit status and report."""
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "validate_base_url": server.url,
        "validate_log_paths": [str(server.log)],
        "validate_kernel_log": False,
        "validate_prompt_tokens": [64, 512],
        "validate_output_tokens": 32,
        "validate_requests": 2,
        "validate_concurrency": 4,
        "validate_load_duration": 10,
        # The first request after the start waits up to a minute for compilation.
        "validate_timeout": 120,
        "validate_report_dir": str(reports),
        "validate_output_dir": str(directory),
    }
    inventory = directory / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"real-vllm": host}}}))
    playbook = [str(Path(sys.executable).parent / "ansible-playbook"), "playbooks/validate.yml", "-i", str(inventory)]
    done = subprocess.run(
        playbook, cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}, check=False
    )
    written = sorted(reports.rglob("report.json"), key=lambda path: path.stat().st_mtime)
    if not written:
        raise SystemExit(f"validate.yml exited with status {done.returncode} and wrote no report.json")
    return done.returncode, json.loads(written[-1].read_text())


def main() -> int:
    # On SIGTERM, stop the server as on SIGINT.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(143))
    version = os.environ.pop("VLLM_VERSION", DEFAULT_VERSION)
    home = install(version)
    reports = REPORTS / version
    reports.mkdir(parents=True, exist_ok=True)
    for old in reports.rglob("report.json"):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="real-vllm-") as name:
        directory = Path(name)
        log(f"starting vLLM {version} on CPU with two ranks")
        with Server(home, reports / "vllm.log") as server:
            status, report = validate(server, directory, reports)
            log("stopping a rank")
            stalls = list(liveness_problems(server, directory))
    failures = [*problems(report, version), *stalls]
    if status != 0:
        failures.insert(0, f"validate.yml exited with status {status}")
    for line in lines(report):
        log(line)
    for problem in failures:
        log(f"FAIL: {problem}")
    log(f"report: {reports.relative_to(ROOT)}")
    return 1 if failures else 0


def log(text: str) -> None:
    sys.stdout.write(f"real vLLM: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
