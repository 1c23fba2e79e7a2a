# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import listing as subject


def test_select_requires_every_tag_and_the_prefix():
    instances = [
        {"label": "b-1", "tags": ["x", "y"]},
        {"label": "a-1", "tags": ["x", "y", "z"]},
        {"label": "a-2", "tags": ["x"]},
        {"label": "a-3"},
    ]

    assert [item["label"] for item in subject.select(instances, ["x", "y"], None)] == ["a-1", "b-1"]
    assert [item["label"] for item in subject.select(instances, None, "a-")] == ["a-1", "a-2", "a-3"]


def test_select_compares_numbers_in_labels_as_numbers():
    labels = ["big-10", "big-2", "1-a", "big-x", "big-1"]

    assert [item["label"] for item in subject.select([{"label": label} for label in labels], None, None)] == [
        "1-a",
        "big-1",
        "big-2",
        "big-10",
        "big-x",
    ]


def test_list_fleet_reads_the_vpc_addresses_of_groups_with_one_request(world):
    for number in (1, 2):
        interfaces = [{"purpose": "vpc", "subnet_id": 9, "ipv4": {"vpc": f"10.0.0.{number + 1}"}}]
        world.create_by_other(label=f"vllm-{number}", tags=["vllm_group:big"], interfaces=interfaces)
    world.create_by_other(label="vllm-3")

    instances = subject.list_fleet(world.api(), None, None)["instances"]

    assert [item["vpc_address"] for item in instances] == ["10.0.0.2", "10.0.0.3", None]
    assert [subject.group_of(item) for item in instances] == ["big", "big", ""]
    assert [path for _method, path in world.account.requests] == ["/linode/types", "/linode/instances", "/vpcs/ips"]


def test_list_fleet_prefers_the_vpc_address_in_use(world, monkeypatch):
    number = world.create_by_other(label="vllm-1", tags=["vllm_group:big"])["id"]
    api = world.api()
    entries = [{"linode_id": number, "address": f"10.0.{net}.2", "active": net == 1} for net in (0, 1, 2)]
    monkeypatch.setattr(api, "vpc_addresses", lambda: entries)

    assert subject.list_fleet(api, None, None)["instances"][0]["vpc_address"] == "10.0.1.2"


def test_list_fleet_returns_instances_cost_and_plans(world):
    world.create_by_other(label="vllm-1", tags=["vllm", "eu-1"])
    world.create_by_other(label="vllm-2", tags=["vllm"], region="id-cgk")
    world.create_by_other(label="vllm-3", tags=["vllm"], type="g3-gpu-rtxpro6000-blackwell-2")
    world.create_by_other(label="other")

    listing = subject.list_fleet(world.api(), ["vllm"], "vllm-")

    assert [item["label"] for item in listing["instances"]] == ["vllm-1", "vllm-2", "vllm-3"]
    assert listing["cost"] == {"count": 3, "gpus": 10, "hourly": 7.854, "monthly": 5733.42, "unpriced": ["vllm-3"]}
    assert listing["plans"]["g2-gpu-rtx4000a4-m"] == {
        "gpus": 4,
        "hourly_price": 3.57,
        "region_prices": {"id-cgk": 4.284},
    }
    assert "g6-standard-4" not in listing["plans"]
    assert len(world.account.requests) == 2


def test_cost_of_no_instances_is_zero():
    assert subject.cost([]) == {"count": 0, "gpus": 0, "hourly": 0, "monthly": 0, "unpriced": []}


def test_list_account_returns_all_instances(world):
    world.create_by_other(label="gpu")
    world.create_by_other(label="plain", type="g6-standard-4")

    assert [(item["label"], item["gpus"]) for item in subject.list_account(world.api())] == [("gpu", 4), ("plain", 0)]
