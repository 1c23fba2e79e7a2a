# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Contract of the role: options, measurements and tags are consistent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.multigpu.vllm.plugins.module_utils.node.measurements import MEASUREMENTS as NODE_MEASUREMENTS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import RULES, SELECTED_BY, needs
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import MEASUREMENTS, Measurement
from ansible_collections.multigpu.vllm.tests.support.role_contract import readme_row

ROLE = Path(__file__).parents[4] / "roles/validate"


def load(path: str) -> object:
    return yaml.safe_load((ROLE / path).read_text(encoding="utf-8"))


SPEC = load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
DEFAULTS = load("defaults/main.yml")


def test_defaults_match_the_specified_options() -> None:
    assert list(DEFAULTS) == list(dict.fromkeys(DEFAULTS))
    assert set(DEFAULTS) == set(SPEC)


@pytest.mark.parametrize("name", SPEC)
def test_default_matches_the_specification(name: str) -> None:
    assert DEFAULTS[name] == SPEC[name].get("default")
    assert SPEC[name]["description"]


@pytest.mark.parametrize("name", SPEC)
def test_readme_describes_the_option(name: str) -> None:
    assert readme_row(name, SPEC[name]) in (ROLE / "README.md").read_text(encoding="utf-8").splitlines()


def measuring_blocks() -> dict[str, dict]:
    """Blocks of measure.yml by the name of the variable that has the result of their first task."""
    return {block["block"][0]["register"]: block for block in load("tasks/measure.yml")[-1]["block"]}


@pytest.mark.parametrize(
    ("variables", "log_path", "result_file"),
    [
        ({}, None, "/etc/multigpu-vllm/peer-data.json"),
        ({"validate_log_paths": ["/a", "/b"], "vllm_config_dir": "/opt"}, "/a", "/opt/peer-data.json"),
    ],
)
def test_measurements_get_options_that_their_modules_have(
    variables: dict[str, object], log_path: str | None, result_file: str
) -> None:
    expression = trust_as_template(load("vars/main.yml")["_validate_measurement_options"])
    given = DEFAULTS | {"_validate_headless": False, "_validate_request_timeout": 60} | variables
    options = Templar(loader=DataLoader(), variables=given).template(expression)
    assert set(options) == set(MEASUREMENTS) - {"links", "load"}
    for name, given in options.items():
        assert set(given) <= set(NODE_MEASUREMENTS[name].arguments)
    assert options["tensor_parallel"]["log_path"] == log_path
    assert options["peer_data"]["result_file"] == result_file


def test_measuring_tasks_have_the_tags_of_their_measurements() -> None:
    tags = {name: set(block["tags"]) for name, block in measuring_blocks().items()}
    assert tags["__validate_before"] == {tag for own in SELECTED_BY.values() for tag in own}
    assert tags["__validate_load"] == tags["__validate_after"] == set(SELECTED_BY["load"])


def test_measurement_is_selected_by_the_areas_of_the_checks_that_need_it() -> None:
    assert list(SELECTED_BY) == list(MEASUREMENTS)
    for area in RULES:
        for check, keys in needs(area).items():
            for measurement in keys:
                assert area in SELECTED_BY[measurement], f"{check} needs {measurement}"


def test_measurements_are_skipped_on_an_unreachable_node() -> None:
    before, link_check, load_test, after = (block["block"][0] for block in measuring_blocks().values())
    assert "when" not in before
    assert link_check["when"].endswith("and not _validate_unreachable")
    assert (
        load_test["when"] == "not (_validate_unreachable or _validate_from_load_hosts or _validate_group | length > 0)"
    )
    assert after["when"] == "__validate_checked.after_load | length > 0 and not _validate_unreachable"
    assert load("tasks/measure.yml")[-1]["ignore_unreachable"] is True


def run_measurements(folder: Path, **variables: object) -> dict[str, dict]:
    """Run the measurements on this machine, and return their registered results."""
    around = {"before_load": ["gpu", "tensor_parallel"], "after_load": ["output", "logs", "peer_data"]}
    checked = {"steps": [], "begin": time.time(), "parallel": 2, **around}
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable},
        "tasks": [
            {
                "ansible.builtin.include_role": {"name": "multigpu.vllm.validate", "tasks_from": "measure"},
                "vars": {"__validate_checked": checked} | variables,
            },
            {
                "ansible.builtin.copy": {
                    "content": "{{ _validate_results | to_json }}",
                    "dest": f"{folder}/results.json",
                }
            },
        ],
    }
    results = load("vars/main.yml")["_validate_results"]
    play["tasks"][1]["vars"] = {"_validate_results": results, "__validate_checked": checked}
    (folder / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", "play.yml"],
        cwd=folder,
        env=os.environ | {"HOME": str(folder), "ANSIBLE_CONFIG": str(ROLE.parents[1] / "ansible.cfg")},
        capture_output=True,
        check=True,
    )
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def test_measurements_after_the_time_limit_are_not_tested(tmp_path: Path) -> None:
    """The module of the first measurement never ends, and no time is left for the others."""
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    hanging.chmod(0o755)
    results = run_measurements(tmp_path, validate_max_duration=2, ansible_python_interpreter=str(hanging))
    reasons = {key: Measurement.from_result(key, result).reason for key, result in results.items()}
    assert reasons == {
        key: f"{key} was skipped" if key == "links" else f"{key} had not finished after validate_max_duration"
        for key in MEASUREMENTS
        if key != "nccl_bandwidth"
    }


@pytest.mark.parametrize(
    ("results", "unreachable"),
    [
        ({}, False),
        ({"__validate_before": {"changed": False}, "__validate_load": {"skipped": True}}, False),
        ({"__validate_before": {"unreachable": True, "msg": "x"}}, True),
        ({"__validate_before": {"changed": False}, "__validate_load": {"unreachable": True, "msg": "x"}}, True),
    ],
)
def test_node_is_unreachable_after_the_tasks_before_the_last(results: dict[str, object], unreachable: bool) -> None:
    expression = trust_as_template(load("vars/main.yml")["_validate_unreachable"])
    assert Templar(loader=DataLoader(), variables=results).template(expression) is unreachable


@pytest.mark.parametrize(
    ("before", "timeout", "expected"),
    [
        ({"measurements": {"tensor_parallel": {"server": {"hangs": True}}}}, 60, 10),
        ({"measurements": {"tensor_parallel": {"server": {"hangs": True}}}}, 3, 3),
        ({"measurements": {"tensor_parallel": {"server": {"hangs": False}}}}, 60, 60),
        ({"measurements": {"tensor_parallel": {"failed": True, "msg": "it did not finish in time"}}}, 60, 60),
        ({"measurements": {"gpu": {}}}, 60, 60),
        ({"failed": True, "msg": "no Python"}, 60, 60),
        (None, 60, 60),
    ],
)
def test_hanging_server_is_given_less_time_for_later_requests(before: t.Any, timeout: float, expected: float) -> None:
    variables = {"validate_timeout": timeout} | ({} if before is None else {"__validate_before": before})
    expression = trust_as_template(load("vars/main.yml")["_validate_request_timeout"])
    assert Templar(loader=DataLoader(), variables=variables).template(expression) == expected


def test_measurements_after_the_first_have_the_shorter_time_of_a_hanging_server() -> None:
    (block,) = (item for item in load("tasks/measure.yml") if "module_defaults" in item)
    probe = block["module_defaults"]["multigpu.vllm.throughput_probe"]
    assert probe["timeout"] == "{{ _validate_request_timeout }}"
    assert "'timeout': _validate_request_timeout" in load("vars/main.yml")["_validate_measurement_options"]


NO_ROUTE = {"unreachable": True, "msg": "no route"}


@pytest.mark.parametrize(
    ("tasks", "results"),
    [
        ({"before": {"measurements": {"gpu": {}}}, "after": {"measurements": {"logs": {}}}}, {"gpu": {}, "logs": {}}),
        ({"before": NO_ROUTE, "after": {"skipped": True}}, {"gpu": NO_ROUTE, "logs": {"skipped": True}}),
        ({"before": {"measurements": {"gpu": {}}, "failed": True}}, {"gpu": {}, "logs": {}}),
    ],
)
def test_failed_call_is_the_result_of_each_of_its_measurements(tasks: dict[str, dict], results: dict) -> None:
    variables = {f"__validate_{name}": result for name, result in tasks.items()}
    variables |= {"__validate_checked": {"before_load": ["gpu"], "after_load": ["logs"]}}
    expression = trust_as_template(load("vars/main.yml")["_validate_results"])
    assert Templar(loader=DataLoader(), variables=variables).template(expression) == results | {"links": {}, "load": {}}


def test_options_in_the_report_contain_no_secret() -> None:
    options = load("vars/main.yml")["_validate_options"]
    assert not any("api_key" in value or "environment" in value for value in options.values())


@pytest.mark.parametrize(
    ("variables", "reasons"),
    [
        ({}, []),
        ({"_validate_quick": True}, ["quick check"]),
        ({"ansible_limit": "gpu-01"}, ["--limit gpu-01"]),
        ({"_validate_quick": True, "ansible_limit": "gpu-01"}, ["quick check", "--limit gpu-01"]),
    ],
)
def test_quick_check_and_limit_make_a_partial_report(variables: dict[str, object], reasons: list[str]) -> None:
    expression = trust_as_template(load("vars/main.yml")["_validate_partial"])
    assert Templar(loader=DataLoader(), variables=variables).template(expression) == reasons


def test_quick_check_is_the_only_playbook_of_a_quick_check() -> None:
    playbooks = sorted((ROLE.parents[1] / "playbooks").glob("*.yml"))
    assert [path.stem for path in playbooks if "_validate_quick: true" in path.read_text("utf-8")] == ["quick_check"]


@pytest.mark.parametrize(
    ("variables", "limits"),
    [
        ({}, {}),
        ({"linode_network_out": None}, {}),
        ({"linode_network_out": 8000}, {"goodput": 1e9}),
        ({"linode_network_out": 8000, "validate_link_limits": {"loss": 0.1}}, {"goodput": 1e9, "loss": 0.1}),
        ({"linode_network_out": 8000, "validate_link_limits": {"goodput": 2e9}}, {"goodput": 2e9}),
    ],
)
def test_link_limits_have_the_network_speed_of_the_plan(variables: dict[str, object], limits: dict) -> None:
    expression = trust_as_template(load("vars/main.yml")["_validate_link_limits"])
    variables = {"validate_link_limits": {}} | variables
    assert Templar(loader=DataLoader(), variables=variables).template(expression) == limits
