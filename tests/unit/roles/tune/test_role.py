# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's contract."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment import OPTIONS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment_tuning import ENVIRONMENT, GOALS, SPACES

ROLE = Path(__file__).parents[4] / "roles/tune"


def load(path: str) -> t.Any:
    return yaml.safe_load((ROLE / path).read_text(encoding="utf-8"))


SPEC = load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]


def test_defaults_are_the_specified_options() -> None:
    assert load("defaults/main.yml") == {name: option.get("default") for name, option in SPEC.items()}


@pytest.mark.parametrize("name", SPEC)
def test_the_readme_describes_the_option(name: str) -> None:
    option = SPEC[name]
    default = "" if option.get("default") is None else f"`{json.dumps(option['default'])}`"
    described = re.sub(r"[OCVE]\(([^)]*)\)", r"`\1`", " ".join(option["description"].split()))
    row = f"| `{name}` | {option['type']} | {default} | {described} |"
    assert row in (ROLE / "README.md").read_text(encoding="utf-8").splitlines()


def test_goals_are_what_can_be_measured() -> None:
    assert SPEC["tune_goal"]["choices"] == list(GOALS)


def test_the_spaces_consist_of_options_of_the_server_and_are_described() -> None:
    for space in SPACES.values():
        assert {name for name in space if not name.startswith(ENVIRONMENT)} <= set(OPTIONS)
        assert all(f"C({name})" in SPEC["tune_space"]["description"] for name in space)


def test_the_original_server_comes_back_whatever_happens() -> None:
    (first, block) = load("tasks/tune.yml")
    assert first["multigpu.vllm.vllm_guard"]["state"] == "begin"
    names = [task["name"] for task in block["always"]]
    assert names[:3] == ["Remove the trial", "Start the original server", "Watch its start"]
    begin = [task["name"] for task in block["block"]]
    assert begin.index("Guard the original server against an interruption") < begin.index("Stop the original server")


def test_a_trial_does_not_come_back_by_itself() -> None:
    start = load("tasks/serve.yml")[-1]
    assert start["vars"]["_vllm_restart_policy"] == "no"
    assert "_vllm_restart_policy" in (ROLE.parent / "vllm/tasks/container.yml").read_text(encoding="utf-8")
    assert "_vllm_heartbeat" in (ROLE.parent / "vllm/tasks/run.yml").read_text(encoding="utf-8")
