# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

pytest.importorskip("linode_api4")

from ansible_collections.multigpu.vllm.plugins.modules import linode_instance

VALID = {
    "label": "vllm-1",
    "type": "g2-gpu-rtx4000a4-m",
    "region": ["us-ord"],
    "image": "linode/ubuntu24.04",
    "authorized_users": ["alice"],
}


@pytest.fixture
def play(run_linode):
    def run(**options):
        return run_linode(linode_instance, {**VALID, **options})

    return run


@pytest.mark.parametrize("missing", ["type", "region"])
def test_present_requires_type_and_region(play, missing):
    code, result = play(**{missing: None})
    assert code == 1
    assert missing in result["msg"]


def test_interfaces_and_vpc_subnet_id_are_mutually_exclusive(play):
    _code, result = play(vpc_subnet_id=1, interfaces=[{"purpose": "public"}])
    assert "mutually exclusive" in result["msg"]


@pytest.mark.parametrize("secret", ["root_pass", "user_data"])
def test_failure_hides_secrets(play, secret):
    code, result = play(**{secret: "kR7w-uYf2mXe9_aQ4.tBn6", "label": "not valid"})
    assert code == 1
    assert "kR7w" not in json.dumps(result)


def test_vpc_address_requires_vpc_subnet_id(play):
    _code, result = play(vpc_address="10.0.0.2")
    assert "missing parameter(s) required by 'vpc_address': vpc_subnet_id" in result["msg"]
