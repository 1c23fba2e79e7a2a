# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import base64

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import request as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0m2qyTfHhXSzDLh4DWeyMQpCWdRzVYZ0W0aQ9LlmBT alice"
LEAST = {"label": "vllm-1", "type": "g2-gpu-rtx4000a4-m", "region": ["us-ord"]}
USUAL = {**LEAST, "image": "linode/ubuntu24.04", "authorized_keys": [KEY]}


def body(**changes):
    return subject.instance_request({**USUAL, **changes}).body("us-ord")


def test_body_says_only_what_was_asked_for():
    assert subject.instance_request(LEAST).body("us-sea") == {
        "label": "vllm-1",
        "type": "g2-gpu-rtx4000a4-m",
        "region": "us-sea",
    }


def test_body_of_everything():
    made = body(
        root_pass="kR7w-uYf2mXe9_aQ4.tBn6",
        authorized_users=["alice"],
        user_data="#cloud-config\n",
        firewall_id=7,
        placement_group=4,
        tags=["vllm", "vllm", "europe"],
        private_ip=True,
        disk_encryption="enabled",
        vpc_subnet_id=12,
    )

    assert base64.b64decode(made["metadata"]["user_data"]) == b"#cloud-config\n"
    assert made["placement_group"] == {"id": 4}
    assert made["tags"] == ["vllm", "europe"]
    assert made["interfaces"] == [{"purpose": "vpc", "subnet_id": 12, "primary": True, "ipv4": {"nat_1_1": "any"}}]
    assert made["private_ip"] is True
    assert made["authorized_keys"] == [KEY]


def test_type_is_written_as_the_api_writes_it():
    assert body(type=" G2-GPU-RTX4000A4-M ")["type"] == "g2-gpu-rtx4000a4-m"


def test_interfaces_lose_what_was_not_given():
    given = [{"purpose": "vpc", "subnet_id": 3, "label": None, "ipv4": {"vpc": None, "nat_1_1": "any"}}]

    assert body(interfaces=given)["interfaces"] == [{"purpose": "vpc", "subnet_id": 3, "ipv4": {"nat_1_1": "any"}}]


def test_secrets_are_not_in_the_representation():
    request = subject.instance_request({**USUAL, "root_pass": "kR7w-uYf2mXe9_aQ4.tBn6", "user_data": "secret-data"})

    assert "kR7w" not in repr(request)
    assert "secret-data" not in repr(request)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"label": "ab"}, "label 'ab'"),
        ({"label": "x" * 65}, "3 to 64"),
        ({"label": "1abc"}, "beginning with a letter"),
        ({"label": "abc-"}, "ending with a letter"),
        ({"label": "a..b"}, "without two"),
        ({"label": "a b c"}, "is not valid"),
        ({"type": None}, "type ''"),
        ({"type": "g2/../x"}, "not an id"),
        ({"region": None}, "region is empty"),
        ({"region": ["US ORD"]}, "region 'US ORD'"),
        ({"tags": ["ab"]}, "tag 'ab'"),
        ({"tags": ["a,bc"]}, "without commas"),
        ({"authorized_keys": ["x"]}, "not a public SSH key"),
        ({"authorized_keys": []}, "Nobody could log in"),
        ({"image": None}, "need an image"),
        ({"image": None, "authorized_keys": [], "user_data": "x"}, "need an image"),
        ({"user_data": "é" * 40_000}, "80000 bytes"),
        ({"root_pass": "short"}, "root_pass is not accepted"),
        ({"firewall_id": 0}, "firewall_id is 0"),
        ({"placement_group": -1}, "placement_group is -1"),
        ({"max_hourly_price": 0}, "max_hourly_price is 0"),
        ({"expected_gpus": -1}, "cannot be negative"),
        ({"interfaces": [{"purpose": "vpc"}]}, "needs subnet_id"),
        ({"interfaces": [{"purpose": "vlan"}]}, "needs label"),
        ({"interfaces": [{"purpose": "public"}] * 4}, "at most 3"),
    ],
)
def test_what_cannot_be_right_is_refused(changes, says):
    with pytest.raises(InvalidInput) as caught:
        body(**changes)
    assert says in str(caught.value)


def test_password_that_is_still_to_come_is_a_way_in():
    request = subject.instance_request({**USUAL, "authorized_keys": []}, may_lock_out=True)

    assert request.image
