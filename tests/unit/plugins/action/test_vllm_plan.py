# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a deployment as a task receives it."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.action.vllm_plan import ActionModule
from ansible_collections.multigpu.vllm.plugins.modules import vllm_plan as documentation

SETTINGS = {
    "version": "0.32.0",
    "image": "vllm/vllm-openai:v0.32.0",
    "model": "a/b",
    "bind_address": "127.0.0.1",
    "port": 8000,
    "cache_dir": "/c",
    "directory": "/d",
    "log_max_size": "1m",
    "log_max_files": 1,
    "gpus": "none",
}
Plan = Callable[..., dict[str, t.Any]]


@pytest.fixture
def plan(run_action: t.Any) -> Plan:
    """``plan(instance_type=..., gpu=..., **changes)`` returns the plan for ``SETTINGS`` with changes."""

    def run(
        gpu: dict[str, t.Any] | None = None, instance_type: str | None = None, **changes: t.Any
    ) -> dict[str, t.Any]:
        hardware = {"gpu": gpu, "instance_type": instance_type}
        given = {name: value for name, value in hardware.items() if value is not None}
        result = run_action(ActionModule, {"settings": {**SETTINGS, **changes}, **given})
        assert result["changed"] is False
        return t.cast("dict[str, t.Any]", result["plan"])

    return run


def test_plan_has_the_documented_keys(plan: Plan) -> None:
    assert set(plan()) == set(yaml.safe_load(documentation.RETURN)["plan"]["contains"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"profile": "fast"}, "throughput, latency, context"), ({"extra_args": "--x 'y"}, "quotation")],
)
def test_plan_with_invalid_settings_fails_with_the_reason(plan: Plan, changes: dict[str, str], words: str) -> None:
    with pytest.raises(AnsibleActionFail, match=words):
        plan(**changes)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("localhost", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("192.0.2.7", "http://192.0.2.7:8000"),
        ("2001:db8::7", "http://[2001:db8::7]:8000"),
    ],
)
def test_base_url_of_a_published_address_is_reachable_from_the_node(plan: Plan, address: str, url: str) -> None:
    assert plan(bind_address=address, api_key_file=True)["container"]["base_url"] == url


def test_site_validates_the_url_that_was_planned() -> None:
    plays = yaml.safe_load((Path(__file__).parents[4] / "playbooks/site.yml").read_text("utf-8"))
    (validate,) = [play for play in plays if play["name"] == "Validate the nodes"]
    assert validate["vars"]["validate_base_url"] == "{{ __vllm_plan.plan.container.base_url }}"


def test_plan_with_instance_type_uses_the_gpus_of_that_plan(plan: Plan) -> None:
    assert plan(instance_type="g2-gpu-rtx4000a4-m", gpus="all")["tensor_parallel_size"] == 4
    fact = {"count": 2, "expected_count": 2, "devices": [{"name": "NVIDIA L4"}] * 2}
    assert plan(gpu=fact, gpus="all")["tensor_parallel_size"] == 2


def test_unknown_instance_type_is_named(plan: Plan) -> None:
    with pytest.raises(AnsibleActionFail, match="g9-gpu-h100-80"):
        plan(instance_type="g9-gpu-h100-80", gpus="all")


def test_gpu_and_instance_type_exclude_each_other(plan: Plan) -> None:
    with pytest.raises(AnsibleActionFail, match="mutually exclusive"):
        plan(gpu={"count": 1}, instance_type="g2-gpu-rtx4000a4-m")


def test_plan_contains_no_secret(plan: Plan) -> None:
    environment = {setting["name"]: setting["value"] for setting in plan(hf_token_file=True)["environment"]}
    assert environment["HF_TOKEN_PATH"].endswith("/secrets/hf_token")
    refused = plan(extra_args="--api-key sk-123")["refused"]
    assert any("vllm_api_key" in reason and "sk-123" not in reason for reason in refused)
