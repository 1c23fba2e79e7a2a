# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A load host that is lost or cannot begin costs the load and nothing else; a play tells, on this machine alone."""

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
HERE: t.Final = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
#: Nothing listens there.
LOST: t.Final = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9}
#: Its shell answers, but no module runs.
WITHOUT_PYTHON: t.Final = HERE | {"ansible_python_interpreter": "/nonexistent/python"}

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
            "name": "Keep the result",
            "ansible.builtin.copy": {
                "content": "{{ __validate_load | to_json }}",
                "dest": "{{ kept }}",
                "mode": "0600",
            },
            "delegate_to": "localhost",
        },
    ],
}


def load(folder: Path, hosts: dict[str, dict[str, t.Any]]) -> dict[str, t.Any]:
    """What the role keeps as its load; ``folder`` becomes the home of all hosts."""
    inventory, play, kept = folder / "inventory.yml", folder / "play.yml", folder / "load.json"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}), encoding="utf-8")
    play.write_text(yaml.safe_dump([PLAY]), encoding="utf-8")
    run = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, play, "-e", f"kept={kept}"],
        cwd=folder,
        env=os.environ | {"HOME": str(folder), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(kept.read_text(encoding="utf-8"))


def jobs(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(".ansible_async/*")]


def test_a_load_host_that_cannot_be_reached_is_not_the_node(tmp_path: Path) -> None:
    result = load(tmp_path, {"node": HERE, "load-1": HERE, "load-2": LOST})
    assert result["failed"]
    assert not result.get("unreachable", False)
    assert result["msg"].startswith("load hosts: load-2 cannot be reached: ")
    assert "Connection refused" in result["msg"]
    assert not jobs(tmp_path)


def test_a_node_that_cannot_be_reached_is_lost(tmp_path: Path) -> None:
    result = load(tmp_path, {"node": LOST, "load-1": HERE, "load-2": HERE})
    assert result["failed"]
    assert result["unreachable"]
    assert "node" in result["msg"]


@pytest.mark.parametrize("broken", ["load-1", "load-2"])
def test_jobs_that_began_are_waited_for_where_another_cannot_begin(tmp_path: Path, broken: str) -> None:
    result = load(tmp_path, {"node": HERE, "load-1": HERE, "load-2": HERE} | {broken: WITHOUT_PYTHON})
    assert result["failed"]
    assert not result.get("unreachable", False)
    assert result["msg"].startswith(f"load hosts: {broken}: ")
    assert (tmp_path / ".ansible_async").is_dir(), "the others had begun"
    assert not jobs(tmp_path)


def test_all_that_began_give_one_result_and_leave_no_job(tmp_path: Path) -> None:
    result = load(tmp_path, {"node": HERE, "load-1": HERE, "load-2": HERE})
    assert not result.get("failed", False)
    assert {finding["status"] for finding in result["findings"]}.isdisjoint({"pass"}), "no server is there"
    assert not jobs(tmp_path)
