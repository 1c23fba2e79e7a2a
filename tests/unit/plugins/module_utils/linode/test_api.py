# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import GaveUp, Refused, Transient
from fake_linode import Reply
from faults import HTML, Fault, error


def test_all_pages_are_read_once_each(world):
    for number in range(1201):
        world.rival(label=f"n-{number}")

    found = world.api().instances()

    assert len(found) == 1201
    assert world.account.requests == [("GET", "/linode/instances")] * 3


def test_entry_that_moves_between_pages_is_listed_once(world):
    for number in range(600):
        world.rival(label=f"n-{number}")
    first = next(iter(world.account.instances))
    world.plan.faults.append(Fault("GET /linode/instances$", skip=1, meanwhile=lambda: world.rival(label="late")))

    found = world.api().instances()

    assert [item["id"] for item in found].count(first) == 1
    assert len(found) == 601


def test_label_is_compared_whatever_the_filter_lets_through(world):
    class Unfiltered:
        def send(self, *_request, **_options):
            return {"data": [{"id": 1, "label": "vllm-10"}, {"id": 2, "label": "vllm-1"}], "pages": 1}

    api = world.api()
    api._transport = Unfiltered()

    assert [item["id"] for item in api.instances_labelled("vllm-1")] == [2]


def test_plan_that_is_unknown_or_hidden_is_none(world):
    assert world.api().plan("g9-nothing") is None
    assert world.api().instance(12345) is None


def test_creating_is_one_attempt(world):
    world.plan.faults.append(Fault("POST", reply=error(502, "Bad Gateway")))

    with pytest.raises(Transient) as caught:
        world.api().create_instance({"label": "vllm-1", "type": "g2-gpu-rtx4000a4-m", "region": "us-ord"})

    assert caught.value.may_have_happened
    assert world.plan.struck == 1
    assert world.account.labels() == []


@pytest.mark.parametrize("reply", [Reply(200, {}), Reply(200, HTML), Reply(200, [1]), Reply(200, {"data": 1, "x": 2})])
def test_answer_that_is_not_the_apis_is_not_believed(world, reply):
    world.plan.faults.append(Fault("GET /linode/types/", times=9, reply=reply))

    with pytest.raises(GaveUp, match="3 attempts"):
        world.api().plan("g2-gpu-rtx4000a4-m")


def test_deletion_of_what_is_gone_is_fine(world):
    world.api().delete_instance(999)
    world.api().delete_firewall(999)


def test_boot_of_what_starts_already_is_fine(world):
    number = world.rival()["id"]
    world.plan.faults.append(Fault("POST .*/boot", reply=error(400, "Linode is already booted")))
    world.api().boot_instance(number)

    world.account.instances[number]["_status"] = "offline"
    world.plan.faults.append(Fault("POST .*/boot", reply=error(400, "No configuration profile")))
    with pytest.raises(Refused, match="No configuration profile"):
        world.api().boot_instance(number)


def test_boot_with_a_lost_answer_is_not_repeated(world):
    number = world.rival()["id"]
    world.account.instances[number]["_status"] = "offline"
    world.plan.faults.append(Fault("POST .*/boot", after=True, drop=True))

    world.api().boot_instance(number)

    assert world.account.writes() == [("POST", f"/linode/instances/{number}/boot")]


def test_firewall_that_is_attached_already_is_fine(world):
    api, number = world.api(), world.rival()["id"]
    firewall = api.create_firewall({"label": "fence", "rules": {}})["id"]
    api.attach_firewall(firewall, number)
    api.attach_firewall(firewall, number)

    assert [item["id"] for item in api.instance_firewalls(number)] == [firewall]
    world.plan.faults.append(Fault("POST .*/devices", reply=error(400, "Too many devices")))
    with pytest.raises(Refused, match="Too many devices"):
        api.attach_firewall(firewall, world.rival(label="other")["id"])
