# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's contract."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.plan import OPTIONS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning.search import ENVIRONMENT, GOALS, SPACES
from ansible_collections.multigpu.vllm.tests.support.role_contract import readme_row

ROLE = Path(__file__).parents[4] / "roles/tune"


def load(path: str) -> t.Any:
    return yaml.safe_load((ROLE / path).read_text(encoding="utf-8"))


SPEC = load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]


def test_defaults_are_the_specified_options() -> None:
    assert load("defaults/main.yml") == {name: option.get("default") for name, option in SPEC.items()}


@pytest.mark.parametrize("name", SPEC)
def test_the_readme_describes_the_option(name: str) -> None:
    assert readme_row(name, SPEC[name]) in (ROLE / "README.md").read_text(encoding="utf-8").splitlines()


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


def test_the_best_gets_a_whole_start_and_its_failure_ends_in_the_summary() -> None:
    assert load("tasks/serve.yml")[-1]["vars"]["vllm_start_timeout"] == "{{ _tune_start_seconds }}"
    tasks = {task["name"]: task for task in load("tasks/tune.yml")[1]["block"]}
    again = tasks["Measure the best again"]
    assert again["vars"]["_tune_start_seconds"] == "{{ tune_start_timeout | float }}"
    entered = again["rescue"][-1]
    assert entered["ansible.builtin.include_tasks"] == "enter.yml"
    assert "'confirmation', __tune_settings" in entered["vars"]["_tune_entries"]
    # The ledger that the condition would look at changes within the block.
    assert "_tune_outcome" not in again["when"]


def test_a_search_that_cannot_know_what_is_too_slow_ends_before_the_stop() -> None:
    tasks = load("tasks/tune.yml")[1]["block"]
    names = [task["name"] for task in tasks]
    known = names.index("Know what is too slow")
    assert tasks[known]["ansible.builtin.assert"]["that"] == "_tune_outcome.knows_floor"
    assert names.index("Measure the original server") < known < names.index("Stop the original server")


def test_the_ledger_is_for_its_owner_alone() -> None:
    assert load("tasks/enter.yml")[-1]["ansible.builtin.copy"]["mode"] == "0600"


def texts() -> dict[str, t.Any]:
    """Numbers as ``-e NAME=VALUE`` gives them, and what the role keeps as facts."""
    given = {
        name: str(option["default"])
        for name, option in SPEC.items()
        if option["type"] in ("int", "float", "bool") and "default" in option
    }
    kept = {"__tune_started": "0", "__tune_longest": "90", "__tune_ledger": [], "inventory_hostname": "gpu-01"}
    healthy = {"content": "e30="}
    return {**load("defaults/main.yml"), **load("vars/main.yml"), **given, **kept, "__tune_healthy": healthy}


def template(text: str, **more: t.Any) -> t.Any:
    variables = {name: trusted(value) for name, value in {**texts(), "tune_max_ttft": "0.5", **more}.items()}
    return Templar(loader=DataLoader(), variables=variables).template(trust_as_template(text))


def trusted(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return {name: trusted(each) for name, each in value.items()}
    if isinstance(value, list):
        return [trusted(each) for each in value]
    return trust_as_template(value) if isinstance(value, str) else value


def calculations(found: t.Any) -> t.Iterator[str]:
    """Every template of the tasks that reads a number which the user may give."""
    for each in found.values() if isinstance(found, dict) else found if isinstance(found, list) else []:
        yield from calculations(each)
    if isinstance(found, str) and "{{" in found and re.search(r"tune_(trials|budget|duration|repeats|patience)", found):
        yield found


CALCULATED = sorted(
    {text for file in (ROLE / "tasks").glob("*.yml") for text in calculations(load(f"tasks/{file.name}"))}
)


@pytest.mark.parametrize("text", CALCULATED)
def test_tasks_calculate_with_numbers_that_came_as_texts(text: str) -> None:
    plain = {name: value for name, value in load("defaults/main.yml").items() if isinstance(value, (int, float))}
    more = {"__tune_settings": {"a": 1}, "_tune_last_words": "fast"}
    assert str(template(text, **more)) == str(template(text, **more, **plain))


@pytest.mark.parametrize(
    "name", ["_tune_load_seconds", "_tune_left", "_tune_start_seconds", "_tune_plan_lines", "_tune_search"]
)
def test_variables_calculate_with_numbers_that_came_as_texts(name: str) -> None:
    plain = {"__tune_started": "{{ now().timestamp() }}", "_tune_starts": [{"max_num_seqs": 8}], "_tune_next": {}}
    assert template("{{ " + name + " }}", **plain)


@pytest.mark.parametrize(("given", "wanted"), [("0.5", 0.5), (2, 2.0), (None, None), ("", None)])
def test_a_longest_ttft_is_a_number_or_none(given: t.Any, wanted: float | None) -> None:
    assert template("{{ _tune_search }}", tune_max_ttft=given)["max_ttft"] == wanted


def test_an_original_that_failed_is_measured_by_the_next_run() -> None:
    conditions = template("{{ _tune_conditions }}")
    entry = {"kind": "original", "conditions": conditions, "state": "failed"}
    assert template("{{ _tune_knows_original }}", __tune_ledger=[entry]) is False
    assert template("{{ _tune_knows_original }}", __tune_ledger=[entry, {**entry, "state": "measured"}]) is True


def test_the_ledger_lies_where_the_command_was_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert template("{{ _tune_ledger_file }}", tune_dir="vllm-tuning") == str(tmp_path / "vllm-tuning/gpu-01.json")
    assert template("{{ _tune_variables_file }}", tune_dir="/srv/tuning") == "/srv/tuning/gpu-01.yml"
    used = "".join(path.read_text("utf-8") for path in (ROLE / "tasks").glob("*.yml"))
    assert not re.search(r"\btune_dir\b", used)
