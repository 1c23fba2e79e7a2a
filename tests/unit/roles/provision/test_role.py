# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Contract of the role provision: options, README and the fleet filter agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.plugin_utils.option_limits import check_values
from ansible_collections.multigpu.vllm.plugins.plugin_utils.provision.fleet import expand
from ansible_collections.multigpu.vllm.tests.support.role_contract import readme_row

ROOT = Path(__file__).parents[4]
ROLE = ROOT / "roles/provision"
VARIABLES = yaml.safe_load((ROLE / "vars/main.yml").read_text())
SPEC = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
ROWS = {**SPEC, **{f"provision_fleet[].{key}": option for key, option in SPEC["provision_fleet"]["options"].items()}}


@pytest.mark.parametrize("name", ROWS)
def test_readme_row_matches_the_option(name: str) -> None:
    assert readme_row(name, ROWS[name]) in (ROLE / "README.md").read_text(encoding="utf-8").splitlines()


def test_secret_options_are_no_log() -> None:
    assert {name for name, option in SPEC.items() if option.get("no_log")} == {
        "provision_vault_password",
        "provision_api_token",
    }


def test_readme_example_uses_known_options() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROLE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    fleet = yaml.safe_load(example)
    assert set(fleet) <= set(SPEC)
    assert set(fleet["provision_fleet"][0]) <= set(SPEC["provision_fleet"]["options"])


def test_example_of_a_server_on_several_nodes_is_a_valid_fleet() -> None:
    text = (ROOT / "docs/fleets.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    settings = yaml.safe_load(example)
    assert settings.pop("vllm_model")
    assert check_values("provision", settings)[1] == []
    nodes = expand(settings["provision_fleet"], settings["provision_label_prefix"])
    assert [(node["vllm_group"], node["private_address"]) for node in nodes] == [
        ("vllm-big", "10.0.0.2"),
        ("vllm-big", "10.0.0.3"),
    ]


@pytest.mark.parametrize("name", ["create", "find", "main", "summary", "teardown"])
def test_entry_point_sets_the_defaults_of_the_linode_modules(name: str) -> None:
    """The files with module calls, and main.yml, which imports such files, set token, URL and certificates."""
    (defaults,) = [
        task["module_defaults"]
        for task in yaml.safe_load((ROLE / "tasks" / f"{name}.yml").read_text())
        if "module_defaults" in task
    ]
    assert defaults == {"group/multigpu.vllm.linode": "{{ _provision_api }}"}
    assert set(VARIABLES["_provision_api"]) == {"api_token", "api_url", "ca_path"}


def test_module_calls_do_not_repeat_the_options_of_the_api() -> None:
    for path in (ROLE / "tasks").glob("*.yml"):
        assert not re.search(r"^ *(api_token|api_url|ca_path):", path.read_text(), re.MULTILINE), path
