# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of role vllm: options, defaults, plan and README agree."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import typing as t
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.liveness_service import ServiceOptions
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.startup import root_cause
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.plan import INNER_FILES, OPTIONS
from ansible_collections.multigpu.vllm.tests.support.role_contract import readme_row

ROLE = Path(__file__).parents[4] / "roles/vllm"


def load(path: str) -> t.Any:
    return yaml.safe_load((ROLE / path).read_text(encoding="utf-8"))


SPEC = load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
DEFAULTS = load("defaults/main.yml")
SETTINGS = load("vars/main.yml")["_vllm_settings"]


def test_defaults_are_the_specified_options() -> None:
    assert {name: option.get("default") for name, option in SPEC.items()} == DEFAULTS


@pytest.mark.parametrize("name", SPEC)
def test_readme_describes_the_option(name: str) -> None:
    assert readme_row(name, SPEC[name]) in (ROLE / "README.md").read_text(encoding="utf-8").splitlines()


def test_settings_contain_every_option_of_the_server() -> None:
    renamed = {"revision": "vllm_model_revision"}
    for name in OPTIONS:
        assert renamed.get(name, f"vllm_{name}") in SETTINGS[name]


def test_settings_contain_no_secret() -> None:
    for key in ("api_key", "hf_token"):
        assert SPEC[f"vllm_{key}"]["no_log"] is True
        users = [name for name, value in SETTINGS.items() if f"vllm_{key}" in str(value)]
        assert users == [f"{key}_file"]
        assert "is truthy" in SETTINGS[f"{key}_file"]


def test_tasks_with_secrets_are_not_logged() -> None:
    tasks = load("tasks/configure.yml")
    secret = [task for task in tasks if "_vllm_secrets" in str(task.get("loop", ""))]
    assert len(secret) == 3
    assert all(task["no_log"] is True for task in secret)


def test_entry_point_is_the_containers() -> None:
    (container,) = load("tasks/container.yml")
    assert container["community.docker.docker_container"]["entrypoint"] == [f"{INNER_FILES}/bin/vllm"]
    assert f"{INNER_FILES}/secrets/api_key" in (ROLE / "files/vllm").read_text("utf-8")


@pytest.mark.parametrize("secrets", [{}, {"A_TOKEN": "it's $HOME", "B_KEY": "two\nlines"}])
def test_entry_point_sets_the_secret_variables(secrets: dict[str, str], tmp_path: Path) -> None:
    variables = load("vars/main.yml")
    facts = {
        "_vllm_environment": trusted(variables["_vllm_environment"]),
        "_vllm_plan": {"secret_environment": list(secrets)},
        "vllm_environment": {**secrets, "C": "d"},
        "vllm_overrides": {},
    }
    templar = Templar(loader=DataLoader(), variables=facts)
    script = tmp_path / "environment"
    script.write_text(templar.template(trusted(variables["_vllm_secrets"]["environment"])) or "")
    done = run_entry_point(tmp_path, {"vllm": "env -0"})
    assert done.returncode == 0
    environment = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    assert {name: value for name, value in environment.items() if name not in ("PATH", "PWD", "_")} == secrets


def run_entry_point(home: Path, programs: dict[str, str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the container's entry point with scripts as its programs, and with the secrets in ``home``."""
    entry_point = (ROLE / "files/vllm").read_text("utf-8").replace(f"{INNER_FILES}/secrets", str(home))
    for name, script in programs.items():
        (home / name).write_text(f"#!/bin/sh\n{script}\n")
        (home / name).chmod(0o755)
    command, environment = ["/bin/sh", "-c", entry_point, "vllm", "serve", "m"], {"PATH": f"{home}:/usr/bin:/bin"}
    return subprocess.run(command, env=environment | variables, capture_output=True, check=False, text=True)


#: Ray on the head is ready at the second question.
RAY = 'echo "ray $*"; [ "$1" != status ] || { [ -e "$0.asked" ] || { touch "$0.asked"; exit 1; }; }'


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ("--num-gpus=2 --head", ["ray start --num-gpus=2 --head", "vllm serve m"]),
        (
            "--num-gpus=2",
            ["Waiting for Ray on the head of the group, a:1", "ray start --block --address=a:1 --num-gpus=2"],
        ),
    ],
)
def test_entry_point_with_ray_starts_vllm_on_the_head_only(options: str, lines: list[str], tmp_path: Path) -> None:
    programs = {"vllm": 'echo "vllm $*"', "ray": RAY}
    done = run_entry_point(tmp_path, programs, MULTIGPU_RAY_START=options, RAY_ADDRESS="a:1")
    assert (done.returncode, done.stdout.splitlines()) == (0, lines)


@pytest.mark.parametrize("programs", [{}, {"ray": "echo 'RuntimeError: port in use' >&2; exit 1"}])
def test_entry_point_fails_with_the_reason_if_ray_does_not_start(programs: dict[str, str], tmp_path: Path) -> None:
    done = run_entry_point(tmp_path, programs | {"vllm": "echo served"}, MULTIGPU_RAY_START="--head", RAY_ADDRESS="a:1")
    assert (done.returncode, done.stdout) == (1, "")
    cause = root_cause(done.stderr.splitlines())
    assert cause is not None
    assert ("port in use" if programs else "vllm_image contains no Ray") in cause.line


def test_settings_are_readable_by_root_only() -> None:
    copies = [task["ansible.builtin.copy"] for task in load("tasks/run.yml") if "ansible.builtin.copy" in task]
    assert [copy["mode"] for copy in copies] == ["0600"] * 3


def test_image_digests_are_part_of_the_default_image() -> None:
    digests = trusted_values(load("vars/main.yml")["_vllm_image_digests"])
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in digests.values())

    def image(version: str) -> t.Any:
        variables = {"_vllm_image_digests": digests, "vllm_version": version}
        return Templar(loader=DataLoader(), variables=variables).template(trusted(DEFAULTS["vllm_image"]))

    assert image("0.31.0") == f"vllm/vllm-openai:v0.31.0@{digests['0.31.0']}"
    assert image("0.30.1") == "vllm/vllm-openai:v0.30.1"


@pytest.mark.parametrize(
    ("present", "deployed"),
    [([], "r/v:1"), (["other@sha256:b", "r/v@sha256:a"], "r/v@sha256:a"), (["other@sha256:b"], "r/v:1")],
)
def test_container_runs_the_image_by_its_digest(present: list[str], deployed: str) -> None:
    own = {name: trusted(load("vars/main.yml")[name]) for name in ("_vllm_repo_digests", "_vllm_image")}
    plan = {"repository": "r/v", "container": {"image": "r/v:1"}}
    facts = {"_vllm_plan": plan, "__vllm_image": {"images": [{"RepoDigests": present}]}}
    assert Templar(loader=DataLoader(), variables={**own, **facts}).template(trusted("{{ _vllm_image }}")) == deployed


@pytest.mark.parametrize(("asked", "matches"), [("sha256:a", True), ("sha256:b", False)])
def test_image_with_another_digest_is_refused(asked: str, matches: bool) -> None:
    (check,) = [task for task in load("tasks/install.yml") if "ansible.builtin.assert" in task]
    variables = {
        "_vllm_plan": {"container": {"image": f"mirror/v@{asked}"}},
        "_vllm_repo_digests": ["v@sha256:a"],
        "_vllm_group_images": [],
    }
    templar = Templar(loader=DataLoader(), variables=variables)
    conditions = trusted(check["ansible.builtin.assert"]["that"])
    assert all(templar.evaluate_conditional(condition) for condition in conditions) is matches


def test_image_of_a_group_must_have_the_same_content_on_all_hosts() -> None:
    own = load("vars/main.yml")
    variables: dict[str, t.Any] = {
        **{name: trusted(own[name]) for name in ("_vllm_group_images", "_vllm_members")},
        "_vllm_plan": {"container": {"members": ["a", "b"]}},
        "hostvars": {name: {"__vllm_image": {"images": [{"Id": f"sha256:{name}"}]}} for name in ("a", "b")},
    }
    templar = Templar(loader=DataLoader(), variables=variables)
    assert templar.template(trusted("{{ _vllm_group_images }}")) == ["a has sha256:a", "b has sha256:b"]
    variables["hostvars"]["b"] = variables["hostvars"]["a"]
    templar = Templar(loader=DataLoader(), variables=variables)
    assert templar.template(trusted("{{ _vllm_group_images }}")) == []


def of_group(name: str, hosts: dict[str, dict[str, t.Any]], **facts: t.Any) -> t.Any:
    """Return the variable ``name`` of the role on the first of ``hosts``, which are the members of a group."""
    container = {"members": list(hosts), "group_settings": "new"}
    variables = {
        **{key: trusted(value) for key, value in load("vars/main.yml").items() if isinstance(value, str)},
        "hostvars": {host: {**values, "inventory_hostname": host} for host, values in hosts.items()},
        "inventory_hostname": next(iter(hosts)),
        "ansible_play_batch": list(hosts),
        "_vllm_plan": {"container": container},
        "_vllm_planned_container": container,
        "_vllm_container": container,
        **facts,
    }
    return Templar(loader=DataLoader(), variables=variables).template(trusted("{{ " + name + " }}"))


@pytest.mark.parametrize(
    ("other", "batch", "missing"),
    [
        ({"__vllm_started": "new"}, ["a", "b"], []),
        ({"__vllm_started": "old"}, ["a", "b"], ["b"]),
        ({}, ["a", "b"], ["b"]),
        # An unreachable host leaves the batch.
        ({"__vllm_started": "new"}, ["a"], ["b"]),
    ],
)
def test_host_of_a_group_has_started_with_the_same_settings(
    other: dict[str, str], batch: list[str], missing: list[str]
) -> None:
    hosts = {"a": {"__vllm_started": "new"}, "b": other}
    assert of_group("_vllm_not_started", hosts, ansible_play_batch=batch) == missing


@pytest.mark.parametrize(
    ("start", "missing"),
    [({"state": "ready"}, []), ({"state": "dead"}, ["b"]), ({"failed": True}, ["b"]), (None, ["b"])],
)
def test_group_is_ready_only_if_every_host_is(start: dict[str, t.Any] | None, missing: list[str]) -> None:
    hosts = {"a": {"__vllm_start": {"state": "ready"}}, "b": {} if start is None else {"__vllm_start": start}}
    assert of_group("_vllm_not_ready", hosts) == missing


@pytest.mark.parametrize(("state", "back"), [("ready", True), ("dead", False), (None, False)])
def test_group_is_rolled_back_only_if_every_host_is(state: str | None, back: bool) -> None:
    other = {} if state is None else {"__vllm_rollback": {"state": state}}
    hosts = {"a": {"__vllm_rollback": {"state": "ready"}}, "b": other}
    assert of_group("_vllm_rolled_back", hosts, _vllm_healthy={"members": ["a", "b"]}) is back


@pytest.mark.parametrize("part", ["__vllm_plan", "__vllm_image", "__vllm_secret_files"])
def test_change_on_one_host_changes_the_settings_of_the_group(part: str) -> None:
    facts: dict[str, t.Any] = {
        "__vllm_plan": {"plan": {"fingerprint": "1"}},
        "__vllm_image": {"images": [{"Id": "1"}]},
        "__vllm_secret_files": {"results": [{"skipped": True}, {"stat": {"mtime": 1}}]},
    }
    changed: dict[str, t.Any] = {
        "__vllm_plan": {"plan": {"fingerprint": "2"}},
        "__vllm_image": {"images": [{"Id": "2"}]},
        "__vllm_secret_files": {"results": [{"skipped": True}, {"stat": {"mtime": 2}}]},
    }
    before = of_group("_vllm_group_settings", {"a": facts, "b": facts})
    assert of_group("_vllm_group_settings", {"a": facts, "b": {**facts, part: changed[part]}}) != before


@pytest.mark.parametrize(("actions", "changes"), [([], False), ([{"started": True}], True)])
def test_all_hosts_of_a_group_change_together(actions: list[dict[str, bool]], changes: bool) -> None:
    (record,) = [
        task for task in load("tasks/run.yml") if "__vllm_changes" in str(task.get("ansible.builtin.set_fact"))
    ]
    text = record["ansible.builtin.set_fact"]["__vllm_changes"].strip().removeprefix("{{").removesuffix("}}")
    hosts = {"a": {"__vllm_container": {"actions": []}}, "b": {"__vllm_container": {"actions": actions}}}
    assert of_group(text, hosts) is changes


def test_container_has_the_planned_privileges() -> None:
    (container,) = load("tasks/container.yml")
    options = container["community.docker.docker_container"]
    for name in ("security_opts", "cap_drop", "user", "read_only", "tmpfs"):
        assert options[name].startswith(f"{{{{ _vllm_container.{name} | default(omit")
    assert options["capabilities"].startswith("{{ _vllm_container.cap_add")
    for name in ("no_new_privileges", "cap_drop", "cap_add", "user", "read_only"):
        assert f"vllm_{name}" in SETTINGS[name]
    assert (DEFAULTS["vllm_no_new_privileges"], DEFAULTS["vllm_cap_drop"]) == (True, ["ALL"])


def test_last_healthy_server_stops_only_after_the_watchdog_is_running() -> None:
    run, guard, keep = load("tasks/run.yml"), load("tasks/guard.yml"), load("tasks/keep.yml")
    names = [task["name"] for task in run]
    (start,) = [task for task in run if "rescue" in task]
    assert names.index("Start a watchdog, which restores the server if the controller disappears") < run.index(start)
    assert start["block"][0]["ansible.builtin.include_tasks"] == "keep.yml"
    states = [task["multigpu.vllm.vllm_rollback_watchdog"]["state"] for task in guard]
    assert states == ["started", "running", "renewed"]
    assert keep[-1]["community.docker.docker_container"]["state"] == "stopped"
    # In a group, no host removes its previous server before all are ready.
    assert start["block"][-1]["ansible.builtin.include_tasks"] == (
        "{{ 'agree.yml' if _vllm_in_group else 'release.yml' }}"
    )
    fail, release = load("tasks/agree.yml")
    assert (fail["when"], release["ansible.builtin.include_tasks"]) == ("_vllm_not_ready | length > 0", "release.yml")


@pytest.mark.parametrize("rename", [{}, {"failed": False}, {"failed": True}])
def test_last_healthy_server_runs_on_if_it_cannot_be_renamed(rename: dict[str, t.Any]) -> None:
    assert load("tasks/keep.yml")[0]["register"] == "__vllm_rename"
    (restore,) = [task for task in load("tasks/rollback.yml") if "block" in task]
    (start,) = [task for task in restore["block"] if task.get("vars") == {"_vllm_container": "{{ _vllm_healthy }}"}]
    facts = {"vllm_rollback": True, "_vllm_healthy": {"port": 1}, "_vllm_planned_container": {"port": 1}}
    unchanged = trusted(load("vars/main.yml")["_vllm_unchanged"])
    templar = Templar(loader=DataLoader(), variables={**facts, "__vllm_rename": rename, "_vllm_unchanged": unchanged})

    failed = rename.get("failed", False)
    assert all(templar.evaluate_conditional(trusted(condition)) for condition in restore["when"]) is failed
    assert templar.evaluate_conditional(trusted(start["when"])) is not failed


def test_docker_tasks_name_the_engine() -> None:
    for path in sorted((ROLE / "tasks").glob("*.yml")):
        for task in load(f"tasks/{path.name}"):
            for module, options in task.items():
                if module.startswith("community.docker."):
                    assert options["docker_host"] == "{{ vllm_docker_host }}", (path.name, task["name"])


def test_tasks_of_a_tag_run_only_with_it() -> None:
    tasks = {task.get("ansible.builtin.import_tasks"): task for task in load("tasks/main.yml")[-1]["block"]}
    for tag in ("stop", "restart", "show", "restore"):
        assert tasks[f"{tag}.yml"]["tags"] == ["never", tag]
        assert tasks[f"{tag}.yml"]["when"] == f"'{tag}' in ansible_run_tags"


@pytest.mark.parametrize(
    ("cause", "texts"),
    [
        (("no such GPU", None, None), ["vLLM does not start on gpu-01: no such GPU"]),
        ((None, "not ready after 60 s", None), ["vLLM does not start on gpu-01: not ready after 60 s"]),
        (
            ("OOM", "too little memory", "Lower it"),
            ["vLLM does not start on gpu-01: OOM", "too little memory", "Lower it"],
        ),
    ],
)
def test_message_of_a_failed_restart_has_all_known_reasons(cause: tuple[str | None, ...], texts: list[str]) -> None:
    start = {"cause": dict(zip(("line", "summary", "remedy"), cause, strict=True))}
    templar = Templar(loader=DataLoader(), variables={"inventory_hostname": "gpu-01", "__vllm_start": start})
    found = templar.template(trusted(load("vars/main.yml")["_vllm_restart_reasons"]))
    assert [text for text in found if text] == texts


def reasons(**facts: t.Any) -> list[str]:
    """Return the message of a failed start with these registered results."""
    variables = {name: trusted(load("vars/main.yml")[name]) for name in ("_vllm_cause", "_vllm_rolled_back")}
    templar = Templar(loader=DataLoader(), variables={**variables, "inventory_hostname": "gpu-01", **facts})
    return [text for text in templar.template(trusted(load("vars/main.yml")["_vllm_reasons"])) if text]


def trusted_values(values: dict[str, t.Any]) -> dict[str, t.Any]:
    return {name: trusted(value) for name, value in values.items()}


def trusted(value: t.Any) -> t.Any:
    return [trusted(item) for item in value] if isinstance(value, list) else trust_as_template(value)


@pytest.mark.parametrize(
    ("failed", "not_back", "back", "words"),
    [
        (
            {"cause": {}, "msg": "could not select device driver"},
            "",
            True,
            ["gpu-01: could not select device driver", "are running again"],
        ),
        (
            {"cause": {"line": "No space left", "summary": "full", "remedy": "Free some."}, "msg": "x"},
            "no such image",
            False,
            [
                "gpu-01: No space left",
                "full",
                "Free some.",
                "do not start either: no such image",
                "No server is running",
            ],
        ),
        (
            {"cause": {"line": None, "summary": "not ready after 9 s"}, "msg": ""},
            "",
            False,
            ["unknown reason", "9 s", "No server"],
        ),
    ],
)
def test_failed_start_reports_its_reason(failed: dict, not_back: str, back: bool, words: list[str]) -> None:
    texts = reasons(
        __vllm_failure=failed,
        __vllm_rollback_failure=not_back,
        __vllm_rollback={"state": "ready"} if back else {"skipped": True},
    )
    assert len(texts) == len(words)
    assert all(word in text for word, text in zip(words, texts, strict=True))


def test_rollback_records_the_reason_first_and_reports_it_last() -> None:
    names = [task["name"] for task in load("tasks/rollback.yml")]
    assert names[0] == "Record why the server did not start with the planned settings"
    assert names[-1] == "Report why the server did not start with the planned settings"


def test_changed_secret_changes_the_container_in_check_mode_too() -> None:
    text = load("vars/main.yml")["_vllm_secrets_changed"]

    def planned(check: bool, written: bool, removed: bool = False) -> t.Any:
        facts = {"__vllm_secret_files": {"results": [{"stat": {"mtime": 7.5}}, {"skipped": True}]}}
        facts |= {"__vllm_secrets_written": {"changed": written}, "__vllm_secrets_removed": {"changed": removed}}
        return Templar(loader=DataLoader(), variables={**facts, "ansible_check_mode": check}).template(trusted(text))

    assert planned(False, True) == planned(True, False) == [7.5, 0]
    assert planned(True, True) == planned(True, False, True) != [7.5, 0]
    assert "_vllm_secrets_changed" in load("vars/main.yml")["_vllm_planned_container"]


@pytest.mark.parametrize(
    ("response", "fails"),
    [
        ({"can_talk_to_docker": True}, False),
        ({"can_talk_to_docker": False, "msg": "Error connecting"}, True),
        ({"msg": "Failed to import the required Python library (requests)"}, True),
    ],
)
def test_docker_that_does_not_respond_names_what_to_run(response: dict[str, t.Any], fails: bool) -> None:
    (query, fail) = load("tasks/preflight.yml")[1:3]
    assert query["failed_when"] is False
    variables = {"inventory_hostname": "gpu-01", "vllm_docker_host": "unix:///x.sock", query["register"]: response}
    templar = Templar(loader=DataLoader(), variables=variables)
    assert templar.evaluate_conditional(trusted(fail["when"])) is fails
    if fails:
        message = templar.template(trusted(fail["ansible.builtin.fail"]["msg"]))
        assert "multigpu.vllm.prepare" in message
        assert message.endswith(response["msg"])


@pytest.mark.parametrize(("file", "plans"), [("preflight", 2), ("request", 1)])
def test_plan_is_refused_before_anything_is_changed(file: str, plans: int) -> None:
    tasks = load(f"tasks/{file}.yml")
    planned = [task for task in tasks if "multigpu.vllm.vllm_plan" in task]
    assert [task["register"] for task in planned] == ["__vllm_plan"] * plans
    assert ("instance_type" in planned[0]["multigpu.vllm.vllm_plan"]) is (file == "request")
    assert planned[0]["multigpu.vllm.vllm_plan"] == planned[-1]["multigpu.vllm.vllm_plan"]
    assert tasks[tasks.index(planned[-1]) + 1]["when"] == "_vllm_plan.refused | length > 0"


def test_plan_uses_a_stored_result_without_a_test() -> None:
    first, read, second = (
        task for task in load("tasks/preflight.yml") if {"multigpu.vllm.vllm_plan", "multigpu.vllm.p2p_check"} & {*task}
    )
    assert read["multigpu.vllm.p2p_check"]["test"] == "never"
    assert read["register"] == load("tasks/peer.yml")[0]["register"] == "__vllm_peer"
    assert first["name"] != second["name"]


def test_data_between_gpus_is_tested_with_the_image_before_the_server_changes() -> None:
    tasks = load("tasks/main.yml")
    files = [task.get("ansible.builtin.import_tasks") or task["ansible.builtin.include_tasks"] for task in tasks[:-1]]
    assert files == ["preflight.yml", "install.yml", "peer.yml", "configure.yml", "liveness.yml"]
    test, _message, _stop, store, plan, _settings = load("tasks/peer.yml")
    options = test["multigpu.vllm.p2p_check"]
    assert options["image"] == "{{ _vllm_image }}"
    assert options["result_file"] == store["ansible.builtin.copy"]["dest"] == "{{ _vllm_peer_file }}"
    planned = next(task for task in load("tasks/preflight.yml") if "multigpu.vllm.vllm_plan" in task)
    assert plan["multigpu.vllm.vllm_plan"]["settings"] == planned["multigpu.vllm.vllm_plan"]["settings"]
    assert plan["register"] == planned["register"]


@pytest.mark.parametrize(
    ("mode", "trial", "test"),
    [("auto", {}, "auto"), ("always", {}, "always"), ("auto", {"_vllm_heartbeat": "f"}, None), ("never", {}, None)],
)
@pytest.mark.parametrize("gpus", [[0, 1], []])
def test_option_decides_about_the_test_of_the_data(
    mode: str, trial: dict[str, str], test: str | None, gpus: list[int]
) -> None:
    variables = {"vllm_p2p_check": mode, "_vllm_plan": {"peer_gpus": gpus}, **trial}
    templar = Templar(loader=DataLoader(), variables=variables)
    (include,) = [task for task in load("tasks/main.yml") if task.get("ansible.builtin.include_tasks") == "peer.yml"]
    runs = all(templar.evaluate_conditional(trusted(condition)) for condition in include["when"])
    assert runs is (test is not None and bool(gpus))
    if test:
        assert templar.template(trusted(load("tasks/peer.yml")[0]["multigpu.vllm.p2p_check"]["test"])) == test


@pytest.mark.parametrize(
    ("status", "arguments", "stops"),
    [
        ("fail", [], True),
        ("fail", ["--disable-custom-all-reduce"], False),
        ("not_tested", [], False),
        ("warn", [], False),
    ],
)
def test_fault_that_no_setting_avoids_stops_the_deployment(status: str, arguments: list[str], stops: bool) -> None:
    (stop,) = [task for task in load("tasks/peer.yml") if "ansible.builtin.fail" in task]
    result = {"findings": [{"status": status}], "settings": {"arguments": arguments}}
    templar = Templar(loader=DataLoader(), variables={"__vllm_peer": result})
    assert all(templar.evaluate_conditional(trusted(condition)) for condition in stop["when"]) is stops


@pytest.mark.parametrize(("mode", "used"), [("auto", {"verdict": "hangs"}), ("never", {})])
def test_settings_contain_the_result_unless_the_user_rejects_it(mode: str, used: dict[str, str]) -> None:
    def peer_data(**facts: t.Any) -> t.Any:
        templar = Templar(loader=DataLoader(), variables={"vllm_p2p_check": mode, **facts})
        return templar.template(trusted(SETTINGS["peer_data"]))

    assert peer_data(__vllm_peer={"verdict": "hangs"}) == used
    assert peer_data(__vllm_peer={"skipped": True}) == peer_data() == {}


def test_role_without_root_needs_no_other_user() -> None:
    """No task names root, so the role also works for the user of a rootless Docker Engine."""
    texts = [path.read_text("utf-8") for path in (ROLE / "tasks").glob("*.yml")]
    assert [line for text in texts for line in text.splitlines() if re.search(r"(owner|group):.*\broot\b", line)] == []
    templar = Templar(loader=DataLoader(), variables={"vllm_owner": "ann", "vllm_user": None})
    assert templar.template(trusted(load("vars/main.yml")["_vllm_owner"])) == "ann"


def test_liveness_service_is_held_during_every_change_and_released_after_a_failure() -> None:
    change = load("tasks/main.yml")[-1]
    hold, release = change["block"][0], change["always"][0]
    files = [task["ansible.builtin.import_tasks"] for task in change["block"] if "ansible.builtin.debug" not in task]
    assert files == [f"{name}.yml" for name in ("liveness_hold", "run", "stop", "restart", "show", "restore")]
    assert release["ansible.builtin.import_tasks"] == "liveness_release.yml"
    (write,), (remove,) = load("tasks/liveness_hold.yml"), load("tasks/liveness_release.yml")
    assert write["ansible.builtin.copy"]["dest"] == remove["ansible.builtin.file"]["path"] == "{{ _vllm_hold }}"
    (restart,) = yaml.safe_load((ROLE.parents[1] / "playbooks/fix.yml").read_text("utf-8"))[1]["tasks"]
    parts = [*restart["block"], *restart["always"]]
    entries = [task["ansible.builtin.import_role"]["tasks_from"] for task in parts]
    assert entries == ["liveness_hold", "restart", "liveness_release"]
    assert hold["tags"] == release["tags"] == ["stop", "restart", "restore"]


LIVENESS = {
    "vllm_container_name": "vllm-7",
    "vllm_owner": "root",
    "vllm_liveness_timeout": "90",
    "vllm_liveness_max_restarts": 3,
    "vllm_liveness_metrics_dir": "/srv/metrics",
    "vllm_start_timeout": 600,
    "vllm_config_dir": "/etc/multigpu-vllm",
    "vllm_module_environment": {"PATH": "/opt/bin:100%"},
    "vllm_docker_host": "unix:///run/docker.sock",
    "vllm_api_key": "sk-secret",
    "_vllm_plan": {"container": {"base_url": "http://127.0.0.1:8000"}},
}


def trusted_tree(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return {key: trusted_tree(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted_tree(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


def liveness_value(name: str, **facts: t.Any) -> t.Any:
    variables = {key: trusted_tree(value) for key, value in load("vars/main.yml").items()}
    return Templar(loader=DataLoader(), variables={**variables, **LIVENESS, **facts}).template(
        trusted(f"{{{{ {name} }}}}")
    )


def test_liveness_service_gets_its_options_and_no_secret(tmp_path: Path) -> None:
    options = liveness_value("_vllm_liveness_options")
    (tmp_path / "options.json").write_text(json.dumps(options))
    read = ServiceOptions.read(str(tmp_path / "options.json"))
    assert (read.stall_timeout, read.start_timeout, read.max_restarts) == (90.0, 600.0, 3)
    assert set(options) == {item.name for item in fields(ServiceOptions)}
    assert read.hold_files[1:] == [f"/etc/multigpu-vllm/{name}.heartbeat" for name in ("vllm-7", "vllm-7-trial")]
    assert "sk-secret" not in json.dumps(options)


@pytest.mark.parametrize(("host", "rank"), [("b", 0), ("a", 1)])
def test_liveness_service_of_a_group_knows_its_rank_and_the_head(host: str, rank: int) -> None:
    hostvars = {"b": {"vllm_private_address": "10.0.0.3"}, "a": {"vllm_private_address": "10.0.0.2"}}
    plan = {"container": {"base_url": "", "members": ["b", "a"]}}
    facts = {"_vllm_plan": plan, "hostvars": hostvars, "inventory_hostname": host, "vllm_group_port": "29600"}
    options = liveness_value("_vllm_liveness_options", **facts)
    assert (options["members"], options["rank"]) == (2, rank)
    assert (options["group_address"], options["group_port"]) == ("10.0.0.3", 29601)


def test_liveness_program_runs_with_the_files_that_the_role_copies(tmp_path: Path) -> None:
    package = tmp_path / "ansible_collections/multigpu/vllm/plugins/module_utils"
    (package / "vllm").mkdir(parents=True)
    for name in load("vars/main.yml")["_vllm_liveness_files"]:
        shutil.copy(ROLE.parents[1] / "plugins/module_utils" / name, package / name)
    argv = [sys.executable, "-S", "-m", load("vars/main.yml")["_vllm_liveness_module"], "missing.json"]
    done = subprocess.run(argv, env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith("FileNotFoundError"), done.stderr


def test_liveness_unit_quotes_its_environment() -> None:
    text = (ROLE / "templates/liveness.service.j2").read_text("utf-8")
    variables = {key: trusted_tree(value) for key, value in load("vars/main.yml").items()}
    unit = Templar(loader=DataLoader(), variables={**variables, **LIVENESS}).template(trusted(text))
    assert 'Environment="PATH=/opt/bin:100%%"\nEnvironment="DOCKER_HOST=unix:///run/docker.sock"\n' in unit
    directory = "/etc/multigpu-vllm/vllm-7/liveness"
    assert f'Environment="PYTHONPATH={directory}"\nExecStart=/usr/bin/python3 -m ansible_collections.' in unit
    assert f"liveness_service {directory}/options.json\nRestart=always\n" in unit
