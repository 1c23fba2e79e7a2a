# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run plays with failing load hosts, all on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[4]
LOCAL: t.Final = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
#: No program listens on this port.
UNREACHABLE: t.Final = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9}
#: Commands run, but modules fail.
WITHOUT_PYTHON: t.Final = LOCAL | {"ansible_python_interpreter": "/nonexistent/python"}

PLAY: t.Final = {
    "name": "Load",
    "hosts": "node",
    "gather_facts": False,
    "tasks": [
        {
            "name": "Load from other hosts",
            "ansible.builtin.include_role": {"name": "multigpu.vllm.validate", "tasks_from": "load_hosts"},
            "vars": {
                "validate_base_url": "http://127.0.0.1:9",
                "validate_load_hosts": ["load-1", "load-2"],
                "validate_timeout": 2,
                "__validate_checked": {
                    "steps": [
                        {
                            "name": "sustained",
                            "prompt_tokens": 8,
                            "output_tokens": 8,
                            "concurrency": 2,
                            "duration": 1,
                        }
                    ]
                },
            },
        },
        {
            "name": "Write the result",
            "ansible.builtin.copy": {
                "content": "{{ __validate_load | to_json }}",
                "dest": "{{ result_file }}",
                "mode": "0600",
            },
            "delegate_to": "localhost",
        },
    ],
}


def load(folder: Path, hosts: dict[str, dict[str, t.Any]]) -> dict[str, t.Any]:
    """Return the load that the role records; ``folder`` becomes the home of all hosts."""
    inventory, play, result_file = folder / "inventory.yml", folder / "play.yml", folder / "load.json"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}), encoding="utf-8")
    play.write_text(yaml.safe_dump([PLAY]), encoding="utf-8")
    run = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, play, "-e", f"result_file={result_file}"],
        cwd=folder,
        env=os.environ | {"HOME": str(folder), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(result_file.read_text(encoding="utf-8"))


def jobs(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(".ansible_async/*")]


def test_load_hosts_unreachable_host_fails_the_load_only(tmp_path: Path) -> None:
    result = load(tmp_path, {"node": LOCAL, "load-1": LOCAL, "load-2": UNREACHABLE})
    assert result["failed"]
    assert not result.get("unreachable", False)
    assert result["msg"].startswith("load hosts: load-2 cannot be reached: ")
    assert "Connection refused" in result["msg"]
    assert not jobs(tmp_path)


def test_load_hosts_unreachable_node_is_unreachable(tmp_path: Path) -> None:
    result = load(tmp_path, {"node": UNREACHABLE, "load-1": LOCAL, "load-2": LOCAL})
    assert result["failed"]
    assert result["unreachable"]
    assert "node" in result["msg"]


@pytest.mark.parametrize("broken", ["load-1", "load-2"])
def test_load_hosts_waits_for_others_if_one_cannot_start(tmp_path: Path, broken: str) -> None:
    result = load(tmp_path, {"node": LOCAL, "load-1": LOCAL, "load-2": LOCAL} | {broken: WITHOUT_PYTHON})
    assert result["failed"]
    assert not result.get("unreachable", False)
    assert result["msg"].startswith(f"load hosts: {broken}: ")
    assert (tmp_path / ".ansible_async").is_dir(), "the other hosts started"
    assert not jobs(tmp_path)


def test_load_hosts_merges_results_and_removes_job_files(tmp_path: Path) -> None:
    result = load(tmp_path, {"node": LOCAL, "load-1": LOCAL, "load-2": LOCAL})
    assert not result.get("failed", False)
    assert {finding["status"] for finding in result["findings"]}.isdisjoint({"pass"}), "there is no server"
    assert not jobs(tmp_path)
