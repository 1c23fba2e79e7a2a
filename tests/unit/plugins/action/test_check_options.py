# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of role options that go beyond their types."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible_collections.multigpu.vllm.plugins.action.check_options import (
    LOAD_OPTIONS,
    NUMBERS,
    ActionModule,
    is_loopback,
    measures,
    tag_errors,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.load.steps import sweep_steps
from ansible_collections.multigpu.vllm.plugins.plugin_utils.options import option_names

Run = Callable[..., dict[str, t.Any]]

ROLES: t.Final = Path(__file__).resolve().parents[4] / "roles"
ROLE_NAMES: t.Final = sorted(path.name for path in ROLES.iterdir())
OPTIONS: t.Final[dict[str, t.Any]] = {
    "role": "validate",
    "base_url": "http://127.0.0.1:8000",
    "prompt_tokens": [128, 1024],
    "output_tokens": 64,
    "requests": 2,
    "concurrency": 8,
    "load_duration": 6,
    "timeout": 60,
}
SWEEP: t.Final[dict[str, t.Any]] = {
    "role": "benchmark",
    "base_url": "http://127.0.0.1:8000",
    "prompt_tokens": [128, 1024],
    "concurrency": [1, 8],
    "output_tokens": 64,
    "duration": 5,
    "repeats": 3,
    "timeout": 60,
}


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Warnings that the plugin displayed."""
    texts: list[str] = []
    monkeypatch.setattr("ansible.plugins.action.display", mock.Mock(verbosity=0, warning=texts.append))
    return texts


def test_options_if_valid_return_the_steps(run_action: Run) -> None:
    result = run_action(ActionModule, OPTIONS)
    assert not result["changed"]
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


@pytest.mark.parametrize(
    ("invalid", "error"),
    [
        ({"base_url": "127.0.0.1:8000"}, "such as http://127.0.0.1:8000, got '127.0.0.1:8000'"),
        ({"base_url": "ftp://127.0.0.1"}, "such as http://127.0.0.1:8000, got 'ftp://127.0.0.1'"),
        ({"base_url": "http://"}, "such as http://127.0.0.1:8000, got 'http://'"),
        ({"base_url": "http://127.0.0.1:99999"}, "such as http://127.0.0.1:8000, got 'http://127.0.0.1:99999'"),
        ({"prompt_tokens": []}, "validate_prompt_tokens must not be empty"),
        ({"prompt_tokens": [128, 0]}, "validate_prompt_tokens must be greater than 0, got 0"),
        *(({name: 0}, f"validate_{name} must be greater than 0, got 0") for name in [*NUMBERS, "concurrency"]),
        *(({name: -1}, f"validate_{name} must be greater than 0, got -1") for name in [*NUMBERS, "concurrency"]),
        *(
            (
                {"max_duration": limit},
                "validate_max_duration must be greater than validate_load_duration (6) and finite, got",
            )
            for limit in (6, -1, float("inf"), float("nan"))
        ),
        ({"instance_type": "g2-gpu-foo"}, "validate_instance_type: unknown Linode type 'g2-gpu-foo'"),
    ],
)
def test_options_if_invalid_name_option_and_value(run_action: Run, invalid: dict[str, t.Any], error: str) -> None:
    with pytest.raises(AnsibleActionFail, match=re.escape(error)):
        run_action(ActionModule, OPTIONS | invalid)


def test_plan_unknown_is_allowed_with_gpu_count(run_action: Run, warnings: list[str]) -> None:
    assert run_action(ActionModule, OPTIONS | {"instance_type": "on-premises", "expected_gpu_count": 4})["steps"]
    assert warnings == []


def test_plan_unknown_warns_about_gpu_count_from_its_name(run_action: Run, warnings: list[str]) -> None:
    run_action(ActionModule, OPTIONS | {"instance_type": "g2-gpu-rtx4000a9-m"})
    assert warnings == [
        "validate_instance_type: unknown plan g2-gpu-rtx4000a9-m; assuming 9 GPUs from its name."
        " Set validate_expected_gpu_count if that is wrong."
    ]


def test_plan_known_does_not_warn(run_action: Run, warnings: list[str]) -> None:
    run_action(ActionModule, OPTIONS | {"instance_type": "g2-gpu-rtx4000a4-m"})
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
        (["all"], ["always"], True),
        (["tagged"], ["always"], True),
        (["memory"], ["always"], True),
        (["mine", "nccl_bandwidth"], ["always"], True),
        (["mine"], ["always", "mine"], True),
        (["mine"], ["always"], False),
        (["always"], ["always"], False),
    ],
)
def test_measures_is_false_for_tags_of_other_roles(tags: list[str], inherited: list[str], expected: bool) -> None:
    assert measures(tags, inherited) is expected


def test_tags_without_a_section_warn(run_action: Run, warnings: list[str]) -> None:
    assert not run_action(ActionModule, OPTIONS | {"tags": ["gpu"]})["measures"]
    assert warnings[0].startswith("--tags gpu selects no section, so nothing is validated; sections are hardware, ")
    assert run_action(ActionModule, OPTIONS)["measures"]


@pytest.mark.parametrize(
    ("skipped", "rest"),
    [
        (["performance", "mine", "utilisation"], "hardware,tensor_parallel,memory,nccl,configuration"),
        (["nccl_bandwidth"], "hardware,tensor_parallel,memory,nccl,performance,utilisation,configuration"),
    ],
)
def test_skip_tags_of_a_section_suggest_tags_of_the_others(skipped: list[str], rest: str) -> None:
    assert [error.partition(" use ")[2] for error in tag_errors(["all"], skipped, ["always"])] == [f"--tags {rest}"]


@pytest.mark.parametrize("skipped", [[], ["mine"], ["user"]])
def test_skip_tags_of_no_section_are_allowed(skipped: list[str]) -> None:
    assert tag_errors(["all"], skipped, ["always"]) == []


def test_tag_misspelt_fails_the_action(run_action: Run) -> None:
    with pytest.raises(AnsibleActionFail, match="did you mean hardware"):
        run_action(ActionModule, OPTIONS | {"tags": ["hardwar"]})


def test_report_dir_not_writable_is_an_error(run_action: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AnsibleActionFail, match="validate_report_dir: cannot write to .*file/reports: Not a directory"):
        run_action(ActionModule, OPTIONS | {"report_dir": str(tmp_path / "file/reports")})
    assert run_action(ActionModule, OPTIONS | {"report_dir": str(tmp_path / "reports")})["steps"]
    assert not list((tmp_path / "reports").iterdir())


def test_report_dir_is_not_created_in_check_mode(run_action: Run, tmp_path: Path) -> None:
    assert run_action(ActionModule, OPTIONS | {"report_dir": str(tmp_path / "reports")}, check_mode=True)["steps"]
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("invalid", "error"),
    [
        ({"thresholds": [{"query": "["}]}, "validate_thresholds"),
        ({"thresholds": ["load"]}, "validate_thresholds, entry 1"),
        ({"speed_limits": {"L40S": 80}}, "validate_speed_limits, L40S"),
        ({"speed_limits": [80]}, "validate_speed_limits"),
        ({"report_formats": ["pdf"]}, "unknown report format"),
        ({"load_hosts": ["localhost", "lode-1"]}, "validate_load_hosts: not in the inventory: lode-1"),
        ({"load_hosts": ["localhost", "localhost"]}, "validate_load_hosts: listed more than once: localhost"),
    ],
)
def test_options_if_malformed_are_an_error(run_action: Run, invalid: dict[str, t.Any], error: str) -> None:
    with pytest.raises(AnsibleActionFail, match=error):
        run_action(ActionModule, OPTIONS | invalid)


@pytest.mark.parametrize("price", [-1, 0, "inf", "nan"])
def test_price_not_positive_is_an_error(run_action: Run, price: float | str) -> None:
    with pytest.raises(
        AnsibleActionFail, match=rf"validate_hourly_price must be greater than 0 US dollars, got {price}"
    ):
        run_action(ActionModule, OPTIONS | {"hourly_price": price})


def test_price_positive_is_allowed(run_action: Run) -> None:
    assert run_action(ActionModule, OPTIONS | {"hourly_price": 0.01})["steps"]


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
def test_load_hosts_with_loopback_url_are_an_error(run_action: Run, url: str) -> None:
    options = OPTIONS | {"base_url": url, "load_hosts": ["node-01", "localhost"]}
    with pytest.raises(AnsibleActionFail, match="set validate_load_base_url to .* localhost can reach .* of node-01"):
        run_action(ActionModule, options)


@pytest.mark.parametrize(
    "allowed",
    [
        {"base_url": "http://192.0.2.7:8000", "load_hosts": ["localhost"]},
        {"base_url": "http://node-01.example.com", "load_hosts": ["localhost"]},
        {"load_hosts": []},
        {"load_hosts": ["localhost"], "load_base_url": "http://192.0.2.7:8000"},
        # A loopback address that is set for the load hosts may be the end of a tunnel.
        {"load_hosts": ["localhost"], "load_base_url": "http://127.0.0.1:9000"},
    ],
)
def test_load_hosts_with_reachable_server_are_allowed(run_action: Run, allowed: dict[str, t.Any]) -> None:
    assert run_action(ActionModule, OPTIONS | allowed)["steps"]


def test_load_hosts_may_be_the_node_itself(run_action: Run) -> None:
    assert run_action(ActionModule, OPTIONS | {"load_hosts": ["localhost"]}, host="localhost")["steps"]


def test_load_base_url_invalid_is_an_error(run_action: Run) -> None:
    with pytest.raises(AnsibleActionFail, match="validate_load_base_url must be an HTTP .* got '192.0.2.7'"):
        run_action(ActionModule, OPTIONS | {"load_hosts": ["localhost"], "load_base_url": "192.0.2.7"})


def test_limits_if_valid_are_allowed(run_action: Run) -> None:
    limits = {"thresholds": [{"query": "load[0].output_throughput", "min": 50}], "speed_limits": {"L40S": {"warn": 70}}}
    assert run_action(ActionModule, OPTIONS | limits)["steps"]


def test_report_format_without_its_package_is_an_error(run_action: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AnsibleActionFail, match="pip install junitparser"):
        run_action(ActionModule, OPTIONS | {"report_formats": ["json", "junit"]})


def test_all_errors_are_reported_together(run_action: Run) -> None:
    with pytest.raises(AnsibleActionFail) as caught:
        run_action(ActionModule, OPTIONS | {"timeout": 0, "report_formats": ["pdf", "doc"]})
    assert all(error in str(caught.value) for error in ("validate_timeout must be", "'pdf'", "'doc'"))


@pytest.mark.parametrize("url", ["http://192.0.2.7", "http://node-01", "http://localhost.example.com"])
def test_is_loopback_is_false_for_other_addresses(url: str) -> None:
    assert not is_loopback(url)


def test_sweep_options_if_valid_return_the_steps(run_action: Run) -> None:
    result = run_action(ActionModule, SWEEP | {"target_ttft": 2.0})
    assert result["steps"] == sweep_steps([128, 1024], [1, 8], 64, 5.0, 3)
    assert result["measures"]


@pytest.mark.parametrize(
    ("invalid", "error"),
    [
        ({"prompt_tokens": []}, "benchmark_prompt_tokens must not be empty"),
        ({"concurrency": [4, 0]}, "benchmark_concurrency must be greater than 0, got 0"),
        ({"duration": 0}, "benchmark_duration must be greater than 0, got 0"),
        ({"repeats": -1}, "benchmark_repeats must be greater than 0, got -1"),
        ({"output_tokens": 0}, "benchmark_output_tokens must be greater than 0, got 0"),
        ({"target_itl": -0.1}, "benchmark_target_itl must be greater than 0, got -0.1"),
        ({"base_url": "127.0.0.1:8000"}, "such as http://127.0.0.1:8000, got '127.0.0.1:8000'"),
    ],
)
def test_sweep_options_if_invalid_name_option_and_value(run_action: Run, invalid: dict[str, t.Any], error: str) -> None:
    with pytest.raises(AnsibleActionFail, match=re.escape(error)):
        run_action(ActionModule, SWEEP | invalid)


@pytest.mark.parametrize("options", [OPTIONS, SWEEP], ids=lambda options: options["role"])
def test_base_url_requires_the_options_of_the_load(run_action: Run, options: dict[str, t.Any]) -> None:
    required = LOAD_OPTIONS[options["role"]]
    with pytest.raises(AnsibleActionFail, match=f"also requires: {', '.join(required)}$"):
        run_action(ActionModule, {name: value for name, value in options.items() if name not in required})


def test_base_url_of_another_role_is_an_error(run_action: Run) -> None:
    with pytest.raises(AnsibleActionFail, match="only for the roles validate and benchmark, not for tune"):
        run_action(ActionModule, OPTIONS | {"role": "tune"})


def check_names(role: str, **variables: t.Any) -> dict[str, t.Any]:
    """Run the action with the role alone, on a host with these variables."""
    task = mock.Mock(args={"role": role}, async_val=0, check_mode=False, diff=False)
    action = ActionModule(task, mock.Mock(), mock.Mock(), mock.Mock(), mock.Mock(), mock.Mock())
    return action.run(task_vars=variables)


def test_role_alone_warns_about_misspelt_options(warnings: list[str]) -> None:
    result = check_names("provision", provision_flet=[], provision_fleet=[], provision_ssh_source=[], vllm_modle="x")
    assert result == {"changed": False, "misspelt": warnings}
    assert [text.split()[0] for text in warnings] == ["provision_flet", "provision_ssh_source"]
    assert [text.rstrip("?").split()[-1] for text in warnings] == ["provision_fleet", "provision_ssh_sources"]


def test_role_alone_ignores_other_variables(warnings: list[str]) -> None:
    assert check_names("vllm", vllm_of_our_department=1, vllm=2) == {"changed": False, "misspelt": []}
    assert warnings == []


def test_role_unknown_is_an_error_that_lists_the_roles() -> None:
    with pytest.raises(AnsibleError, match=r"must be one of: benchmark, .*vllm"):
        check_names("vlm")


@pytest.mark.parametrize("role", [role for role in ROLE_NAMES if role != "simulated_node"])
def test_every_role_checks_for_misspelt_options(role: str) -> None:
    tasks = "".join(path.read_text("utf-8") for path in (ROLES / role / "tasks").glob("*.yml"))
    assert f"multigpu.vllm.check_options:\n    role: {role}\n" in tasks


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_no_variable_of_a_role_looks_misspelt(role: str, warnings: list[str]) -> None:
    """Test the constants and results of the role and the variables in its documentation."""
    texts = [path.read_text("utf-8") for path in (ROLES / role).rglob("*.*") if path.suffix in (".yml", ".md")]
    variables = set(re.findall(rf"\b{role}_[a-z_]+\b", "\n".join(texts)))
    assert variables & option_names(role)
    assert check_names(role, **dict.fromkeys(variables))["misspelt"] == []
