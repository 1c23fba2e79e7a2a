# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Contract of the role: options and README are consistent, and every measurement is judged."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.plugin_utils.controller import documented_arguments
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import MEASUREMENTS
from ansible_collections.multigpu.vllm.tests.support.role_contract import readme_row

ROLE = Path(__file__).parents[4] / "roles/benchmark"


def load(path: str) -> object:
    return yaml.safe_load((ROLE / path).read_text(encoding="utf-8"))


SPEC = load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
DEFAULTS = load("defaults/main.yml")


@pytest.mark.parametrize("name", SPEC)
def test_default_matches_the_specification_or_role_validate(name: str) -> None:
    validate = f"validate_{name.removeprefix('benchmark_')}"
    if "default" in SPEC[name]:
        assert DEFAULTS[name] == SPEC[name]["default"]
    else:
        assert f"{validate} | default(" in DEFAULTS[name]
        assert f"C({validate})" in str(SPEC[name]["description"])


@pytest.mark.parametrize("name", SPEC)
def test_readme_describes_the_option(name: str) -> None:
    assert readme_row(name, SPEC[name]) in (ROLE / "README.md").read_text(encoding="utf-8").splitlines()


def test_measurements_run_once_and_are_judged() -> None:
    tasks = {block["block"][0]["register"]: block["block"][0] for block in load("tasks/measure.yml")[0]["block"]}
    assert set(tasks) == {f"__benchmark_{key}" for key in documented_arguments("benchmark_judge")["results"]["options"]}
    for key in documented_arguments("benchmark_judge")["results"]["options"]:
        assert f"multigpu.vllm.{MEASUREMENTS[key]}" in tasks[f"__benchmark_{key}"]
        assert f"__benchmark_{key} |" in load("vars/main.yml")["_benchmark_results"][key]
