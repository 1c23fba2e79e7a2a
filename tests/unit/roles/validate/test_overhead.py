# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limit the work that is repeated for every host of a fleet; benchmarks/bench_fleet.py measures its time."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
#: Files that are evaluated for every host. load_hosts.yml is used by few fleets.
EVERY_HOST = [
    "tasks/main.yml",
    "tasks/preflight.yml",
    "tasks/measure.yml",
    "tasks/judge.yml",
    "tasks/report.yml",
    "vars/main.yml",
]


@pytest.mark.parametrize("name", EVERY_HOST)
def test_role_uses_no_filter_of_the_collection_for_every_host(name: str) -> None:
    # Ansible imports all filters of a collection in each worker process that uses one, once per task and host.
    text = (ROOT / "roles/validate" / name).read_text(encoding="utf-8")
    assert not re.findall(r"\|\s*multigpu\.vllm\.\w+", text), "use an action, which is imported only once"


def test_ansible_cfg_suits_a_fleet() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "ansible.cfg", encoding="utf-8")
    assert settings.getboolean("ssh_connection", "pipelining")
    assert settings.getint("defaults", "forks") >= 50
    assert "ControlPersist" in settings.get("ssh_connection", "ssh_args")
    # Live progress and the common report need all hosts to be at the same task.
    assert settings.get("defaults", "strategy", fallback="linear") == "linear"
