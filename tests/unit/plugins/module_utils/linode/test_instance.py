# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import (
    Drift,
    InvalidInput,
    LinodeError,
    NotOurs,
    NotReady,
    OutcomeUnknown,
    OutOfStock,
    RetriesExhausted,
    Unauthorized,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.instance import Provisioner, summary
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.request import InstanceRequest
from fake_linode import Reply
from faults import HTML, Fault, error

CREATE = "POST /linode/instances$"
LOOK = "GET /linode/instances$"
POLL = r"GET /linode/instances/\d+$"


def instance_request(**changes):
    values = {
        "label": "vllm-1",
        "type": "g2-gpu-rtx4000a4-m",
        "regions": ("us-ord",),
        "image": "linode/ubuntu24.04",
        "further": {"authorized_users": ["alice"]},
        "tags": ("vllm",),
        **changes,
    }
    return InstanceRequest(**values)


def present(world, budget=600.0, check_mode=False, wait=True, generate=False, **changes):
    provisioner = Provisioner(world.api(budget), check_mode)
    world.result = provisioner.result
    provisioner.present(instance_request(**changes), wait, generate)
    return provisioner.result


def absent(world, budget=600.0, check_mode=False, **options):
    provisioner = Provisioner(world.api(budget), check_mode)
    provisioner.absent("vllm-1", **options)
    return provisioner.result


def failure(call, *arguments, **options):
    with pytest.raises(LinodeError) as caught:
        call(*arguments, **options)
    return caught.value


def test_present_creates_one_running_linode(world):
    result = present(world)

    assert result.changed
    assert world.account.labels() == ["vllm-1"]
    assert result.instance["status"] == "running"
    assert (result.instance["gpus"], result.instance["hourly_price"]) == (4, 3.57)
    assert [step["status"] for step in result.history] == ["provisioning", "booting", "running"]
    assert result.before == {}
    assert result.after["state"] == "present"


def test_present_second_run_changes_nothing(world):
    present(world)
    world.account.requests.clear()

    result = present(world)

    assert not result.changed
    assert result.before == result.after
    assert world.account.writes() == []


def test_present_check_mode_only_reads(world):
    result = present(world, check_mode=True)

    assert result.changed
    assert result.instance is None
    assert result.after["hourly_price"] == 3.57
    assert world.account.writes() == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(CREATE, after=True, reply=error(502, "Bad Gateway")),
        Fault(CREATE, after=True, reply=Reply(502, HTML)),
        Fault(CREATE, after=True, reply=error(408, "Request Timeout")),
        Fault(CREATE, after=True, reply=error(500, "Internal")),
        Fault(CREATE, after=True, reply=error(503, "Unavailable")),
        Fault(CREATE, after=True, reply=error(504, "Gateway Timeout")),
        Fault(CREATE, after=True, reply=Reply(200, HTML)),
        Fault(CREATE, after=True, reply=Reply(200, {})),
        Fault(CREATE, after=True, reply=Reply(200, [])),
        Fault(CREATE, after=True, reply=Reply(502, {"errors": ["text"]})),
        Fault(CREATE, after=True, drop=True),
        Fault(CREATE, after=True, stall=1),
        Fault(CREATE, truncate=True),
    ],
)
def test_present_lost_response_creates_one_linode(world, fault):
    world.plan.faults.append(fault)

    result = present(world)

    assert world.account.labels() == ["vllm-1"]
    assert result.changed
    assert result.instance["status"] == "running"
    # It was found by its tag, which was then removed: no second creation was requested.
    assert result.warnings == []
    assert [method for method, _path in world.account.writes()] == ["POST", "PUT"]
    assert result.instance["tags"] == ["vllm"]


def test_present_lagging_list_creates_one_linode(world):
    world.account.lag = 30.0
    world.plan.faults.append(Fault(CREATE, after=True, reply=error(502, "Bad Gateway")))

    result = present(world)

    assert world.account.labels() == ["vllm-1"]
    assert result.instance["label"] == "vllm-1"


@pytest.mark.parametrize(
    ("fault", "waited"),
    [
        (Fault(CREATE, reply=error(429, "Too many requests", Retry_After="30")), 30),
        (Fault(CREATE, times=3, reply=error(503, "Unavailable")), 3),
        (Fault(CREATE, reply=error(400, "Linode busy.")), 1),
        (Fault(LOOK, times=2, reply=error(502, "Bad Gateway")), 2),
        (Fault(LOOK, drop=True), 1),
        (Fault(POLL, times=4, reply=error(429, "Too many requests", Retry_After="7")), 28),
        (Fault("GET /linode/types", reply=error(500, "Internal")), 1),
        (Fault("GET /linode/types", slow=20), 20),
    ],
)
def test_present_retries_transient_fault(world, fault, waited):
    world.plan.faults.append(fault)

    result = present(world)

    assert result.changed
    assert world.account.labels() == ["vllm-1"]
    assert world.clock.time >= waited


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (Fault(".", times=99, reply=error(401, "Invalid Token")), Unauthorized, "LINODE_API_TOKEN"),
        (Fault(CREATE, reply=error(403, "Unauthorized")), Unauthorized, "scopes"),
        (Fault(".", times=99, reply=Reply(200, HTML)), RetriesExhausted, "is https://api.linode.com/v4 the Linode API"),
        (Fault("GET", times=999, reply=error(503, "Unavailable")), RetriesExhausted, "Gave up after"),
        (Fault(CREATE, times=99, reply=error(429, "Slow down", Retry_After="3600")), RetriesExhausted, "3600"),
    ],
)
def test_present_permanent_fault_creates_nothing(world, fault, kind, text):
    world.plan.faults.append(fault)

    failed = failure(present, world)

    assert isinstance(failed, kind)
    assert text in str(failed)
    assert world.account.labels() == []
    assert world.clock.time <= 620


def test_present_unknown_outcome_names_cost_and_next_steps(world):
    world.plan.faults += [
        Fault(CREATE, after=True, reply=error(502, "Bad Gateway")),
        Fault(LOOK, skip=1, times=9999, reply=error(503, "Unavailable")),
    ]

    failed = failure(present, world, generate=True)

    assert isinstance(failed, OutcomeUnknown)
    assert "3.57 USD per hour" in str(failed)
    assert "Run the same task again" in str(failed)
    # The Linode may exist and have this password.
    assert world.result.root_pass == list(world.account.passwords.values())[0]

    world.plan.faults.clear()
    # The next run removes the tag of the first one.
    assert present(world).instance["tags"] == ["vllm"]
    assert not present(world).changed
    assert world.account.labels() == ["vllm-1"]


def test_present_out_of_stock_tries_next_region(world):
    world.account.no_stock = {("us-ord", "g2-gpu-rtx4000a4-m"), ("us-sea", "g2-gpu-rtx4000a4-m")}

    result = present(world, regions=("us-ord", "us-sea", "us-east"))

    assert result.instance["region"] == "us-east"
    assert [entry.partition(":")[0] for entry in result.attempts] == ["us-ord", "us-sea"]


def test_present_out_of_stock_everywhere_names_every_region(world):
    world.account.no_stock = {("us-ord", "g2-gpu-rtx4000a4-m"), ("us-sea", "g2-gpu-rtx4000a4-m")}

    failed = failure(present, world, regions=("us-ord", "us-sea"))

    assert isinstance(failed, OutOfStock)
    assert "us-ord" in str(failed)
    assert "us-sea" in str(failed)


def test_present_lost_response_is_found_before_next_region(world):
    """The first attempt succeeded without a response; its retry must not create a second Linode in the next region."""
    world.account.lag = 5.0
    world.plan.faults += [
        Fault(CREATE, after=True, drop=True),
        Fault(CREATE, reply=error(403, "The Linode plan you chose is not currently available in the selected region.")),
    ]

    result = present(world, regions=("us-ord", "us-sea"))

    assert world.account.labels() == ["vllm-1"]
    assert result.instance["region"] == "us-ord"


@pytest.mark.parametrize(
    "before", [[], [Fault(CREATE, reply=error(502, "Bad Gateway"))]], ids=["race", "after a fault"]
)
@pytest.mark.parametrize("tags", [[], ["vllm"], ["prod-db"]], ids=["untagged", "of the fleet", "of someone else"])
@pytest.mark.parametrize("plan", ["g2-gpu-rtx4000a4-m", "g2-gpu-rtx4000a1-s"])
def test_present_race_refuses_the_linode_of_someone_else(world, plan, tags, before):
    other = {"type": plan, "tags": list(tags), "root_pass": "other"}
    world.plan.faults += [*before, Fault(CREATE, meanwhile=lambda: world.create_by_other(**other))]

    failed = failure(present, world, generate=True, owner_tag="vllm")

    assert isinstance(failed, NotOurs)
    assert "Someone else created vllm-1 (id 1001)" in str(failed)
    assert world.result.instance["id"] == 1001
    # Neither the Linode nor its tags were changed, and the password of this run was not used.
    assert (world.result.changed, world.result.root_pass) == (False, None)
    assert {method for method, _path in world.account.writes()} == {"POST"}
    assert [item["tags"] for item in world.account.instances.values()] == [tags]


@pytest.mark.parametrize("status", [429, 403, 400])
def test_present_refusal_after_the_effect_keeps_the_linode_and_its_password(world, status):
    """A proxy can answer with an error although the API has created the Linode."""
    reasons = {403: "The Linode plan you chose is not currently available.", 400: "Linode busy."}
    world.plan.faults.append(Fault(CREATE, after=True, reply=error(status, reasons.get(status, "Too many requests"))))

    result = present(world, generate=True, further={})

    assert world.account.labels() == ["vllm-1"]
    assert result.changed
    assert result.root_pass == list(world.account.passwords.values())[0]


def test_present_keeps_the_creation_tag_of_the_caller(world):
    assert present(world, creation_tag="made-by-me").instance["tags"] == ["made-by-me", "vllm"]
    assert not present(world, creation_tag="made-by-me").changed

    failed = failure(present, world, creation_tag="made-by-other")
    assert isinstance(failed, NotOurs)
    assert not present(world).changed


@pytest.mark.parametrize("status", ["running", "offline", "deleting"])
def test_existing_linode_without_the_owner_tag_is_left_alone(world, status):
    number = world.create_by_other(tags=["prod-db"])["id"]
    world.account.instances[number]["_status"] = status
    for call in (present, absent):
        failed = failure(call, world, owner_tag="vllm")
        assert isinstance(failed, NotOurs)
        assert f"vllm-1 (id {number}) exists without the tag vllm" in str(failed)
    assert world.account.writes() == []


def test_absent_by_id_leaves_a_later_linode_of_the_same_label(world):
    present(world, owner_tag="vllm")
    number = world.result.instance["id"]
    absent(world, owner_tag="vllm", instance_id=number)
    later = world.create_by_other(tags=["vllm"])["id"]

    assert not absent(world, owner_tag="vllm", instance_id=number).changed
    assert list(world.account.instances) == [later]


@pytest.mark.parametrize("call", [present, absent])
def test_repeated_request_leaves_a_linode_whose_owner_changed_alone(world, call):
    number = world.create_by_other(tags=["vllm"] if call is absent else ["vllm", "multigpu-run-1"])["id"]
    take_over = Fault(
        f"(DELETE|PUT) /linode/instances/{number}$",
        reply=error(429, "Slow down"),
        meanwhile=lambda: world.account.instances[number].update(tags=["prod-db"]),
    )
    world.plan.faults.append(take_over)

    assert isinstance(failure(call, world, owner_tag="vllm"), NotOurs)
    assert take_over.times == 0
    assert world.account.instances[number]["tags"] == ["prod-db"]
    assert world.account.instances[number]["_status"] is None


def test_present_invisible_label_is_reported(world):
    world.plan.faults.append(
        Fault(
            CREATE,
            times=99,
            reply=Reply(400, {"errors": [{"reason": "Label must be unique among your linodes", "field": "label"}]}),
        )
    )

    failed = failure(present, world)

    assert "is not visible to this token" in str(failed)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"type": "g2-gpu-rtx4000a2-m"}, "type is g2-gpu-rtx4000a4-m, not g2-gpu-rtx4000a2-m"),
        ({"regions": ("us-east", "us-sea")}, "region is us-ord, not us-east or us-sea"),
        ({"image": "linode/debian12"}, "image is linode/ubuntu24.04, not linode/debian12"),
    ],
)
def test_present_drift_is_refused(world, changes, text):
    present(world)
    world.account.requests.clear()

    failed = failure(present, world, **changes)

    assert isinstance(failed, Drift)
    assert text in str(failed)
    assert world.account.writes() == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"type": "g9-gpu-nothing-1"}, "g9-gpu-nothing-1"),
        ({"expected_gpus": 2}, "has 4 GPU(s), but expected_gpus is 2"),
        ({"max_hourly_price": 3.0}, "costs 3.57 USD per hour in us-ord"),
        ({"max_hourly_price": 9.0, "type": "g3-gpu-rtxpro6000-blackwell-4"}, "unknown price"),
    ],
)
def test_present_refuses_plan_before_creation(world, changes, text):
    failed = failure(present, world, **changes)

    assert isinstance(failed, InvalidInput)
    assert text in str(failed)
    assert world.account.writes() == []


def test_present_skips_region_above_the_price(world):
    result = present(world, regions=("id-cgk", "us-ord"), max_hourly_price=3.6)

    assert result.instance["region"] == "us-ord"


def test_present_unknown_price_without_limit_warns(world):
    result = present(world, type="g3-gpu-rtxpro6000-blackwell-4")

    assert result.instance["hourly_price"] is None
    assert "does not report what" in result.warnings[0]


def test_present_boot_timeout_names_instance_and_cost(world):
    world.account.boot_seconds = None

    failed = failure(present, world, budget=60)

    assert isinstance(failed, NotReady)
    assert "provisioning at 1 s, booting at" in str(failed)
    assert "3.57 USD per hour" in str(failed)
    assert world.result.instance["label"] == "vllm-1"
    assert world.result.changed
    assert 50 <= world.clock.time <= 60


def test_present_starts_powered_off_linode(world):
    present(world)
    next(iter(world.account.instances.values()))["_status"] = "offline"

    assert present(world, check_mode=True).after["status"] == "running"
    result = present(world)

    assert result.changed
    assert result.instance["status"] == "running"
    assert sum(path.endswith("/boot") for _method, path in world.account.writes()) == 1


def test_present_deleted_during_wait_is_reported(world):
    world.plan.faults.append(Fault(POLL, skip=2, times=9, reply=error(404, "Not instance")))

    assert "deleted by someone else" in str(failure(present, world))


@pytest.mark.parametrize("status", ["stopped", "billing_suspension"])
def test_present_terminal_status_fails(world, status):
    present(world)
    next(iter(world.account.instances.values()))["_status"] = status

    failed = failure(present, world)

    assert isinstance(failed, NotReady)
    assert status in str(failed)


def test_present_waits_for_deletion_of_same_label(world):
    present(world)
    absent(world, wait=False)

    result = present(world)

    assert result.changed
    assert result.instance["status"] == "running"
    assert world.account.labels() == ["vllm-1"]


def test_present_adds_missing_tags_and_keeps_others(world):
    world.create_by_other(tags=["other"])

    assert present(world, check_mode=True).changed
    result = present(world)

    assert result.changed
    assert result.instance["tags"] == ["other", "vllm"]
    assert not present(world).changed


def test_present_attaches_firewall_to_existing_linode(world):
    api = world.api()
    firewall = api.create_firewall({"label": "fence", "rules": {"inbound_policy": "DROP", "outbound_policy": "ACCEPT"}})
    world.create_by_other(tags=["vllm"])
    world.plan.faults.append(Fault("POST .*/devices", after=True, drop=True))

    assert present(world, firewall_id=firewall["id"]).changed
    assert [device["entity"]["label"] for device in api.firewall_devices(firewall["id"])] == ["vllm-1"]
    assert not present(world, firewall_id=firewall["id"]).changed


def test_present_creates_linode_behind_firewall(world):
    firewall = world.api().create_firewall({"label": "fence", "rules": {}})
    world.account.requests.clear()

    present(world, firewall_id=firewall["id"])

    assert [path for method, path in world.account.writes() if method == "POST"] == ["/linode/instances"]
    assert len(world.account.firewalls[firewall["id"]]["_devices"]) == 1


def test_present_returns_generated_password_once(world):
    result = present(world, generate=True, further={})

    assert result.root_pass == list(world.account.passwords.values())[0]
    assert present(world, generate=True, further={}).root_pass is None


def test_present_without_image_does_not_wait_for_boot(world):
    result = present(world, image=None, further={})

    assert result.instance["status"] == "offline"


def test_absent_deletes_and_waits(world):
    present(world)

    assert absent(world, check_mode=True).changed
    result = absent(world)

    assert result.changed
    assert result.instance is None
    assert world.account.labels() == []
    assert not absent(world).changed


@pytest.mark.parametrize(
    "fault",
    [
        Fault("DELETE", after=True, reply=error(502, "Bad Gateway")),
        Fault("DELETE", drop=True),
        Fault("DELETE", times=3, reply=error(400, "Linode busy.")),
        Fault("DELETE", reply=error(429, "Slow down", Retry_After="5")),
    ],
)
def test_absent_retries_transient_fault(world, fault):
    present(world)
    world.plan.faults.append(fault)

    assert absent(world).changed
    assert world.account.labels() == []


def test_absent_timeout_names_cost(world):
    present(world)
    world.account.busy_until = 1e9

    failed = failure(absent, world, budget=30)

    assert "may still exist and cost money" in str(failed)
    world.account.busy_until, world.account.delete_seconds = 0, 1e9
    assert "still being deleted" in str(failure(absent, world, budget=30))


def test_present_duplicate_label_is_reported(world):
    world.create_by_other()
    world.create_by_other()

    assert "2 Linodes labelled" in str(failure(present, world))


def test_present_existing_linode_above_price_warns(world):
    present(world)

    result = present(world, max_hourly_price=1.0)

    assert "max_hourly_price is 1.00" in result.warnings[0]


def test_summary_prefers_public_address():
    raw = {"id": 1, "label": "x", "type": "t", "region": "r", "status": "running"}

    assert summary({**raw, "ipv4": ["192.168.130.4", "203.0.113.9"], "ipv6": None})["address"] == "203.0.113.9"
    assert summary({**raw, "ipv4": ["192.168.130.4"], "ipv6": "2001:db8::1/128"})["address"] == "2001:db8::1"
    assert summary(raw)["address"] is None
    assert summary(raw)["gpus"] is None


def test_present_ignores_deleted_image(world):
    present(world)
    next(iter(world.account.instances.values()))["image"] = None

    assert not present(world).changed


def test_present_tolerates_short_404_after_creation(world):
    world.plan.faults.append(Fault(POLL, times=2, reply=error(404, "Not instance")))

    assert present(world).instance["status"] == "running"


SUBNET = {"label": "inner", "ipv4": "10.0.0.0/24"}


def add_subnet(world):
    return world.fake.add_vpc(world.account, {"label": "x", "region": "us-ord", "subnets": [SUBNET]})["subnets"][0][
        "id"
    ]


def in_subnet(subnet_id):
    return {"vpc_subnet_id": subnet_id, "further": {"interfaces": [{"purpose": "vpc", "subnet_id": subnet_id}]}}


def test_present_in_vpc_returns_the_address_that_the_api_reports(world):
    options = in_subnet(add_subnet(world))

    address = present(world, **options, image=None).instance["vpc_address"]
    again = present(world, **options, image=None, wait=False)

    assert address == f"10.0.0.{1003 % 250 + 2}"
    assert (again.changed, again.instance["vpc_address"]) == (False, address)
    assert present(world, image=None).instance["vpc_address"] is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"vpc_subnet_id": 99}, "has no address in the VPC subnet 99"), ({"vpc_address": "10.0.0.99"}, "not 10.0.0.99")],
)
def test_present_existing_linode_outside_of_the_vpc_is_left_alone(world, changes, expected):
    options = in_subnet(add_subnet(world))
    present(world, **options, image=None)
    world.account.requests.clear()

    with pytest.raises(Drift, match=expected):
        present(world, **{**options, "image": None, "tags": ("vllm_group:big",), **changes})
    assert world.account.writes() == []
