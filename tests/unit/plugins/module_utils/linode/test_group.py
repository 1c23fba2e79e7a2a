# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import group as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import Drift, InvalidInput, NotOurs, Refused
from faults import Fault, error

OWNER = "multigpu-vllm"
OPTIONS = {"label": "vllm-big", "region": "us-ord", "subnet": "10.0.0.0/24", "placement": "none", "owner_tag": OWNER}
APART = "anti_affinity:local"


def present(world, check_mode=False, **options):
    return subject.present(world.api(), {**OPTIONS, **options}, check_mode)


def absent(world, check_mode=False, **options):
    return subject.absent(world.api(), {"label": None, "owner_tag": OWNER, **options}, check_mode)


def add_vpc(world, label="vllm-big", description=""):
    body = {"label": label, "region": "us-ord", "description": description}
    return world.fake.add_vpc(world.account, {**body, "subnets": [{"label": "inner", "ipv4": "10.0.0.0/24"}]})


def test_present_creates_vpc_with_subnet_once(world):
    first = present(world)
    world.account.requests.clear()
    again = present(world)

    (vpc,) = world.account.vpcs.values()
    assert (vpc["label"], vpc["region"], vpc["description"]) == ("vllm-big", "us-ord", OWNER)
    assert [subnet["ipv4"] for subnet in vpc["subnets"]] == ["10.0.0.0/24"]
    assert (first["changed"], again["changed"]) == (True, False)
    assert first["group"] == again["group"]
    assert first["group"]["subnet_id"] == vpc["subnets"][0]["id"]
    assert world.account.writes() == []


def test_present_check_mode_shows_the_network_and_only_reads(world):
    result = present(world, check_mode=True, placement=APART)

    assert (result["changed"], result["group"], result["diff"]["before"]) == (True, None, {})
    expected = {"label": "vllm-big", "region": "us-ord", "subnet": "10.0.0.0/24", "placement": APART}
    assert result["diff"]["after"] == expected
    assert world.account.writes() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"region": "us-sea"}, "exists in us-ord"), ({"subnet": "10.1.0.0/24"}, "with the subnets 10.0.0.0/24")],
)
def test_present_never_changes_an_existing_vpc(world, changes, expected):
    present(world)
    world.account.requests.clear()

    with pytest.raises(Drift, match=expected):
        present(world, **changes)
    assert world.account.writes() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"label": "vllm_big"}, "must not have '_'"),
        ({"label": "x--y"}, "not have two"),
        ({"subnet": "x"}, "must be a private IPv4 network"),
        ({"subnet": "10.0.0.1/24"}, "got '10.0.0.1/24'"),
        ({"subnet": "10.0.0.0/30"}, "8 or more addresses"),
        ({"subnet": "203.0.113.0/24"}, "must be a private"),
        ({"subnet": "192.168.0.0/16"}, "outside of 192.168.128.0/17"),
        ({"subnet": "fd00::/64"}, "must be a private IPv4"),
    ],
)
def test_present_invalid_option_sends_no_request(world, changes, expected):
    with pytest.raises(InvalidInput, match=expected):
        present(world, **changes)
    assert world.account.requests == []


@pytest.mark.parametrize("description", ["", "multigpu-other"])
def test_vpc_of_someone_else_is_neither_used_nor_deleted(world, description):
    add_vpc(world, description=description)

    with pytest.raises(NotOurs, match="exists without the description multigpu-vllm"):
        present(world)
    with pytest.raises(NotOurs, match="add the description to it"):
        absent(world, label="vllm-big")
    assert not absent(world)["changed"]
    assert world.account.writes() == []


def test_absent_deletes_all_vpcs_of_the_owner(world):
    present(world)
    present(world, label="vllm-small")
    foreign = add_vpc(world, "other", "multigpu-other")

    assert absent(world, check_mode=True)["diff"]["before"] == {"labels": ["vllm-big", "vllm-small"]}
    assert len(world.account.vpcs) == 3
    assert absent(world, label="vllm-small")["changed"]
    assert absent(world)["changed"]
    assert list(world.account.vpcs) == [foreign["id"]]


def test_absent_without_owner_deletes_nothing(world):
    add_vpc(world)

    with pytest.raises(InvalidInput, match="tag '' is invalid"):
        absent(world, owner_tag="")
    assert world.account.requests == []


def test_absent_keeps_a_vpc_with_linodes(world):
    subnet_id = present(world)["group"]["subnet_id"]
    linode = world.create_by_other(interfaces=[{"purpose": "vpc", "subnet_id": subnet_id}])

    with pytest.raises(Drift, match=f"still has the Linodes {linode['id']}"):
        absent(world)
    assert len(world.account.vpcs) == 1


def test_absent_deletes_nothing_if_one_of_several_placement_groups_is_in_use(world):
    present(world, placement=APART)
    second = present(world, label="vllm-small", placement=APART)["group"]
    world.create_by_other(placement_group={"id": second["placement_group_id"]})

    with pytest.raises(Drift, match="placement group vllm-small"):
        absent(world)
    assert len(world.account.vpcs) == len(world.account.placement_groups) == 2


def test_absent_after_lost_response_succeeds(world):
    present(world)
    world.plan.faults.append(Fault("DELETE /vpcs", after=True, reply=error(502, "Bad Gateway")))

    assert absent(world)["changed"]
    assert world.account.vpcs == {}


def test_present_creates_placement_group_once(world):
    network = present(world)
    checked = present(world, check_mode=True, placement=APART)
    assert world.account.placement_groups == {}
    first = present(world, placement=APART)
    world.account.requests.clear()
    again = present(world, placement=APART)

    (group,) = world.account.placement_groups.values()
    assert group["label"] == f"vllm-big-{network['group']['vpc_id']}"
    assert (group["region"], group["placement_group_policy"]) == ("us-ord", "strict")
    assert [result["changed"] for result in (checked, first, again)] == [True, True, False]
    assert checked["diff"]["before"]["placement"] == "none"
    assert first["group"]["placement_group_id"] == again["group"]["placement_group_id"] == group["id"]
    assert again["diff"]["before"] == again["diff"]["after"]
    assert world.account.writes() == []


def test_present_type_that_the_api_refuses_is_reported(world):
    with pytest.raises(Refused, match="placement_group_type: Must be one of anti_affinity:local"):
        present(world, placement="affinity:local")


def test_present_never_changes_the_type_of_a_placement_group(world):
    present(world, placement=APART)

    with pytest.raises(Drift, match="has the type anti_affinity:local, not affinity:local"):
        present(world, placement="affinity:local")


def test_absent_deletes_only_the_placement_group_of_the_vpc(world):
    first = present(world, placement=APART)["group"]
    other = {"label": "vllm-big-1", "region": "us-ord", "placement_group_type": APART}
    world.account.placement_groups[9] = {**other, "id": 9}
    member = world.create_by_other(placement_group={"id": first["placement_group_id"]})
    with pytest.raises(Drift, match=f"placement group .* still has the Linodes {member['id']}"):
        absent(world)
    del world.account.instances[member["id"]]
    world.plan.faults.append(Fault("DELETE /placement", after=True, reply=error(502, "Bad Gateway")))

    assert absent(world)["changed"]
    assert list(world.account.placement_groups) == [9]
    assert world.account.vpcs == {}
