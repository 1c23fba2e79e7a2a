# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import base64

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import request as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0m2qyTfHhXSzDLh4DWeyMQpCWdRzVYZ0W0aQ9LlmBT alice"
MINIMAL = {"label": "vllm-1", "type": "g2-gpu-rtx4000a4-m", "region": ["us-ord"]}
TYPICAL = {**MINIMAL, "image": "linode/ubuntu24.04", "authorized_keys": [KEY]}


def body(**changes):
    return subject.instance_request({**TYPICAL, **changes}).body("us-ord")


def test_body_omits_unset_options():
    assert subject.instance_request(MINIMAL).body("us-sea") == {
        "label": "vllm-1",
        "type": "g2-gpu-rtx4000a4-m",
        "region": "us-sea",
    }


def test_body_has_all_options():
    payload = body(
        root_pass="kR7w-uYf2mXe9_aQ4.tBn6",
        authorized_users=["alice"],
        user_data="#cloud-config\n",
        firewall_id=7,
        placement_group_id=4,
        tags=["vllm", "vllm", "europe"],
        private_ip=True,
        disk_encryption="enabled",
        vpc_subnet_id=12,
        vpc_address="10.0.0.2",
    )

    assert base64.b64decode(payload["metadata"]["user_data"]) == b"#cloud-config\n"
    assert payload["placement_group"] == {"id": 4}
    assert payload["tags"] == ["vllm", "europe"]
    assert payload["interfaces"] == [
        {"purpose": "vpc", "subnet_id": 12, "primary": True, "ipv4": {"nat_1_1": "any", "vpc": "10.0.0.2"}}
    ]
    assert payload["private_ip"] is True
    assert payload["authorized_keys"] == [KEY]


def test_body_normalises_type():
    assert body(type=" G2-GPU-RTX4000A4-M ")["type"] == "g2-gpu-rtx4000a4-m"


def test_body_interface_omits_unset_keys():
    interfaces = [{"purpose": "vpc", "subnet_id": 3, "label": None, "ipv4": {"vpc": None, "nat_1_1": "any"}}]

    assert body(interfaces=interfaces)["interfaces"] == [{"purpose": "vpc", "subnet_id": 3, "ipv4": {"nat_1_1": "any"}}]


def test_repr_hides_secrets():
    request = subject.instance_request({**TYPICAL, "root_pass": "kR7w-uYf2mXe9_aQ4.tBn6", "user_data": "secret-data"})

    assert "kR7w" not in repr(request)
    assert "secret-data" not in repr(request)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"label": "ab"}, "label 'ab'"),
        ({"label": "x" * 65}, "3 to 64"),
        ({"label": "1abc"}, "start with a letter"),
        ({"label": "abc-"}, "end with a letter"),
        ({"label": "a..b"}, "not have two"),
        ({"label": "a b c"}, "is invalid"),
        ({"type": None}, "type ''"),
        ({"type": "g2/../x"}, "not an id"),
        ({"region": None}, "at least one region"),
        ({"region": ["US ORD"]}, "region 'US ORD'"),
        ({"tags": ["ab"]}, "tag 'ab'"),
        ({"tags": ["a,bc"]}, "no commas"),
        ({"authorized_keys": ["x"]}, "not a public SSH key"),
        ({"authorized_keys": []}, "would have no login"),
        ({"image": None}, "need an image"),
        ({"image": None, "authorized_keys": [], "user_data": "x"}, "need an image"),
        ({"user_data": "é" * 40_000}, "80000 bytes"),
        ({"root_pass": "short"}, "root_pass would be refused"),
        ({"firewall_id": 0}, "firewall_id must be finite and greater than 0"),
        ({"placement_group_id": -1}, "placement_group_id must be finite and greater than 0, got -1"),
        *(({"max_hourly_price": float(price)}, "max_hourly_price must be finite") for price in ("0", "nan", "inf")),
        ({"expected_gpus": -1}, "must be 0 or more"),
        ({"interfaces": [{"purpose": "vpc"}]}, "needs subnet_id"),
        ({"interfaces": [{"purpose": "vlan"}]}, "needs label"),
        ({"interfaces": [{"purpose": "public"}] * 4}, "the maximum is 3"),
    ],
)
def test_instance_request_refuses_invalid_option(changes, expected):
    with pytest.raises(InvalidInput) as caught:
        body(**changes)
    assert expected in str(caught.value)


def test_instance_request_may_allow_no_login():
    request = subject.instance_request({**TYPICAL, "authorized_keys": []}, allow_no_login=True)

    assert request.image
