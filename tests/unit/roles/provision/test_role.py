# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's contract: options, documentation and the filter that reads the fleet say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.plugin_utils.provision.fleet import GROUP_KEYS
from ansible_collections.multigpu.vllm.tests.support.role_contract import readme_row

ROOT = Path(__file__).parents[4]
ROLE = ROOT / "roles/provision"
SPEC = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
ROWS = {**SPEC, **{f"provision_fleet[].{key}": option for key, option in SPEC["provision_fleet"]["options"].items()}}


def test_keys_of_a_group_are_those_that_the_filter_knows() -> None:
    assert set(SPEC["provision_fleet"]["options"]) == set(GROUP_KEYS)


@pytest.mark.parametrize("name", ROWS)
def test_readme_describes_the_option(name: str) -> None:
    assert readme_row(name, ROWS[name]) in (ROLE / "README.md").read_text(encoding="utf-8").splitlines()


def test_secrets_are_marked() -> None:
    assert {name for name, option in SPEC.items() if option.get("no_log")} == {
        "provision_vault_secret",
        "provision_api_token",
    }


def test_fleet_of_the_readme_is_one_that_the_role_takes() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROLE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    fleet = yaml.safe_load(example)
    assert set(fleet) <= set(SPEC)
    assert set(fleet["provision_fleet"][0]) <= set(GROUP_KEYS)


@pytest.mark.parametrize("task", ["node", "teardown"])
def test_every_request_can_be_led_elsewhere(task: str) -> None:
    """Each module call takes token, address and certificates from the role's options."""
    text = (ROLE / "tasks" / f"{task}.yml").read_text()
    calls = len(re.findall(r"multigpu\.vllm\.linode_(?:instance|instance_info|firewall):", text))
    assert calls > 0
    for option in ("api_token", "api_url", "ca_path"):
        assert text.count(f"provision_{option} or omit") == calls
