# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's contract."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.multigpu.vllm.tests.support.role_contract import raw_switches, readme_row

ROLE = Path(__file__).parents[4] / "roles/gpu_host"


def load(path: str) -> t.Any:
    return yaml.safe_load((ROLE / path).read_text(encoding="utf-8"))


SPEC = load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
REQUIREMENTS = (ROLE.parents[1] / "requirements.txt").read_text("utf-8").splitlines()


def test_defaults_are_the_specified_options() -> None:
    assert load("defaults/main.yml") == {name: option.get("default") for name, option in SPEC.items()}


@pytest.mark.parametrize("name", SPEC)
def test_the_readme_describes_the_option(name: str) -> None:
    assert readme_row(name, SPEC[name]) in (ROLE / "README.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("package", SPEC["gpu_host_python_packages"]["default"])
def test_nodes_get_the_versions_that_the_checks_run_with(package: str) -> None:
    assert package in REQUIREMENTS


def test_a_switch_from_a_command_line_is_asked_as_one() -> None:
    assert raw_switches(ROLE) == []
