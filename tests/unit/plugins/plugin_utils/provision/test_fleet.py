# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput
from ansible_collections.multigpu.vllm.plugins.plugin_utils.provision import fleet as subject

PLAN = "g2-gpu-rtx4000a4-m"
GROUP = {"name": "chat", "count": 2, "plan": PLAN, "regions": ["us-ord", "id-cgk"]}
PLANS = {PLAN: {"gpus": 4, "hourly_price": 3.57, "region_prices": {"id-cgk": 4.28}}}


def linode(label, tags=("multigpu-vllm",), price=3.57):
    return {
        "label": label,
        "tags": list(tags),
        "gpus": 4,
        "hourly_price": price,
        "status": "running",
        "region": "us-ord",
        "address": None,
        "type": PLAN,
    }


def listing(*instances):
    return {"instances": list(instances), "plans": PLANS, "cost": subject.cost(instances)}


def plan(groups, existing, max_hourly_price=None):
    return subject.plan_fleet(subject.expand(groups, "vllm"), "vllm", existing, max_hourly_price)


def test_expand_labels_have_prefix_group_and_number():
    nodes = subject.expand([GROUP, {**GROUP, "name": "embed", "count": 1, "regions": "us-sea"}], "vllm")

    assert [node["label"] for node in nodes] == ["vllm-chat-1", "vllm-chat-2", "vllm-embed-1"]
    assert nodes[2]["regions"] == ["us-sea"]
    assert nodes[0]["expected_gpus"] is None


def test_plan_fleet_for_empty_account():
    planned = plan([GROUP], listing())

    assert planned["create"] == ["vllm-chat-1", "vllm-chat-2"]
    # Priced in the most expensive region, because any may be chosen.
    assert planned["after"]["hourly"] == 8.56
    assert planned["lines"][0] == "Before: 0 nodes, 0 GPUs, 0.00 USD per hour, 0.00 USD per month."
    assert planned["lines"][2] == "After: 2 nodes, 8 GPUs, 8.56 USD per hour, 6248.80 USD per month."


def test_plan_fleet_creates_missing_and_lists_extra_nodes():
    planned = plan([GROUP], listing(linode("vllm-chat-1"), linode("vllm-old-1")))

    assert planned["create"] == ["vllm-chat-2"]
    assert [node["exists"] for node in planned["nodes"]] == [True, False]
    assert planned["extra"] == ["vllm-old-1"]
    assert planned["lines"][-1] == "Not in provision_fleet, but existing and billed: vllm-old-1."


def test_plan_fleet_node_limit_excludes_expensive_region():
    planned = plan([{**GROUP, "max_hourly_price": 4}], listing(), 7.14)

    assert planned["after"]["hourly"] == 7.14


def test_plan_fleet_hidden_plan_has_unknown_price():
    group = {**GROUP, "plan": "g3-gpu-rtxpro6000-blackwell-2"}
    planned = plan([group], listing())

    assert planned["after"]["gpus"] == 4
    assert "2 at an unknown price (vllm-chat-1, vllm-chat-2)" in planned["lines"][2]
    with pytest.raises(InvalidInput, match="reports no price for"):
        plan([group], listing(), 100)
    with pytest.raises(InvalidInput, match="costs unknown"):
        plan([{**group, "max_hourly_price": 9}], listing())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": ""}, "name must be"),
        ({"plan": None}, "plan must be"),
        ({"regions": []}, "regions must have at least one item"),
        ({"plan": "g9-quantum-4"}, "unknown Linode type 'g9-quantum-4'"),
        ({"plan": "g6-standard-4"}, "has no GPU"),
        ({"expected_gpus": 8}, "expects 8 GPUs, but g2-gpu-rtx4000a4-m has 4"),
        ({"count": -1}, "count must be between 0 and 1000, got -1"),
        ({"count": 0}, "at least one node"),
        ({"colour": "red"}, "must have only the keys name, count"),
        ({"name": "a b"}, "name must be"),
        ({"name": "a--b"}, "is invalid"),
        ({"max_hourly_price": "nan"}, "max_hourly_price must be greater than 0"),
    ],
)
def test_expand_refuses_invalid_group(changes, expected):
    with pytest.raises(InvalidInput) as caught:
        subject.expand([{**GROUP, **changes}], "vllm")
    assert expected in str(caught.value)


SERVER = {"name": "big", "count": 2, "plan": PLAN, "regions": ["us-ord"], "one_server": True}


def test_expand_one_server_gives_each_node_group_address_and_tag():
    nodes = subject.expand([{**SERVER, "count": 11}, {**GROUP, "count": 1}], "vllm", subnet="10.1.0.0/28")

    assert {node["vllm_group"] for node in nodes[:11]} == {"vllm-big"}
    assert [node["private_address"] for node in nodes] == [*(f"10.1.0.{last}" for last in range(2, 13)), ""]
    assert nodes[0]["tags"] == ["vllm_group:vllm-big"]
    assert (nodes[-1]["vllm_group"], nodes[-1]["tags"]) == ("", [])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"count": 1}, "count must be at least 2, got 1"),
        ({"regions": ["us-ord", "us-sea"]}, "regions must have exactly one item, got us-ord, us-sea"),
        ({"name": "a_b"}, "label 'vllm-a_b' is invalid: the label of a VPC must not have '_'"),
        ({"name": "b" * 40}, "tag 'vllm_group:vllm-bbb"),
        ({"count": 13}, "has 13 nodes, but 10.1.0.0/28 has 12 usable addresses"),
        ({"one_server": "maybe"}, "one_server must be true or false"),
    ],
)
def test_expand_refuses_invalid_server(changes, expected):
    with pytest.raises(InvalidInput) as caught:
        subject.expand([{**SERVER, **changes}], "vllm", subnet="10.1.0.0/28")
    assert expected in str(caught.value)


def test_plan_fleet_lists_the_groups_that_are_one_server():
    planned = plan([SERVER, GROUP], listing())

    assert planned["groups"] == [{"label": "vllm-big", "region": "us-ord"}]
    assert "One server: the 2 nodes of vllm-big, connected by the VPC vllm-big in us-ord." in planned["lines"]


def test_plan_fleet_refuses_linodes_outside_of_the_network_of_their_group():
    member = linode("vllm-big-1", tags=["multigpu-vllm", "vllm_group:vllm-big"])

    assert plan([SERVER], listing(member))["create"] == ["vllm-big-2"]
    with pytest.raises(InvalidInput, match="vllm-big-2: these Linodes exist outside of the private network"):
        plan([SERVER], listing(member, linode("vllm-big-2")))


def test_expand_leaves_the_gpu_count_of_an_unknown_family_to_the_api():
    (node,) = subject.expand([{**GROUP, "plan": "g4-gpu-l40-2", "expected_gpus": 4, "count": 1}], "vllm")
    assert node["expected_gpus"] == 4


def test_expand_refuses_duplicate_group():
    with pytest.raises(InvalidInput, match="listed twice"):
        subject.expand([GROUP, GROUP], "vllm")


def test_plan_fleet_enforces_fleet_limit():
    with pytest.raises(InvalidInput, match=r"would cost 8\.56 USD per hour; provision_max_hourly_price is 8\.00"):
        plan([GROUP], listing(), 8)
    # The price limit applies only if a node is created.
    current = listing(linode("vllm-chat-1"), linode("vllm-chat-2"))
    assert plan([GROUP], current, 1)["create"] == []


def test_plan_fleet_refuses_foreign_label():
    with pytest.raises(InvalidInput, match="do not belong to this fleet"):
        plan([GROUP], listing(linode("vllm-chat-1", tags=["theirs"])))


def test_fleet_report_of_ready_fleet():
    report = subject.fleet_report(listing(linode("vllm-chat-1")), "vllm", {"vllm-chat-1": ""})

    assert report["failed_because"] == ""
    assert report["lines"][0] == "Fleet vllm: 1 node, 4 GPUs, 3.57 USD per hour, 2606.10 USD per month."
    assert "no address" in report["lines"][1]


def test_fleet_report_of_failure_names_next_steps():
    report = subject.fleet_report(
        listing(linode("vllm-chat-1")), "vllm", {"vllm-chat-1": "", "vllm-chat-2": "no stock"}
    )

    assert report["lines"][0] == "vllm-chat-2: no stock"
    assert report["lines"][-1].endswith("-e provision_label_prefix=vllm -e provision_teardown_confirm=vllm")
    assert "1 node(s) are not ready: vllm-chat-2" in report["failed_because"]
