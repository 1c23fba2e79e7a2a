# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbook ``awx``: all arguments of modules are evaluated without a server and compared with their specifications."""

from __future__ import annotations

import importlib
import pathlib
import typing as t

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.multigpu.vllm.plugins.lookup.play_hosts import TAGS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.option_limits import check_values
from ansible_collections.multigpu.vllm.plugins.plugin_utils.options import role_options

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLAY = yaml.safe_load((ROOT / "playbooks/awx.yml").read_text("utf-8"))[0]
ROLES = sorted(path.name for path in ROOT.glob("roles/*"))
FLEET = {
    "provision_label_prefix": "chat",
    "provision_max_hourly_price": 12.5,
    "provision_fleet": [{"name": "chat", "count": 2, "plan": "g2-gpu-rtx4000a4-m", "regions": ["us-ord"]}],
    "vllm_model": "Qwen/Qwen2.5-Coder-14B-Instruct-AWQ",
}
SECRETS = {"LINODE_API_TOKEN": "linode-secret", "HF_TOKEN": "hf-secret", "VLLM_API_KEY": "key-secret"}

pytestmark = pytest.mark.usefixtures("plugin_loader")

Arguments = dict[str, t.Any]
Call = tuple[str, Arguments]


class CapturedSpecification(Exception):
    """The argument specification with which a module creates its AnsibleModule."""


def trusted(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


@pytest.fixture(name="controller")
def _controller(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Return the directory in which the playbook finds its files, with the secrets in the environment."""
    (tmp_path / "fleet.yml").write_text(yaml.safe_dump(FLEET), "utf-8")
    (tmp_path / "key").write_text("ssh-secret", "utf-8")
    # PWD may be missing (cron, systemd), or be outdated because a wrapper has changed the directory.
    for name, value in {**SECRETS, "PWD": "/nonexistent"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def templar(**options: t.Any) -> Templar:
    given = {"awx_fleet": "fleet.yml", "awx_image": "example.com/multigpu-vllm:0.1.0", "awx_ssh_key": "key", **options}
    return Templar(loader=DataLoader(), variables={**trusted(PLAY["vars"]), **given})


def calls(**options: t.Any) -> list[Call]:
    """Return the name and the arguments of each call of a module of awx.awx, with all loops unrolled."""
    found = []
    for task in PLAY["tasks"]:
        (module,) = [key for key in task if key.startswith(("awx.awx.", "ansible.builtin."))]
        if module.startswith("awx.awx."):
            for item in templar(**options).template(trusted(task.get("loop", [None]))):
                variables = {task["loop_control"]["loop_var"]: item} if item is not None else {}
                arguments = templar(**options, **variables).template(trusted(task[module]))
                found.append((module.removeprefix("awx.awx."), arguments))
    return found


def of(module: str, made: list[Call]) -> list[Arguments]:
    return [arguments for name, arguments in made if name == module]


def questions(made: list[Call]) -> list[dict[str, t.Any]]:
    return [
        question
        for name, arguments in made
        if name.endswith("job_template")
        for question in arguments["survey_spec"].get("spec", [])
    ]


def specification(module: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    imported = importlib.import_module(f"ansible_collections.awx.awx.plugins.modules.{module}")

    def capture(argument_spec: dict[str, t.Any], **_arguments: t.Any) -> None:
        raise CapturedSpecification(argument_spec)

    monkeypatch.setattr(imported, "ControllerAPIModule", capture)
    with pytest.raises(CapturedSpecification) as captured:
        imported.main()
    return captured.value.args[0]


@pytest.mark.parametrize("teardown", ["never", "approve", "always"])
@pytest.mark.usefixtures("controller")
def test_calls_match_the_specifications_of_awx(teardown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = calls(awx_teardown=teardown, awx_directory="/var/lib/multigpu", awx_instance_groups=["gpu"])
    specifications = {module: specification(module, monkeypatch) for module, _arguments in made}
    assert len(made) >= 25
    assert {
        module: errors
        for module, arguments in made
        if (errors := ArgumentSpecValidator(specifications[module]).validate(arguments).error_messages)
    } == {}


@pytest.mark.usefixtures("controller")
def test_names_that_calls_refer_to_are_created_before() -> None:
    created: set[str] = {"Default", "Machine"}
    for module, arguments in calls():
        references = [
            arguments.get(key)
            for key in (
                "project",
                "source_project",
                "inventory",
                "credential",
                "credential_type",
                "execution_environment",
            )
        ]
        references += [arguments.get("unified_job_template"), *arguments.get("credentials", [])]
        if module == "workflow_job_template_node":
            references += [*arguments.get("success_nodes", []), *arguments.get("failure_nodes", [])]
        assert {name for name in references if name} <= created, arguments
        created.add(arguments.get("identifier") or arguments["name"])


@pytest.mark.usefixtures("controller")
def test_survey_asks_for_options_of_roles_with_valid_answers() -> None:
    asked = {question["variable"]: question for question in questions(calls())}
    assert set(asked) >= {"vllm_model", "provision_max_hourly_price", "validate_fail_on", "provision_teardown_confirm"}
    for variable, question in asked.items():
        (role,) = [role for role in ROLES if variable in role_options(role)]
        answers = [*question.get("choices", []), question["default"]]
        assert [check_values(role, {variable: answer})[1] for answer in answers] == [[]] * len(answers)


@pytest.mark.usefixtures("controller")
def test_job_templates_run_playbooks_with_their_tags() -> None:
    templates = of("job_template", calls())
    assert [template["name"].split()[1] for template in templates if template["job_tags"]] == [
        "provision", "prepare", "deploy", "accept",
    ]  # fmt: skip
    for template in templates:
        assert (ROOT / template["playbook"]).is_file()
        playbook = pathlib.Path(template["playbook"]).stem
        assert not template["job_tags"] or template["job_tags"] in TAGS[playbook]


@pytest.mark.usefixtures("controller")
def test_only_quick_check_is_sliced_and_only_jobs_with_an_inventory_have_a_limit() -> None:
    templates = of("job_template", calls(awx_slices=5))
    assert [item["name"] for item in templates if item["job_slice_count"] != 1] == ["multigpu quick_check"]
    assert {item["limit"] for item in templates if item["inventory"] == "multigpu nodes"} == {"chat-*"}
    assert {item["limit"] for item in templates if item["inventory"] == "multigpu controller"} == {""}


@pytest.mark.parametrize(
    ("choice", "after", "present"),
    [("never", [], set()), ("approve", ["approve"], {"approve", "teardown"}), ("always", ["teardown"], {"teardown"})],
)
@pytest.mark.usefixtures("controller")
def test_workflow_deletes_the_fleet_after_a_failed_stage_by_choice(choice: str, after: list, present: set) -> None:
    nodes = {node["identifier"]: node for node in of("workflow_job_template_node", calls(awx_teardown=choice))}
    order, stage = [], "provision"
    while stage:
        order.append(stage)
        assert nodes[stage]["failure_nodes"] == after
        (stage,) = nodes[stage]["success_nodes"] or [None]
    assert order == ["provision", "prepare", "deploy", "accept"]
    assert {name for name in ("approve", "teardown") if nodes[name]["state"] == "present"} == present
    assert nodes["approve"]["success_nodes"] == ["teardown"]
    assert nodes["teardown"]["extra_data"] == {"provision_teardown_confirm": "chat"}


@pytest.mark.usefixtures("controller")
def test_secrets_are_only_in_credentials() -> None:
    made = calls()
    inputs = str([arguments["inputs"] for arguments in of("credential", made)])
    assert all(value in inputs for value in (*SECRETS.values(), "ssh-secret"))
    assert "-secret" not in str([call for call in made if call[0] != "credential"])
    (task,) = [task for task in PLAY["tasks"] if "awx.awx.credential" in task]
    assert task["no_log"] is True


@pytest.mark.usefixtures("controller")
def test_credential_types_inject_options_and_the_variable_of_the_inventory() -> None:
    linode, vllm = (arguments["injectors"] for arguments in of("credential_type", calls()))
    assert linode == {"env": {"LINODE_API_TOKEN": "{{ api_token }}"}}
    assert set(vllm["extra_vars"].values()) == {"{{ hf_token }}", "{{ api_key }}"}
    assert [name for name in vllm["extra_vars"] if not any(name in role_options(role) for role in ROLES)] == []


def test_fleet_file_with_a_secret_option_is_refused(controller: pathlib.Path) -> None:
    (task,) = [task for task in PLAY["tasks"] if "contains no secret" in task["name"]]
    condition = trust_as_template("{{ " + task["ansible.builtin.assert"]["that"] + " }}")
    assert templar().template(condition) is True
    secret = [name for role in ROLES for name, option in role_options(role).items() if option.get("no_log")]
    assert len(secret) >= 4
    for name in secret:
        (controller / "fleet.yml").write_text(yaml.safe_dump({**FLEET, name: "x"}), "utf-8")
        assert templar().template(condition) is False, name


@pytest.mark.parametrize(("slices", "directory", "valid"), [(1, "/srv", True), (5, "", True), ("5", "/srv", False)])
def test_slices_with_one_directory_for_reports_are_refused(slices: t.Any, directory: str, *, valid: bool) -> None:
    (task,) = [task for task in PLAY["tasks"] if "parallel jobs" in task["name"]]
    condition = trust_as_template("{{ " + task["ansible.builtin.assert"]["that"] + " }}")
    assert templar(awx_slices=slices, awx_directory=directory).template(condition) is valid


@pytest.mark.usefixtures("controller")
def test_inventory_has_the_defaults_of_the_roles() -> None:
    nodes, _controller_inventory = of("inventory", calls())
    assert nodes["variables"] == {
        "ansible_python_interpreter": f"{role_options('gpu_host')['gpu_host_python_dir']['default']}/bin/python",
        "validate_container": role_options("vllm")["vllm_container_name"]["default"],
        "validate_base_url": f"http://127.0.0.1:{role_options('vllm')['vllm_port']['default']}",
    }
