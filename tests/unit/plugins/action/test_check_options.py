# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that cannot be are told before anything is measured."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.action.check_options import (
    NUMBERS,
    ActionModule,
    hints,
    measures,
    tag_errors,
)

Run = Callable[..., dict[str, t.Any]]

OPTIONS: t.Final[dict[str, t.Any]] = {
    "base_url": "http://127.0.0.1:8000",
    "prompt_tokens": [128, 1024],
    "output_tokens": 64,
    "requests": 2,
    "concurrency": 8,
    "load_duration": 6,
    "timeout": 60,
}


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the plugin warned of."""
    texts: list[str] = []
    monkeypatch.setattr("ansible.plugins.action.display", mock.Mock(verbosity=0, warning=texts.append))
    return texts


def test_possible_options_give_the_load(run_action: Run) -> None:
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
    ("wrong", "told"),
    [
        ({"base_url": "127.0.0.1:8000"}, "such as http://127.0.0.1:8000, got '127.0.0.1:8000'"),
        ({"base_url": "ftp://127.0.0.1"}, "such as http://127.0.0.1:8000, got 'ftp://127.0.0.1'"),
        ({"base_url": "http://"}, "such as http://127.0.0.1:8000, got 'http://'"),
        ({"base_url": "http://127.0.0.1:99999"}, "such as http://127.0.0.1:8000, got 'http://127.0.0.1:99999'"),
        ({"prompt_tokens": []}, "validate_prompt_tokens is empty"),
        ({"prompt_tokens": [128, 0]}, "validate_prompt_tokens has 0, must be more than 0"),
        *(({name: 0}, f"validate_{name} is 0, must be more than 0") for name in NUMBERS),
        *(({name: -1}, f"validate_{name} is -1, must be more than 0") for name in NUMBERS),
        ({"instance_type": "g2-gpu-foo"}, "validate_instance_type: unknown Linode type 'g2-gpu-foo'"),
    ],
)
def test_an_impossible_option_is_named_with_its_value(run_action: Run, wrong: dict[str, t.Any], told: str) -> None:
    with pytest.raises(AnsibleActionFail, match=re.escape(told)):
        run_action(ActionModule, OPTIONS | wrong)


def test_a_plan_that_nobody_knows_needs_the_number_of_gpus(run_action: Run, warnings: list[str]) -> None:
    assert run_action(ActionModule, OPTIONS | {"instance_type": "on-premises", "expected_gpu_count": 4})["steps"]
    assert warnings == []


def test_a_plan_that_only_its_name_tells_is_a_warning(run_action: Run, warnings: list[str]) -> None:
    run_action(ActionModule, OPTIONS | {"instance_type": "g2-gpu-rtx4000a9-m"})
    assert warnings == [
        "validate_instance_type g2-gpu-rtx4000a9-m is no plan that this release knows; its name says 9 GPUs"
    ]


def test_known_plans_and_names_are_no_news(run_action: Run, warnings: list[str]) -> None:
    run_action(ActionModule, OPTIONS | {"instance_type": "g2-gpu-rtx4000a4-m"})
    assert warnings == []


def test_a_misspelt_variable_is_a_warning() -> None:
    options = OPTIONS | {"instance_type": None, "expected_gpu_count": None}
    assert hints(options, {"validate_fail_one": "warn", "validate_certs": True, "ansible_host": "x"}) == [
        "validate_fail_one is no option of the role validate and does nothing there; did you mean validate_fail_on?"
    ]


@pytest.mark.parametrize(
    ("tags", "inherited", "told"),
    [
        (["nccl", "memry"], ["always"], ["--tags memry: did you mean memory?"]),
        (["utilization"], ["always"], ["--tags utilization: did you mean utilisation?"]),
        (["gpu", "nccl_bandwidth"], ["always"], []),
        (["memories"], ["always", "memories"], []),
    ],
)
def test_a_misspelt_tag_is_refused(tags: list[str], inherited: list[str], told: list[str]) -> None:
    assert tag_errors(tags, [], inherited) == told


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
def test_tags_of_other_roles_measure_nothing(tags: list[str], inherited: list[str], expected: bool) -> None:
    assert measures(tags, inherited) is expected


def test_that_nothing_is_measured_is_a_warning(run_action: Run, warnings: list[str]) -> None:
    assert not run_action(ActionModule, OPTIONS | {"tags": ["gpu"]})["measures"]
    assert warnings[0].startswith("--tags gpu validates nothing; sections are hardware, tensor_parallel, ")
    assert run_action(ActionModule, OPTIONS)["measures"]


@pytest.mark.parametrize(
    ("skipped", "rest"),
    [
        (["performance", "mine", "utilisation"], "hardware,tensor_parallel,memory,nccl,configuration"),
        (["nccl_bandwidth"], "hardware,tensor_parallel,memory,nccl,performance,utilisation,configuration"),
    ],
)
def test_a_section_is_left_out_by_choosing_the_others(skipped: list[str], rest: str) -> None:
    assert [error.partition(" use ")[2] for error in tag_errors(["all"], skipped, ["always"])] == [f"--tags {rest}"]


@pytest.mark.parametrize("skipped", [[], ["mine"], ["user"]])
def test_other_tags_can_be_skipped(skipped: list[str]) -> None:
    assert tag_errors(["all"], skipped, ["always"]) == []


def test_tags_are_judged_before_anything_is_measured(run_action: Run) -> None:
    with pytest.raises(AnsibleActionFail, match="did you mean hardware"):
        run_action(ActionModule, OPTIONS | {"tags": ["hardwar"]})


def test_a_report_that_cannot_be_written_is_told_before_anything_is_measured(run_action: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AnsibleActionFail, match="validate_report_dir: cannot write to .*file/reports: Not a directory"):
        run_action(ActionModule, OPTIONS | {"report_dir": str(tmp_path / "file/reports")})
    assert run_action(ActionModule, OPTIONS | {"report_dir": str(tmp_path / "reports")})["steps"]
    assert not list((tmp_path / "reports").iterdir())


def test_check_mode_makes_no_directory(run_action: Run, tmp_path: Path) -> None:
    assert run_action(ActionModule, OPTIONS | {"report_dir": str(tmp_path / "reports")}, check_mode=True)["steps"]
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"thresholds": [{"query": "["}]}, "validate_thresholds"),
        ({"thresholds": ["load"]}, "must be a mapping"),
        ({"speed_limits": {"L40S": 80}}, "must have the form"),
        ({"speed_limits": [80]}, "must map GPU models"),
        ({"report_formats": ["pdf"]}, "unknown report format"),
        ({"load_hosts": ["localhost", "lode-1"]}, "validate_load_hosts: not in the inventory: lode-1"),
        ({"load_hosts": ["localhost", "localhost"]}, "validate_load_hosts: named more than once: localhost"),
    ],
)
def test_a_mistake_is_named(run_action: Run, wrong: dict[str, t.Any], hint: str) -> None:
    with pytest.raises(AnsibleActionFail, match=hint):
        run_action(ActionModule, OPTIONS | wrong)


@pytest.mark.parametrize("price", [-1, 0, "inf", "nan"])
def test_a_price_that_cannot_be_is_told_before_anything_is_measured(run_action: Run, price: float | str) -> None:
    with pytest.raises(AnsibleActionFail, match=rf"validate_hourly_price is {price}; allowed: more than 0"):
        run_action(ActionModule, OPTIONS | {"hourly_price": price})


def test_a_price_that_can_be_passes(run_action: Run) -> None:
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
def test_a_load_host_is_not_to_load_itself(run_action: Run, url: str) -> None:
    options = OPTIONS | {"base_url": url, "load_hosts": ["node-01", "localhost"]}
    with pytest.raises(AnsibleActionFail, match="set validate_load_base_url to .* localhost can reach .* of node-01"):
        run_action(ActionModule, options)


@pytest.mark.parametrize(
    "possible",
    [
        {"base_url": "http://192.0.2.7:8000", "load_hosts": ["localhost"]},
        {"base_url": "http://node-01.example.com", "load_hosts": ["localhost"]},
        {"load_hosts": []},
        {"load_hosts": ["localhost"], "load_base_url": "http://192.0.2.7:8000"},
        # Given for the load hosts: the end of a tunnel there.
        {"load_hosts": ["localhost"], "load_base_url": "http://127.0.0.1:9000"},
    ],
)
def test_a_server_that_load_hosts_reach_passes(run_action: Run, possible: dict[str, t.Any]) -> None:
    assert run_action(ActionModule, OPTIONS | possible)["steps"]


def test_a_node_may_load_itself(run_action: Run) -> None:
    assert run_action(ActionModule, OPTIONS | {"load_hosts": ["localhost"]}, host="localhost")["steps"]


def test_the_url_of_the_load_hosts_is_one(run_action: Run) -> None:
    with pytest.raises(AnsibleActionFail, match="validate_load_base_url must be an HTTP .* got '192.0.2.7'"):
        run_action(ActionModule, OPTIONS | {"load_hosts": ["localhost"], "load_base_url": "192.0.2.7"})


def test_limits_that_can_be_pass(run_action: Run) -> None:
    limits = {"thresholds": [{"query": "load[0].output_throughput", "min": 50}], "speed_limits": {"L40S": {"warn": 70}}}
    assert run_action(ActionModule, OPTIONS | limits)["steps"]


def test_a_missing_package_is_told(run_action: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AnsibleActionFail, match="pip install junitparser"):
        run_action(ActionModule, OPTIONS | {"report_formats": ["json", "junit"]})


def test_every_mistake_is_told_at_once(run_action: Run) -> None:
    with pytest.raises(AnsibleActionFail) as caught:
        run_action(ActionModule, OPTIONS | {"timeout": 0, "report_formats": ["pdf", "doc"]})
    assert str(caught.value).count("; ") == 2
