# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of a role's options together, and of single options in the variables of a host."""

from __future__ import annotations

import os
import re
import time
import typing as t
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import yaml
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.template import trust_as_template
from ansible_collections.multigpu.vllm.plugins.action.check_options import (
    ActionModule,
    selected_measurements,
    tag_errors,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.load.steps import sweep_steps
from ansible_collections.multigpu.vllm.plugins.plugin_utils.options import misspelt, role_options
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import SELECTED_BY

Run = Callable[..., dict[str, t.Any]]
Check = Callable[..., dict[str, t.Any]]

ROLES: t.Final = Path(__file__).resolve().parents[4] / "roles"
ROLE_NAMES: t.Final = sorted(path.name for path in ROLES.iterdir())
#: Path of a role. Unit tests do not load roles by the name of their collection.
SIMULATED: t.Final = str(ROLES / "simulated_node")
FLEET: t.Final[dict[str, t.Any]] = {
    "provision_fleet": [{"name": "chat", "plan": "g2-gpu-rtx4000a4-m", "regions": ["us-ord"]}],
    "provision_ssh_sources": ["203.0.113.0/24"],
    "provision_authorized_users": ["alice"],
}
NO_PASSWORD: t.Final = {"provision_root_password_storage": "none"}
NO_KEY: t.Final = "provision_authorized_keys must have your public SSH key: it is the login to the nodes."


@pytest.fixture
def check(run_action: Run) -> Check:
    """``check(role, tags=["all"], skip_tags=[], check_mode=False, host="node-01", **options)`` runs the action.

    The options have the role's name in front.
    """

    def run(role: str, *, check_mode: bool = False, host: str = "node-01", **options: t.Any) -> dict[str, t.Any]:
        args = {"role": role, **{name: options.pop(name) for name in ("tags", "skip_tags") if name in options}}
        return run_action(ActionModule, args, check_mode=check_mode, host=host, variables=options)

    return run


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Warnings that the plugin displayed."""
    texts: list[str] = []
    monkeypatch.setattr("ansible.plugins.action.display", mock.Mock(verbosity=0, warning=texts.append))
    return texts


def test_options_if_valid_return_the_steps(check: Check) -> None:
    before = time.time()
    result = check(
        "validate",
        validate_prompt_tokens=[128, 1024],
        validate_output_tokens="64",
        validate_requests=2,
        validate_load_duration=6,
    )
    assert not result["changed"]
    assert before <= result["begin"] <= time.time()
    assert [step["name"] for step in result["steps"]] == ["prompt-128", "prompt-1024", "sustained"]
    assert result["steps"][0] == {
        "name": "prompt-128",
        "prompt_tokens": 128,
        "output_tokens": 64,
        "concurrency": 1,
        "requests": 2,
        "optional": False,
    }
    assert result["steps"][2]["concurrency"] == 8
    assert result["steps"][2]["duration"] == 6.0


def test_number_of_nodes_to_read_at_the_same_time_depends_on_the_cpus(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert check("validate")["parallel"] == 24


def test_sweep_options_if_valid_return_the_steps(check: Check) -> None:
    result = check("benchmark", benchmark_concurrency=[1, 8], benchmark_repeats=3, benchmark_target_ttft=None)
    assert result["steps"] == sweep_steps(
        {"prompt_tokens": [128, 1024], "concurrency": [1, 8], "output_tokens": 128, "duration": 10, "repeats": 3}
    )
    assert result["measures"]


@pytest.mark.parametrize(
    ("role", "invalid", "errors"),
    [
        ("validate", {"validate_base_url": "127.0.0.1:8000"}, ["validate_base_url must be an HTTP or HTTPS URL"]),
        (
            "validate",
            {"validate_timeout": 0, "validate_fail_on": "x"},
            ["validate_timeout must", "validate_fail_on must"],
        ),
        (
            "validate",
            {"validate_thresholds": [{"query": "[", "min": 1}]},
            ["validate_thresholds, entry 1: invalid JMESPath query"],
        ),
        (
            "validate",
            {"validate_thresholds": ["load"]},
            ["validate_thresholds must be a list in which each item is a map"],
        ),
        (
            "validate",
            {"validate_thresholds": [{"query": "load", "min": 5, "max": 1}]},
            ["validate_thresholds, entry 1 (load): min must not be greater than max, got min 5 and max 1"],
        ),
        (
            "validate",
            {"validate_max_duration": 6, "validate_load_duration": 6},
            ["validate_max_duration must be greater than validate_load_duration (6), got 6"],
        ),
        ("validate", {"validate_speed_limits": {"L40S": 80}}, ["validate_speed_limits, L40S must have the form"]),
        (
            "validate",
            {"validate_report_formats": ["pdf"]},
            ["validate_report_formats must be a list in which each item"],
        ),
        (
            "validate",
            {"validate_load_hosts": ["localhost", "lode-1"], "validate_base_url": "http://node-01"},
            ["validate_load_hosts: not in the inventory: lode-1"],
        ),
        (
            "validate",
            {"validate_load_hosts": ["localhost", "localhost"], "validate_base_url": "http://node-01"},
            ["validate_load_hosts: listed more than once: localhost"],
        ),
        (
            "validate",
            {"validate_load_hosts": ["localhost"], "validate_base_url": "http://node-01", "vllm_group": "llm"},
            ["validate_load_hosts must be empty with vllm_group llm: its first node generates the load"],
        ),
        (
            "validate",
            {"validate_setup_role": {"role": "no.such"}},
            ["validate_setup_role: the role 'no.such' was not found."],
        ),
        (
            "vllm",
            {
                "vllm_before_change": {"role": SIMULATED, "tasks_from": "stopp"},
                "vllm_model": "a/b",
            },
            [f"vllm_before_change: the role {SIMULATED!r} has no task file 'stopp'."],
        ),
        ("vllm", {}, ["vllm_model must be the ID or the path of a model, got None."]),
        (
            "vllm",
            {"vllm_model": "a/b", "vllm_instance_type": "g2-gpu-foo"},
            ["vllm_instance_type: unknown Linode type"],
        ),
        ("provision", {**FLEET, "provision_fleet": []}, ["provision_fleet must have at least one item."]),
        ("provision", {**FLEET, "provision_authorized_users": []}, [NO_KEY]),
        (
            "provision",
            {**FLEET, "provision_authorized_users": [], **NO_PASSWORD, "provision_wait_for": "none"},
            [NO_KEY],
        ),
        (
            "provision",
            {**FLEET, "provision_root_password_storage": "vault"},
            ["provision_root_password_storage vault requires provision_vault_password."],
        ),
        ("provision", {**FLEET, "provision_fleet": FLEET["provision_fleet"] * 2}, ["Group 'chat' is listed twice"]),
        (
            "provision",
            {**FLEET, "provision_max_hourly_price": "nan"},
            ["provision_max_hourly_price must be greater than 0 and at most 1000000 US dollars per hour, got nan."],
        ),
        # Errors of one option do not cause others.
        ("provision", {**FLEET, "provision_authorized_users": ["-"]}, ["provision_authorized_users, entry 1 must be"]),
        ("provision", {**FLEET, "provision_label_prefix": "9"}, ["provision_label_prefix must be 1 to 29 letters"]),
    ],
)
def test_options_if_invalid_are_all_reported_in_one_line_each(
    check: Check, role: str, invalid: dict[str, t.Any], errors: list[str]
) -> None:
    with pytest.raises(AnsibleActionFail) as caught:
        check(role, **invalid)
    lines = str(caught.value).splitlines()
    assert [line.startswith(error) for line, error in zip(lines, errors, strict=True)] == [True] * len(lines)


@pytest.mark.parametrize(
    "other", [{"provision_wait_for": "port"}, {"provision_cloud_config": {"ssh_authorized_keys": ["ssh-ed25519 AAAA"]}}]
)
def test_login_without_authorized_keys_is_allowed_with_a_root_password(check: Check, other: dict[str, t.Any]) -> None:
    assert check("provision", **{**FLEET, "provision_authorized_users": [], **other})["misspelt"] == []


def test_options_with_templates_are_checked_by_their_values(check: Check) -> None:
    template = trust_as_template("{{ base + 1 }}")
    with pytest.raises(AnsibleActionFail, match=r"^validate_requests must be between 1 and 1000000, got 0\.$"):
        check("validate", base=-1, validate_requests=template)
    with pytest.raises(AnsibleActionFail, match="^validate_requests: 'base' is undefined"):
        check("validate", validate_requests=template)


def test_hooks_that_exist_are_allowed(check: Check) -> None:
    role = {"role": SIMULATED}
    assert check("validate", validate_setup_role=role, validate_teardown_role={**role, "tasks_from": "stop"})["steps"]


@pytest.mark.parametrize("source", ["0.0.0.0/0", "::/0"])
def test_ssh_from_everywhere_warns(check: Check, warnings: list[str], source: str) -> None:
    check("provision", **{**FLEET, "provision_ssh_sources": ["203.0.113.7", source]})
    assert warnings == [f"provision_ssh_sources has {source}, so every address can connect to the nodes with SSH."]


def test_plan_unknown_is_allowed_with_gpu_count(check: Check, warnings: list[str]) -> None:
    assert check("validate", validate_instance_type="on-premises", validate_expected_gpu_count=4)["steps"]
    assert warnings == []


@pytest.mark.parametrize(
    ("role", "options"),
    [
        ("validate", {"validate_instance_type": "g2-gpu-rtx4000a9-m"}),
        ("provision", {**FLEET, "provision_fleet": [{**FLEET["provision_fleet"][0], "plan": "g2-gpu-rtx4000a9-m"}]}),
    ],
)
def test_plan_unknown_warns_about_gpu_count_from_its_name(
    check: Check, warnings: list[str], role: str, options: dict[str, t.Any]
) -> None:
    check(role, **options)
    assert [text.split(" The ")[0] for text in warnings] == [
        "unknown plan g2-gpu-rtx4000a9-m; assuming gpus: 9 from its name."
    ]


def test_plan_known_does_not_warn(check: Check, warnings: list[str]) -> None:
    check("validate", validate_instance_type="g2-gpu-rtx4000a4-m")
    assert warnings == []


@pytest.mark.parametrize(
    ("tags", "inherited", "errors"),
    [
        (["nccl", "memry"], ["always"], ["--tags memry: did you mean memory?"]),
        (["utilization"], ["always"], ["--tags utilization: did you mean utilisation?"]),
        (["gpu", "nccl_bandwidth"], ["always"], []),
        (["memories"], ["always", "memories"], []),
    ],
)
def test_tag_misspelt_is_an_error(tags: list[str], inherited: list[str], errors: list[str]) -> None:
    assert tag_errors(tags, [], inherited) == errors


@pytest.mark.parametrize(
    ("tags", "inherited", "expected"),
    [
        (["all"], ["always"], list(SELECTED_BY)),
        (["tagged"], ["always"], list(SELECTED_BY)),
        (["memory"], ["always"], ["gpu", "tensor_parallel", "logs"]),
        (["mine", "nccl_bandwidth"], ["always"], ["gpu", "nccl_bandwidth"]),
        (["mine"], ["always", "mine"], list(SELECTED_BY)),
        (["mine"], ["always"], []),
        (["always"], ["always"], []),
    ],
)
def test_selected_measurements_are_those_of_the_tags(
    tags: list[str], inherited: list[str], expected: list[str]
) -> None:
    assert selected_measurements(tags, inherited) == expected


@pytest.mark.parametrize(
    ("tags", "options", "before", "after"),
    [
        (["all"], {}, "gpu tensor_parallel", "output logs peer_data"),
        (["all"], {"validate_output_check": "never", "validate_p2p_check": "never"}, "gpu tensor_parallel", "logs"),
        (["utilisation"], {}, "gpu tensor_parallel", ""),
        (["nccl", "output"], {}, "gpu tensor_parallel output logs peer_data", ""),
        (["nccl"], {"validate_nccl_bandwidth": "yes"}, "gpu tensor_parallel logs peer_data nccl_bandwidth", ""),
        (["p2p_check"], {"validate_p2p_check": "never"}, "gpu", ""),
    ],
)
def test_options_return_the_measurements_around_the_load_test(
    check: Check, tags: list[str], options: dict[str, t.Any], before: str, after: str
) -> None:
    result = check("validate", tags=tags, **options)
    assert (result["before_load"], result["after_load"]) == (before.split(), after.split())


def test_tags_without_a_section_warn(check: Check, warnings: list[str]) -> None:
    assert not check("validate", tags=["gpu"])["measures"]
    assert warnings[0].startswith("--tags gpu selects no section, so nothing is validated; sections are hardware, ")
    assert check("validate")["measures"]


@pytest.mark.parametrize(
    ("skipped", "rest"),
    [
        (["performance", "mine", "utilisation"], "hardware,tensor_parallel,memory,nccl,configuration,output,network"),
        (
            ["nccl_bandwidth"],
            "hardware,tensor_parallel,memory,nccl,performance,utilisation,configuration,output,network",
        ),
    ],
)
def test_skip_tags_of_a_section_suggest_tags_of_the_others(skipped: list[str], rest: str) -> None:
    assert [error.partition(" use ")[2] for error in tag_errors(["all"], skipped, ["always"])] == [f"--tags {rest}"]


@pytest.mark.parametrize("skipped", [[], ["mine"], ["user"]])
def test_skip_tags_of_no_section_are_allowed(skipped: list[str]) -> None:
    assert tag_errors(["all"], skipped, ["always"]) == []


def test_tag_misspelt_fails_the_action(check: Check) -> None:
    with pytest.raises(AnsibleActionFail, match="did you mean hardware"):
        check("validate", tags=["hardwar"])


def test_report_dir_not_writable_is_an_error(check: Check, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AnsibleActionFail, match="validate_report_dir: cannot write to .*file/reports: Not a directory"):
        check("validate", validate_report_dir=str(tmp_path / "file/reports"))
    assert check("validate", validate_report_dir=str(tmp_path / "reports"))["steps"]
    assert not list((tmp_path / "reports").iterdir())


def test_report_dir_is_not_created_in_check_mode(check: Check, tmp_path: Path) -> None:
    assert check("validate", validate_report_dir=str(tmp_path / "reports"), check_mode=True)["steps"]
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000",
        "http://127.8.0.1",
        "http://[::1]:8000",
        "http://0.0.0.0:8000",
        "https://LOCALHOST.:8000/v1",
        "http://node.localhost",
    ],
)
def test_load_hosts_with_loopback_url_are_an_error(check: Check, url: str) -> None:
    with pytest.raises(AnsibleActionFail, match="set validate_load_base_url to .* localhost can reach .* of node-01"):
        check(
            "validate", validate_base_url=url, validate_load_hosts=["node-01", "localhost"], groups={"all": ["node-01"]}
        )


@pytest.mark.parametrize(
    "allowed",
    [
        {"validate_base_url": "http://192.0.2.7:8000", "validate_load_hosts": ["localhost"]},
        {"validate_base_url": "http://node-01.example.com", "validate_load_hosts": ["localhost"]},
        {"validate_load_hosts": []},
        {"validate_load_hosts": ["localhost"], "validate_load_base_url": "http://192.0.2.7:8000"},
        # A loopback address that is set for the load hosts may be the end of a tunnel.
        {"validate_load_hosts": ["localhost"], "validate_load_base_url": "http://127.0.0.1:9000"},
    ],
)
def test_load_hosts_with_reachable_server_are_allowed(check: Check, allowed: dict[str, t.Any]) -> None:
    assert check("validate", **allowed)["steps"]


def test_load_hosts_may_be_the_node_itself(check: Check) -> None:
    assert check("validate", validate_load_hosts=["localhost"], host="localhost")["steps"]


def test_limits_if_valid_are_allowed(check: Check) -> None:
    thresholds = [{"query": "load[0].output_throughput", "min": 50, "max": 50}]
    assert check("validate", validate_thresholds=thresholds, validate_speed_limits={"L40S": {"warn": 70}})["steps"]


def test_report_format_without_its_package_is_an_error(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AnsibleActionFail, match="pip install junitparser"):
        check("validate", validate_report_formats=["json", "junit"])


def test_role_warns_about_misspelt_options(check: Check, warnings: list[str]) -> None:
    result = check("provision", **FLEET, provision_flet=[], provision_ssh_source=[], vllm_modle="x")
    assert result == {"changed": False, "misspelt": warnings}
    assert [text.split()[0] for text in warnings] == ["provision_flet", "provision_ssh_source"]
    assert [text.rstrip("?").split()[-1] for text in warnings] == ["provision_fleet", "provision_ssh_sources"]


def test_role_ignores_other_variables(check: Check, warnings: list[str]) -> None:
    result = check("vllm", vllm_model="a/b", vllm_of_our_department=1, vllm=2)
    assert result == {"changed": False, "misspelt": []}
    assert warnings == []


def test_role_unknown_is_an_error_that_lists_the_roles(check: Check) -> None:
    with pytest.raises(AnsibleError, match=r"must be one of: benchmark, .*vllm"):
        check("vlm")


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_every_role_checks_its_options_first(role: str) -> None:
    for name in ("preflight", "request"):
        path = ROLES / role / "tasks" / f"{name}.yml"
        first = (yaml.safe_load(path.read_text("utf-8")) if path.exists() else [{}])[0]
        assert (
            first.get("ansible.builtin.import_tasks") == "preflight.yml"
            or not path.exists()
            or (first["multigpu.vllm.check_options"]["role"] == role)
        )


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_no_variable_of_a_role_looks_misspelt(role: str) -> None:
    """Test the constants and results of the role and the variables in its documentation."""
    texts = [path.read_text("utf-8") for path in (ROLES / role).rglob("*.*") if path.suffix in (".yml", ".md")]
    variables = set(re.findall(rf"\b{role}_[a-z_]+\b", "\n".join(texts)))
    assert variables & set(role_options(role))
    assert misspelt(role, variables) == []
