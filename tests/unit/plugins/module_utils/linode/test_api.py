# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import itertools

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import Refused, RetriesExhausted, Transient
from fake_linode import Reply
from faults import HTML, Fault, error


def test_list_reads_every_page_once(world):
    for number in range(1201):
        world.create_by_other(label=f"n-{number}")

    assert len(world.api().instances()) == 1201
    assert world.account.requests == [("GET", "/linode/instances")] * 3


def test_list_entry_moved_between_pages_appears_once(world):
    for number in range(600):
        world.create_by_other(label=f"n-{number}")
    first = next(iter(world.account.instances))
    world.plan.faults.append(
        Fault("GET /linode/instances$", skip=1, meanwhile=lambda: world.create_by_other(label="late"))
    )

    ids = [instance["id"] for instance in world.api().instances()]

    assert ids.count(first) == 1
    assert len(ids) == 601


def test_instances_labelled_ignores_other_labels(world):
    class Unfiltered:
        def send(self, *_request, **_options):
            fields = {"type": "g2-gpu-rtx4000a4-m", "region": "us-ord", "status": "running", "tags": []}
            labels = {1: "vllm-10", 2: "vllm-1"}
            return {"data": [{**fields, "id": number, "label": label} for number, label in labels.items()], "pages": 1}

    api = world.api()
    api._transport = Unfiltered()

    assert [item["id"] for item in api.instances_labelled("vllm-1")] == [2]


def test_unknown_plan_or_instance_is_none(world):
    assert world.api().plan("g9-nothing") is None
    assert world.api().instance(12345) is None


def test_create_instance_makes_one_attempt(world):
    world.plan.faults.append(Fault("POST", reply=error(502, "Bad Gateway")))

    with pytest.raises(Transient) as caught:
        world.api().create_instance({"label": "vllm-1", "type": "g2-gpu-rtx4000a4-m", "region": "us-ord"})

    assert caught.value.may_have_happened
    assert world.plan.struck == 1
    assert world.account.labels() == []


@pytest.mark.parametrize("reply", [Reply(200, {}), Reply(200, HTML), Reply(200, [1]), Reply(200, {"data": 1, "x": 2})])
def test_response_of_a_proxy_is_rejected(world, reply):
    world.plan.faults.append(Fault("GET /linode/types/", times=9, reply=reply))

    with pytest.raises(RetriesExhausted, match="3 attempts"):
        world.api().plan("g2-gpu-rtx4000a4-m")


def test_list_that_becomes_shorter_ends_with_its_last_page(world):
    for number in range(501):
        world.create_by_other(label=f"n-{number}")
    last = max(world.account.instances)
    world.plan.faults.append(
        Fault("GET /linode/instances$", skip=1, meanwhile=lambda: world.account.instances.pop(last))
    )

    assert len(world.api().instances()) == 500


def test_list_without_end_is_rejected(world):
    pages = itertools.count(1)
    entry = {**world.create_by_other(), "tags": []}

    class Endless:
        def send(self, *_request, **_options):
            page = next(pages)
            return {"data": [{**entry, "id": page}], "pages": page + 1}

    api = world.api()
    api._transport = Endless()

    with pytest.raises(RetriesExhausted, match="pages must be an integer from 0 to 100"):
        api.instances()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"data": [{"id": 1}], "pages": 1}, "data[0].label must be a printable string, got None"),
        ({"data": [], "pages": 10**9}, "pages must be an integer from 0 to 100, got 1000000000"),
        ({"data": []}, "pages must be an integer from 0 to 100, got None"),
    ],
)
def test_invalid_list_is_reported_with_request_and_field(world, body, problem):
    world.plan.faults.append(Fault("GET /linode/instances$", times=9, reply=Reply(200, body)))

    with pytest.raises(RetriesExhausted) as caught:
        world.api().instances()
    expected = f"GET /linode/instances?page=1&page_size=500: the response is invalid: {problem}."
    assert str(caught.value) == f"Gave up after 3 attempts: {expected}"


def test_response_for_another_object_is_rejected(world):
    """A cache in front of the API may confuse objects."""
    first, second = world.create_by_other()["id"], world.create_by_other(label="vllm-2")["id"]
    world.plan.faults.append(Fault("GET", times=9, alter=lambda reply: reply.body.update(id=second)))

    with pytest.raises(RetriesExhausted, match=f"id must be {first}, got {second}"):
        world.api().instance(first)


def test_delete_missing_object_succeeds(world):
    world.api().delete_instance(999, pytest.fail)
    world.api().delete_firewall(999, pytest.fail)


def test_boot_refused_while_starting_succeeds(world):
    number = world.create_by_other()["id"]
    world.plan.faults.append(Fault("POST .*/boot", reply=error(400, "Linode is already booted")))
    world.api().boot_instance(number)

    world.account.instances[number]["_status"] = "offline"
    world.plan.faults.append(Fault("POST .*/boot", reply=error(400, "No configuration profile")))
    with pytest.raises(Refused, match="No configuration profile"):
        world.api().boot_instance(number)


def test_boot_with_lost_response_is_not_repeated(world):
    number = world.create_by_other()["id"]
    world.account.instances[number]["_status"] = "offline"
    world.plan.faults.append(Fault("POST .*/boot", after=True, drop=True))

    world.api().boot_instance(number)

    assert world.account.writes() == [("POST", f"/linode/instances/{number}/boot")]


def test_attach_firewall_twice_succeeds(world):
    api, number = world.api(), world.create_by_other()["id"]
    firewall = api.create_firewall({"label": "fence", "rules": {}})["id"]
    api.attach_firewall(firewall, number)
    api.attach_firewall(firewall, number)

    assert [item["id"] for item in api.instance_firewalls(number)] == [firewall]
    world.plan.faults.append(Fault("POST .*/devices", reply=error(400, "Too many devices")))
    with pytest.raises(Refused, match="Too many devices"):
        api.attach_firewall(firewall, world.create_by_other(label="other")["id"])
