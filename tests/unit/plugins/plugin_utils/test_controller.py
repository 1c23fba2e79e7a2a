# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the options that actions read from the documentation of their modules."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.controller import documented_arguments
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import formats
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import MEASUREMENTS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.profiles import PROFILES
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning.search import GOALS

ROOT: t.Final = pathlib.Path(__file__).resolve().parents[4]
ROLES: t.Final = [path.name for path in (ROOT / "roles").iterdir()]


def test_documented_arguments_have_the_keys_of_a_specification() -> None:
    arguments = documented_arguments("benchmark_judge")
    assert arguments["fail_on"] == {"type": "str", "choices": ["fail", "warn", "never"], "default": "fail"}
    assert arguments["baseline_dir"] == {"type": "path", "required": True}
    assert arguments["targets"]["options"] == {"ttft": {"type": "float"}, "itl": {"type": "float"}}


def test_garbage_collection_of_a_worker_leaves_out_the_objects_of_its_parent() -> None:
    program = f"""
import gc, os
at_start = gc.get_freeze_count()  # some releases of CPython freeze the objects of the start
import {documented_arguments.__module__}
if os.fork() == 0:
    print(gc.get_freeze_count() > 10_000)
else:
    os.wait()
    print(gc.get_freeze_count() - at_start)
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["True", "0"]


@pytest.mark.parametrize(
    ("module", "option", "choices"),
    [
        ("check_options", "role", ROLES),
        ("diagnose", "profile", ["none", *PROFILES]),
        ("report", "formats", formats.FORMATS),
    ],
)
def test_documented_choices_are_those_of_the_code(module: str, option: str, choices: list[str]) -> None:
    assert set(documented_arguments(module)[option]["choices"]) == set(choices)


def test_documented_formats_have_the_default_of_the_code() -> None:
    assert documented_arguments("report")["formats"]["default"] == list(formats.DEFAULT)


def test_documented_goals_are_those_of_the_search() -> None:
    assert documented_arguments("tune_ledger")["search"]["options"]["goal"]["choices"] == list(GOALS)


def test_documented_results_are_those_that_rules_read() -> None:
    assert set(documented_arguments("diagnose")["results"]["options"]) == set(MEASUREMENTS)
