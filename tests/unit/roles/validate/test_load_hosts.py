# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one play with several nodes, whose load hosts fail differently, all on this machine."""

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

#: Node -> the node and its two load hosts.
FLEET: t.Final = {
    "healthy": (LOCAL, LOCAL, LOCAL),
    "unreachable_host": (LOCAL, LOCAL, UNREACHABLE),
    "unreachable_node": (UNREACHABLE, LOCAL, LOCAL),
    "first_broken": (LOCAL, WITHOUT_PYTHON, LOCAL),
    "second_broken": (LOCAL, LOCAL, WITHOUT_PYTHON),
}

PLAY: t.Final = {
    "name": "Load",
    "hosts": list(FLEET),
    "gather_facts": False,
    "tasks": [
        {
            "name": "Load from other hosts",
            "ansible.builtin.include_role": {"name": "multigpu.vllm.validate", "tasks_from": "load_hosts"},
            "vars": {
                "validate_base_url": "http://127.0.0.1:9",
                "validate_load_hosts": ["{{ inventory_hostname }}_1", "{{ inventory_hostname }}_2"],
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
                "dest": "{{ folder }}/{{ inventory_hostname }}.json",
                "mode": "0600",
            },
            "delegate_to": "localhost",
        },
    ],
}


def run_loads(folder: Path) -> dict[str, dict[str, t.Any]]:
    """Return the load that the role records for each node, whose job files are in its folder."""
    hosts = {
        name: {**host, "ansible_async_dir": str(folder / node)}
        for node, group in FLEET.items()
        for name, host in zip((node, f"{node}_1", f"{node}_2"), group, strict=True)
    }
    inventory, play = folder / "inventory.yml", folder / "play.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}), encoding="utf-8")
    play.write_text(yaml.safe_dump([PLAY]), encoding="utf-8")
    run = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, play, "-e", f"folder={folder}"],
        cwd=folder,
        env=os.environ | {"HOME": str(folder), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return {node: json.loads((folder / f"{node}.json").read_text(encoding="utf-8")) for node in FLEET}


def test_load_hosts_failures_fail_only_the_load_of_their_node(tmp_path: Path, subtests: pytest.Subtests) -> None:
    results = run_loads(tmp_path)

    with subtests.test("an unreachable load host fails only the load"):
        result = results["unreachable_host"]
        assert result["failed"]
        assert not result.get("unreachable", False)
        assert result["msg"].startswith("load hosts: unreachable_host_2 cannot be reached: ")
        assert "Connection refused" in result["msg"]

    with subtests.test("an unreachable node is unreachable"):
        result = results["unreachable_node"]
        assert result["failed"]
        assert result["unreachable"]
        assert "unreachable_node" in result["msg"]

    for node, broken in (("first_broken", "first_broken_1"), ("second_broken", "second_broken_2")):
        with subtests.test("the role waits for the other load hosts if one cannot start", broken=broken):
            assert results[node]["failed"]
            assert not results[node].get("unreachable", False)
            assert results[node]["msg"].startswith(f"load hosts: {broken}: ")
            assert (tmp_path / node).is_dir(), "the other host started"

    with subtests.test("the results of all load hosts are merged"):
        result = results["healthy"]
        assert not result.get("failed", False)
        assert {finding["status"] for finding in result["findings"]}.isdisjoint({"pass"}), "there is no server"

    with subtests.test("no job file is left"):
        assert [path for node in FLEET for path in (tmp_path / node).glob("*")] == []
