# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test warnings about variables that look like misspelt role options."""

from __future__ import annotations

import pathlib
import re

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.options import misspelt, nearest, role_options

ROOT = pathlib.Path(__file__).parents[4]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("validate_fail_one", "validate_fail_on"),
        ("validate_bas_url", "validate_base_url"),
        ("validate_log_path", "validate_log_paths"),
        ("validate_duration", "validate_max_duration"),
        ("validate_expected_troughput", "validate_expected_throughput"),
    ],
)
def test_misspelt_suggests_the_nearest_option(name: str, option: str) -> None:
    assert misspelt("validate", [name]) == [
        f"{name} is not an option of role validate and has no effect; did you mean {option}?"
    ]


@pytest.mark.parametrize("name", ["validate_fail_on", "validate_hosts", "validate_certs", "validates", "fail_one"])
def test_misspelt_ignores_other_variables(name: str) -> None:
    assert misspelt("validate", [name]) == []


@pytest.mark.parametrize("role", ROLES)
def test_misspelt_ignores_variables_of_playbooks_and_inventories(role: str) -> None:
    files = [*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "inventory").rglob("*.yml")]
    names = {name for file in files for name in re.findall(rf"\b{role}_[a-z_]*[a-z]\b", file.read_text("utf-8"))}
    assert misspelt(role, names) == []


def test_role_options_include_every_entry_point() -> None:
    assert "simulated_node_dir" in role_options("simulated_node")


def test_nearest_returns_similar_words_only() -> None:
    assert nearest("memry", ["memory", "nccl"]) == "memory"
    assert nearest("gpu", ["memory", "nccl"]) is None
