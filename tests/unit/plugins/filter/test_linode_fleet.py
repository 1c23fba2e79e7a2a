# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.filter import linode_fleet as subject

GROUP = {"name": "chat", "plan": "g2-gpu-rtx4000a4-m", "regions": ["us-ord"], "max_hourly_price": 1.0}
EMPTY = {"instances": [], "plans": {}, "cost": {"count": 0, "gpus": 0, "hourly": 0, "monthly": 0, "unpriced": []}}


def test_linode_fleet_plan_without_listing_ignores_prices():
    assert len(subject.linode_fleet_plan([GROUP], "vllm")["nodes"]) == 1
    with pytest.raises(AnsibleFilterError, match="at least one item"):
        subject.linode_fleet_plan([], "vllm")


def test_linode_fleet_plan_with_listing_checks_prices():
    refused = subject.linode_fleet_plan([GROUP], "vllm", "linode/ubuntu24.04", EMPTY, "5")["refused"]
    assert refused.endswith("max_hourly_price is 1.00.")
    cheap = {**GROUP, "max_hourly_price": None}
    assert subject.linode_fleet_plan([cheap], "vllm", None, EMPTY)["refused"] == ""


def test_linode_fleet_tag_refuses_invalid_prefix():
    assert subject.linode_fleet_tag("vllm") == "multigpu-vllm"
    with pytest.raises(AnsibleFilterError, match="is invalid"):
        subject.linode_fleet_tag("x" * 60)


def test_linode_fleet_report_without_failures():
    report = subject.FilterModule().filters()["linode_fleet_report"]
    assert report(EMPTY, "vllm")["failed_because"] == ""


def test_cloud_config_with_host_key():
    text = subject.cloud_config(
        {"package_upgrade": True, "runcmd": [["echo", "x"]]}, "-----BEGIN\nabc\n", "ssh-ed25519 AAA\n"
    )

    assert text.startswith("#cloud-config\n")
    assert yaml.safe_load(text) == {
        "package_upgrade": True,
        "runcmd": [["echo", "x"]],
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": "-----BEGIN\nabc\n", "ed25519_public": "ssh-ed25519 AAA"},
    }


def test_cloud_config_without_content_is_none():
    assert subject.cloud_config({}) is None
    assert subject.cloud_config(None) is None


def test_filter_module_registers_every_filter():
    assert set(subject.FilterModule().filters()) == {
        "linode_fleet_plan",
        "linode_fleet_tag",
        "linode_fleet_report",
        "cloud_config",
    }
