# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a driver installation as a task receives it."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.action.gpu_host_plan import ActionModule
from ansible_collections.multigpu.vllm.plugins.modules import gpu_host_plan as documentation

HOST = {"distribution": "Debian", "distribution_version": "12.11", "kernel": "6.1.0-37-amd64"}
DRIVER = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release Build"


def test_driver_of_the_branch_is_right(run_action: t.Any) -> None:
    assert run_action(ActionModule, {**HOST, "driver_text": DRIVER})["plan"]["driver"] == "right"
    replaced = run_action(ActionModule, {**HOST, "driver_text": DRIVER, "branch": 575, "packages": ["nvidia-open"]})[
        "plan"
    ]
    assert replaced["driver"] == "replace"
    assert "gpu_host_replace_driver: true" in replaced["refused"][0]


def test_plan_has_the_documented_keys(run_action: t.Any) -> None:
    result = run_action(ActionModule, HOST)
    assert result["changed"] is False
    assert set(result["plan"]) == set(yaml.safe_load(documentation.RETURN)["plan"]["contains"])


def test_branch_and_switch_may_be_text(run_action: t.Any) -> None:
    plan = run_action(ActionModule, {**HOST, "branch": "575", "replace": "false"})["plan"]
    assert plan["install"] == ["nvidia-driver-pinning-575", "nvidia-open"]


@pytest.mark.parametrize(
    ("image", "words"), [("linode/debian12", None), ("private/123", None), ("linode/debian11", "linode/debian12")]
)
def test_image_is_refused_if_its_distribution_is_not_supported(
    run_action: t.Any, image: str, words: str | None
) -> None:
    refused = run_action(ActionModule, {"image": image})["plan"]["refused"]
    assert [words in reason for reason in refused] == ([True] if words else [])


@pytest.mark.parametrize("options", [{}, {**HOST, "image": "linode/debian12"}, {"kernel": "6.1"}])
def test_host_or_image_is_required(run_action: t.Any, options: dict[str, str]) -> None:
    with pytest.raises(AnsibleActionFail):
        run_action(ActionModule, options)
