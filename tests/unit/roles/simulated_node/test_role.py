# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role options, README and scenarios agree with each other and with the collection's tables."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.module_utils import finding
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import plans
from emulator.boards import Fault
from emulator.scenario import Scenario, scenario_names, versions

ROLE = pathlib.Path(__file__).parents[4] / "roles" / "simulated_node"


def load(name: str) -> t.Any:
    return yaml.safe_load((ROLE / name).read_text("utf-8"))


def options(entry: str = "main") -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", load("meta/argument_specs.yml")["argument_specs"][entry]["options"])


def test_argument_specs_equal_defaults() -> None:
    assert {name: option.get("default") for name, option in options().items()} == load("defaults/main.yml")


def test_stop_options_are_a_subset_of_main() -> None:
    assert options("stop").items() <= options().items()


def test_option_choices_equal_scenarios_and_versions() -> None:
    assert options()["simulated_node_scenario"]["choices"] == scenario_names()
    assert options()["simulated_node_vllm_version"]["choices"] == versions()


@pytest.mark.parametrize("name", scenario_names())
def test_scenario_matches_its_plan_and_expects_known_checks(name: str) -> None:
    scenario = Scenario.load(name)
    if scenario.plan:
        assert plans.gpu_count(scenario.plan) == scenario.expected_gpu_count
    assert set(scenario.expected) == {"fail", "warn"}
    assert {*scenario.expected["fail"], *scenario.expected["warn"]} <= set(finding.CHECKS)
    assert scenario.model.heads % scenario.size("tensor") == 0


@pytest.mark.parametrize("path", sorted((ROLE / "files/simulator").rglob("*.json")), ids=lambda path: path.name)
def test_data_file_is_valid_json(path: pathlib.Path) -> None:
    assert json.loads(path.read_text("utf-8"))


def test_readme_lists_every_option_and_scenario() -> None:
    readme = (ROLE / "README.md").read_text("utf-8")
    assert [name for name in (*options(), *scenario_names()) if f"`{name}`" not in readme] == []


def test_readme_lists_every_key_of_scenario_files() -> None:
    table = (ROLE / "README.md").read_text("utf-8").partition("## Scenario files")[2].partition("\n## ")[0]
    files = [json.loads(path.read_text("utf-8")) for path in (ROLE / "files/simulator/scenarios").glob("*.json")]
    gpus = {key for scenario in files for facts in scenario.get("gpus", {}).values() for key in facts}
    keys = {*Scenario.__dataclass_fields__, *Fault.__dataclass_fields__, *gpus} - {"name"}
    assert [key for key in sorted(keys) if f"`{key}`" not in table] == []


@pytest.mark.parametrize("name", scenario_names())
def test_readme_scenario_row_lists_failing_and_warning_checks(name: str) -> None:
    failing, warning = (
        ", ".join(f"`{check}`" for check in Scenario.load(name).expected[kind]) for kind in ("fail", "warn")
    )
    cell = (failing or "none") + (f" ({warning} warns)" if warning else "")
    rows = [line for line in (ROLE / "README.md").read_text("utf-8").splitlines() if line.startswith(f"| `{name}` |")]
    assert [row.split(" | ")[-1] for row in rows] == [f"{cell} |"]
