# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that are nearly those of options."""

from __future__ import annotations

import pathlib
import re

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.options import misspelt, nearest, option_names

ROOT = pathlib.Path(__file__).parents[4]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("validate_fail_one", "validate_fail_on"),
        ("validate_bas_url", "validate_base_url"),
        ("validate_log_path", "validate_log_paths"),
        ("validate_duration", "validate_load_duration"),
        ("validate_expected_troughput", "validate_expected_throughput"),
    ],
)
def test_the_option_that_was_meant_is_named(name: str, meant: str) -> None:
    assert misspelt("validate", [name]) == [
        f"{name} is no option of the role validate and does nothing there; did you mean {meant}?"
    ]


@pytest.mark.parametrize("name", ["validate_fail_on", "validate_hosts", "validate_certs", "validates", "fail_one"])
def test_other_names_are_the_users_own(name: str) -> None:
    assert misspelt("validate", [name]) == []


@pytest.mark.parametrize("role", ROLES)
def test_no_variable_of_the_playbooks_and_inventories_is_taken_for_a_misspelt_one(role: str) -> None:
    files = [*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "inventory").rglob("*.yml")]
    names = {name for file in files for name in re.findall(rf"\b{role}_[a-z_]*[a-z]\b", file.read_text("utf-8"))}
    assert misspelt(role, names) == []


def test_options_of_every_entry_point_are_known() -> None:
    assert "simulated_node_dir" in option_names("simulated_node")


def test_nearest() -> None:
    assert nearest("memry", ["memory", "nccl"]) == "memory"
    assert nearest("gpu", ["memory", "nccl"]) is None
