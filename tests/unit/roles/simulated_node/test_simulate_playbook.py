# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of scenarios in playbook ``simulate``, and its inventory. tests/integration/targets/live runs the playbook."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.multigpu.vllm.plugins.plugin_utils.options import role_options
from emulator.scenario import scenario_names

PLAYBOOKS = pathlib.Path(__file__).parents[4] / "playbooks"
PLAY = yaml.safe_load((PLAYBOOKS / "simulate.yml").read_text("utf-8"))[0]
TASKS = {task["name"]: task for task in PLAY["tasks"]}


def evaluate(text: str, **variables: t.Any) -> t.Any:
    own = {name: trust_as_template(value) for name, value in PLAY["vars"].items()}
    known = {**own, "simulate_known": scenario_names(), **variables}
    return Templar(loader=DataLoader(), variables=known).template(trust_as_template(text))


@pytest.mark.parametrize("given", ["healthy-tp2, idle-gpus", ["healthy-tp2", "idle-gpus"]])
def test_scenarios_are_a_list_or_separated_by_commas(given: t.Any) -> None:
    assert list(evaluate("{{ simulate_names }}", simulate_scenarios=given)) == ["healthy-tp2", "idle-gpus"]


def test_unknown_scenario_error_lists_the_known_ones() -> None:
    check = TASKS["Check the names of the scenarios"]["ansible.builtin.assert"]
    condition = "{{ " + check["that"] + " }}"
    assert [evaluate(condition, simulate_scenarios=name) for name in ("helthy", "healthy-tp1")] == [False, True]
    message = evaluate(check["fail_msg"], simulate_scenarios="helthy,idle-gpus")
    assert "unknown scenarios: helthy." in message
    assert message.rstrip().endswith(f"{', '.join(scenario_names())}.")


def test_inventory_is_written_to_the_current_directory(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play = yaml.safe_load((PLAYBOOKS / "simulate.yml").read_text("utf-8"))[-1]
    (write,) = [task for task in play["tasks"] if task["name"] == "Write the inventory"]
    monkeypatch.chdir(tmp_path)
    # PWD may be missing (cron, systemd), or be outdated because a wrapper has changed the directory.
    monkeypatch.setenv("PWD", "/nonexistent")
    destination = write["ansible.builtin.template"]["dest"]
    assert evaluate(destination) == str(tmp_path / "simulated-nodes.yml")
    assert evaluate(destination, simulate_inventory="/a/nodes.yml") == "/a/nodes.yml"


def test_inventory_has_the_address_and_paths_of_each_node(tmp_path: pathlib.Path) -> None:
    facts = {
        name: {
            "scenario": name,
            "dir": f"{tmp_path}/{name}",
            "port": port,
            "base_url": f"http://127.0.0.1:{port}",
            "plan": plan,
            "expected_gpu_count": gpus,
            "model": "Qwen/Q",
            "kernel_log_path": f"{tmp_path}/{name}/kernel.log",
            "lib_dir": f"{tmp_path}/{name}/lib",
            "bin_dir": f"{tmp_path}/{name}/bin",
            "docker_host": f"unix://{tmp_path}/{name}/docker.sock",
            "group": group_name,
            "private_address": group_name and "10.0.0.12",
        }
        for name, port, plan, gpus, group_name in (
            ("healthy-tp8", 18001, None, 8, None),
            ("idle-gpus", 18002, "g2-gpu-rtx4000a4-m", 4, "llm"),
        )
    }
    text = evaluate(
        (PLAYBOOKS / "templates/simulated_nodes.yml.j2").read_text("utf-8"),
        groups={"simulated_nodes": list(facts)},
        hostvars={name: {"simulated_node_facts": node} for name, node in facts.items()},
        ansible_playbook_python="/opt/venv/bin/python",
        simulate_path="/usr/bin",
        simulate_user="ann",
    )
    group = yaml.safe_load(text)["all"]["children"]["simulated_nodes"]
    assert group["vars"]["ansible_connection"] == "local"
    assert (group["vars"]["ansible_become"], group["vars"]["vllm_owner"]) == (False, "ann")
    assert group["vars"]["vllm_module_environment"] == "{{ validate_environment }}"
    hosts = group["hosts"]
    assert hosts["healthy-tp8"]["validate_instance_type"] is None
    assert "vllm_group" not in hosts["healthy-tp8"]
    assert [hosts["idle-gpus"][f"vllm_{name}"] for name in ("group", "private_address")] == ["llm", "10.0.0.12"]
    assert hosts["idle-gpus"]["validate_base_url"] == "http://127.0.0.1:18002"
    assert hosts["idle-gpus"]["validate_environment"] == {
        "LD_LIBRARY_PATH": f"{tmp_path}/idle-gpus/lib",
        "PATH": f"{tmp_path}/idle-gpus/bin:/usr/bin",
        "DOCKER_HOST": f"unix://{tmp_path}/idle-gpus/docker.sock",
    }


def test_inventory_sets_valid_options_of_the_roles() -> None:
    text = (PLAYBOOKS / "templates/simulated_nodes.yml.j2").read_text("utf-8")
    names = set(re.findall(r"^ +((?:vllm|validate|tune|simulated_node)_\w+):", text, re.M))
    roles = ("vllm", "validate", "tune", "simulated_node")
    assert names - {name for role in roles for name in role_options(role)} == set()
