# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that cannot be are told before anything is measured."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.action.check_options import NUMBERS, ActionModule

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
    "wrong",
    [
        {"base_url": "127.0.0.1:8000"},
        {"base_url": "ftp://127.0.0.1"},
        {"prompt_tokens": []},
        {"prompt_tokens": [128, 0]},
        *({name: 0} for name in NUMBERS),
        *({name: -1} for name in NUMBERS),
    ],
)
def test_an_impossible_option_fails(run_action: Run, wrong: dict[str, t.Any]) -> None:
    with pytest.raises(AnsibleActionFail, match="option of the role validate is impossible"):
        run_action(ActionModule, OPTIONS | wrong)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"thresholds": [{"query": "["}]}, "validate_thresholds"),
        ({"thresholds": ["load"]}, "is no mapping"),
        ({"speed_limits": {"L40S": 80}}, "is not of the form"),
        ({"speed_limits": [80]}, "maps GPU models"),
        ({"report_formats": ["pdf"]}, "unknown report format"),
        ({"load_hosts": ["localhost", "lode-1"]}, "validate_load_hosts: not in the inventory: lode-1"),
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
    with pytest.raises(AnsibleActionFail, match="validate_load_base_url is 192.0.2.7; it begins with"):
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
