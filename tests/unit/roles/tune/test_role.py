# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of role tune."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.multigpu.vllm.plugins.plugin_utils.controller import documented_arguments
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
def test_readme_describes_the_option(name: str) -> None:
    assert readme_row(name, SPEC[name]) in (ROLE / "README.md").read_text(encoding="utf-8").splitlines()


def test_goals_are_those_of_the_search() -> None:
    assert SPEC["tune_goal"]["choices"] == list(GOALS)


def test_default_spaces_consist_of_described_server_options() -> None:
    for space in SPACES.values():
        assert {name for name in space if not name.startswith(ENVIRONMENT)} <= set(OPTIONS)
        assert all(f"C({name})" in SPEC["tune_space"]["description"] for name in space)


def test_defaults_are_those_of_the_action() -> None:
    renamed = {"load": {"prompt_tokens", "output_tokens", "concurrency", "load_duration"}}
    for name, option in documented_arguments("tune_ledger")["search"]["options"].items():
        for variable in renamed.get(name, {name}) & {key.removeprefix("tune_") for key in SPEC}:
            options = t.cast("dict[str, t.Any]", option.get("options") or {})
            stated = options[variable.removeprefix("load_")] if name in renamed else option
            assert stated.get("default") == SPEC[f"tune_{variable}"].get("default"), variable


def test_original_server_is_always_restored() -> None:
    (first, block) = load("tasks/tune.yml")
    assert first["multigpu.vllm.vllm_rollback_watchdog"]["state"] == "started"
    names = [task["name"] for task in block["always"]]
    assert names[:3] == [
        "Remove the container of the last tuning trial",
        "Start the server with its original settings",
        "Wait until the server with its original settings is ready",
    ]
    removal, verdict = block["always"][0], block["always"][-1]
    assert removal["failed_when"] is False
    for result, removed in (({"changed": True}, True), ({"failed": False, "msg": "device busy"}, False)):
        templar = Templar(loader=DataLoader(), variables={removal["register"]: result})
        assert templar.evaluate_conditional(trust_as_template(verdict["ansible.builtin.assert"]["that"])) is removed
    begin = [task["name"] for task in block["block"]]
    assert begin.index("Start the watchdog, which restores the server if the controller disappears") < begin.index(
        "Stop the server before the tuning trials"
    )


def trial_start() -> dict[str, t.Any]:
    """Return the variables with which role vllm starts a trial."""
    (trial,) = [task for task in load("tasks/trial.yml")[1]["block"] if "rescue" in task]
    (start,) = [task for task in trial["block"] if "ansible.builtin.include_role" in task]
    return t.cast("dict[str, t.Any]", start["vars"])


def test_docker_does_not_restart_a_trial() -> None:
    assert trial_start()["_vllm_restart_policy"] == "no"
    assert "_vllm_restart_policy" in (ROLE.parent / "vllm/tasks/container.yml").read_text(encoding="utf-8")
    assert "_vllm_heartbeat" in (ROLE.parent / "vllm/tasks/run.yml").read_text(encoding="utf-8")


def test_failed_trial_is_recorded_and_the_search_continues() -> None:
    assert trial_start()["vllm_start_timeout"] == "{{ __tune_next.start_timeout }}"
    renew, trial, shown = load("tasks/trial.yml")[1]["block"]
    # A heartbeat that fails must end the search, so it is outside the block that is rescued.
    assert renew["multigpu.vllm.vllm_rollback_watchdog"]["state"] == "renewed"
    (record,) = trial["rescue"]
    assert record["multigpu.vllm.tune_ledger"]["reason"].startswith("{{ ansible_failed_result.msg")
    assert record["register"] == "__tune_record"
    assert shown["ansible.builtin.debug"]["msg"] == "{{ __tune_record.lines }}"


def test_search_before_a_deployment_names_what_to_run() -> None:
    _group, check = [task for task in load("tasks/preflight.yml") if "ansible.builtin.fail" in task]
    assert check["when"] == "__tune_healthy.content is not defined"
    text = check["ansible.builtin.fail"]["msg"]
    message = template(text, inventory_hostname="gpu-1", __tune_healthy={"msg": "File not found: x"})
    assert message == "No healthy server was deployed on gpu-1; run deploy first. File not found: x"


def test_search_on_a_group_of_hosts_is_refused() -> None:
    check = load("tasks/preflight.yml")[1]
    message = template(check["ansible.builtin.fail"]["msg"], inventory_hostname="gpu-1", vllm_group="big")
    assert "cannot tune gpu-1 of vllm_group big" in message
    refused = [
        template("{{ " + check["when"] + " }}", **facts) for facts in ({}, {"vllm_group": ""}, {"vllm_group": "x"})
    ]
    assert refused == [False, False, True]


def test_search_without_a_throughput_baseline_ends_before_the_stop() -> None:
    tasks = load("tasks/tune.yml")[1]["block"]
    names = [task["name"] for task in tasks]
    measured = names.index("Measure the server with its original settings")
    assert tasks[measured]["block"][1]["ansible.builtin.assert"]["that"] == "__tune_record.floor_known"
    assert measured < names.index("Stop the server before the tuning trials")


def test_trial_variables_do_not_depend_on_what_role_vllm_overrides() -> None:
    variables = load("vars/main.yml")
    for name in ("_tune_original", "_tune_trial", "_tune_heartbeat", "_tune_healthy"):
        assert "vllm_container_name" not in variables[name]
    kept = {"source": "/etc/multigpu-vllm/chat/healthy.json", "content": "e30="}
    shown = template("{{ _tune_heartbeat }}", __tune_healthy=kept, vllm_container_name="{{ _tune_trial }}")
    assert shown == "/etc/multigpu-vllm/chat-trial.heartbeat"


def test_every_call_of_the_ledger_names_the_same_search() -> None:
    texts = [
        (ROLE / "tasks" / name).read_text("utf-8")
        for name in ("preflight.yml", "trial.yml", "measure.yml", "result.yml")
    ]
    calls = "".join(texts).count("multigpu.vllm.tune_ledger:")
    for option in ('search: "{{ _tune_search }}"', 'directory: "{{ tune_dir }}"'):
        assert "".join(texts).count(option) == calls == 7


def template(text: str, **more: t.Any) -> t.Any:
    healthy = {"content": "e30=", "source": "/etc/multigpu-vllm/vllm/healthy.json"}
    given = {**load("defaults/main.yml"), **load("vars/main.yml"), "__tune_healthy": healthy, **more}
    variables = {name: trusted(value) for name, value in given.items()}
    return Templar(loader=DataLoader(), variables=variables).template(trust_as_template(text))


def trusted(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return {name: trusted(item) for name, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


def calculations(node: t.Any) -> t.Iterator[str]:
    """Yield every template of the tasks that calculates with a number which the user may give."""
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        yield from calculations(item)
    if isinstance(node, str) and re.search(r"\{\{.*tune_(time_budget|heartbeat_timeout|start_timeout)\b", node):
        yield node


CALCULATED = sorted(
    {text for file in (ROLE / "tasks").glob("*.yml") for text in calculations(load(f"tasks/{file.name}"))}
)


@pytest.mark.parametrize("text", [text for text in CALCULATED if re.search(r"[+*]|float|int", text)])
def test_tasks_calculate_with_numbers_that_came_as_text(text: str) -> None:
    numbers = {name: value for name, value in load("defaults/main.yml").items() if isinstance(value, (int, float))}
    more = {"_tune_measurement": {"load_seconds": 35.0}}
    as_text = template(text, **more, **{name: str(value) for name, value in numbers.items()})
    assert str(as_text) == str(template(text, **more))


@pytest.mark.parametrize(("given", "wanted"), [("0.5", "0.5"), (2, 2), (None, None), ("", None)])
def test_empty_limit_of_ttft_is_none(given: t.Any, wanted: t.Any) -> None:
    assert template("{{ _tune_search }}", tune_max_ttft=given)["max_ttft"] == wanted
