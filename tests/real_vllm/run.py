# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts a real vLLM on CPU with two ranks, validates it with the playbook, and reads the report.

``VLLM_VERSION`` chooses the release (0.32.0). Needs two cores, 4 GB of memory and, the first time, 3.4 GB of disk.
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
from install import install
from serve import Server

ROOT = Path(__file__).resolve().parents[2]
#: Where the report of the last run stays, for those who want to look at it.
REPORTS = ROOT / "tests" / "output" / "real_vllm"


def validate(server: Server, directory: Path, reports: Path) -> tuple[int, dict]:
    """Exit status and report of ``playbooks/validate.yml`` against ``server``."""
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
        # The first request of a fresh server compiles for up to a minute.
        "validate_timeout": 120,
        "validate_report_dir": str(reports),
    }
    inventory = directory / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"real-vllm": host}}}))
    playbook = [str(Path(sys.executable).parent / "ansible-playbook"), "playbooks/validate.yml", "-i", str(inventory)]
    done = subprocess.run(
        playbook, cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}, check=False
    )
    written = sorted(reports.rglob("report.json"), key=lambda path: path.stat().st_mtime)
    if not written:
        raise SystemExit(f"validate.yml ended with status {done.returncode} and wrote no report.json")
    return done.returncode, json.loads(written[-1].read_text())


def main() -> int:
    # A terminated run must stop its server as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(143))
    version = os.environ.get("VLLM_VERSION", "0.32.0")
    home = install(version)
    reports = REPORTS / version
    reports.mkdir(parents=True, exist_ok=True)
    for old in reports.rglob("report.json"):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="real-vllm-") as name:
        directory = Path(name)
        say(f"starting vLLM {version} on CPU with two ranks")
        with Server(home, reports / "vllm.log") as server:
            status, report = validate(server, directory, reports)
    found = list(problems(report, version))
    if status != 0:
        found.insert(0, f"validate.yml ended with status {status}")
    for line in lines(report):
        say(line)
    for problem in found:
        say(f"FAIL: {problem}")
    say(f"report: {reports.relative_to(ROOT)}")
    return 1 if found else 0


def say(text: str) -> None:
    sys.stdout.write(f"real vLLM: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
