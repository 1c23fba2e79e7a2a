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


def test_labels_say_fleet_group_and_number():
    nodes = subject.expand([GROUP, {**GROUP, "name": "embed", "count": 1, "regions": "us-sea"}], "vllm")

    assert [node["label"] for node in nodes] == ["vllm-chat-1", "vllm-chat-2", "vllm-embed-1"]
    assert nodes[2]["regions"] == ["us-sea"]
    assert nodes[0]["expected_gpus"] is None


def test_empty_account():
    plan = subject.plan_fleet([GROUP], "vllm", listing())

    assert plan["create"] == ["vllm-chat-1", "vllm-chat-2"]
    # Counted in the dearest region, because any may be chosen.
    assert plan["after"]["hourly"] == 8.56
    assert plan["lines"][0] == "Before: 0 nodes, 0 GPUs, 0.00 USD an hour, 0.00 USD a month."
    assert plan["lines"][2] == "After: 2 nodes, 8 GPUs, 8.56 USD an hour, 6248.80 USD a month."


def test_only_what_is_missing_is_created_and_what_is_left_over_is_named():
    plan = subject.plan_fleet([GROUP], "vllm", listing(linode("vllm-chat-1"), linode("vllm-old-1")))

    assert plan["create"] == ["vllm-chat-2"]
    assert [node["exists"] for node in plan["nodes"]] == [True, False]
    assert plan["extra"] == ["vllm-old-1"]
    assert plan["lines"][-1] == "Not asked for, but there, and paid for: vllm-old-1."


def test_limit_of_a_node_leaves_the_dear_region_out_of_the_count():
    plan = subject.plan_fleet([{**GROUP, "max_hourly_price": 4}], "vllm", listing(), limit=7.14)

    assert plan["after"]["hourly"] == 7.14


def test_plan_that_the_catalogue_hides_has_an_unknown_price():
    group = {**GROUP, "plan": "g3-gpu-rtxpro6000-blackwell-2"}
    plan = subject.plan_fleet([group], "vllm", listing())

    assert plan["after"]["gpus"] == 4
    assert "2 at an unknown price (vllm-chat-1, vllm-chat-2)" in plan["lines"][2]
    with pytest.raises(InvalidInput, match="does not say what"):
        subject.plan_fleet([group], "vllm", listing(), limit=100)
    with pytest.raises(InvalidInput, match="costs unknown"):
        subject.plan_fleet([{**group, "max_hourly_price": 9}], "vllm", listing())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": ""}, "lacks name"),
        ({"plan": None}, "lacks plan"),
        ({"regions": []}, "lacks regions"),
        ({"plan": "g9-quantum-4"}, "unknown Linode type 'g9-quantum-4'"),
        ({"plan": "g6-standard-4"}, "has no GPU"),
        ({"expected_gpus": 8}, "expects 8 GPUs, but g2-gpu-rtx4000a4-m has 4"),
        ({"count": -1}, "has the count -1"),
        ({"count": 0}, "asks for no node"),
        ({"colour": "red"}, "unknown keys colour"),
        ({"name": "a b"}, "is not valid"),
    ],
)
def test_groups_that_cannot_be_built(changes, says):
    with pytest.raises(InvalidInput) as caught:
        subject.expand([{**GROUP, **changes}], "vllm")
    assert says in str(caught.value)


def test_group_twice():
    with pytest.raises(InvalidInput, match="occurs twice"):
        subject.expand([GROUP, GROUP], "vllm")


def test_limit_of_the_fleet():
    with pytest.raises(InvalidInput, match=r"would cost 8\.56 USD an hour; its limit is 8\.00"):
        subject.plan_fleet([GROUP], "vllm", listing(), limit=8)
    # Nothing is created, so nothing is refused.
    there = listing(linode("vllm-chat-1"), linode("vllm-chat-2"))
    assert subject.plan_fleet([GROUP], "vllm", there, limit=1)["create"] == []


def test_label_of_somebody_else():
    with pytest.raises(InvalidInput, match="not of this fleet"):
        subject.plan_fleet([GROUP], "vllm", listing(linode("vllm-chat-1", tags=["theirs"])))


def test_report_of_a_fleet_that_is_ready():
    told = subject.report("vllm", listing(linode("vllm-chat-1")), {"vllm-chat-1": ""})

    assert told["failed_because"] == ""
    assert told["lines"][0] == "Fleet vllm: 1 nodes, 4 GPUs, 3.57 USD an hour, 2606.10 USD a month."
    assert "no address" in told["lines"][1]


def test_report_of_a_failure_names_the_ways_on():
    told = subject.report("vllm", listing(linode("vllm-chat-1")), {"vllm-chat-1": "", "vllm-chat-2": "no stock"})

    assert told["lines"][0] == "vllm-chat-2: no stock"
    assert told["lines"][-1].endswith("-e provision_label_prefix=vllm -e teardown_confirm=vllm")
    assert "1 node(s) are not ready: vllm-chat-2" in told["failed_because"]
