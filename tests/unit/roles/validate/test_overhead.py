# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every host of a fleet would pay for; benchmarks/bench_fleet.py measures the rest."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
#: What is evaluated for every host, whatever its options. Not load_hosts.yml, which only some fleets need.
EVERY_HOST = [
    "tasks/main.yml",
    "tasks/preflight.yml",
    "tasks/measure.yml",
    "tasks/judge.yml",
    "tasks/report.yml",
    "vars/main.yml",
]


@pytest.mark.parametrize("name", EVERY_HOST)
def test_no_filter_of_the_collection_is_used_for_every_host(name: str) -> None:
    # Ansible imports all filters of a collection in the process of each task of each host that uses one.
    text = (ROOT / "roles/validate" / name).read_text(encoding="utf-8")
    assert not re.findall(r"\|\s*multigpu\.vllm\.\w+", text), "let an action do it, which is imported once"


def test_the_shipped_settings_suit_a_fleet() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "ansible.cfg", encoding="utf-8")
    assert settings.getboolean("ssh_connection", "pipelining")
    assert settings.getint("defaults", "forks") >= 50
    assert "ControlPersist" in settings.get("ssh_connection", "ssh_args")
    # The live progress and the one report need all hosts at the same task.
    assert settings.get("defaults", "strategy", fallback="linear") == "linear"
