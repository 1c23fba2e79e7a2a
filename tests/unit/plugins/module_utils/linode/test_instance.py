# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import (
    Drift,
    GaveUp,
    InvalidInput,
    NotReady,
    OutcomeUnknown,
    OutOfStock,
    Unauthorized,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.instance import (
    Provisioner,
    TaskFailed,
    drift,
    summary,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.request import InstanceRequest
from fake_linode import Reply
from faults import HTML, Fault, error

CREATE = "POST /linode/instances$"
LOOK = "GET /linode/instances$"
POLL = r"GET /linode/instances/\d+$"


def asked(**changes):
    values = {
        "label": "vllm-1",
        "type": "g2-gpu-rtx4000a4-m",
        "regions": ("us-ord",),
        "image": "linode/ubuntu24.04",
        "authorized_users": ("alice",),
        "tags": ("vllm",),
        **changes,
    }
    return InstanceRequest(**values)


def present(world, budget=600.0, check_mode=False, wait=True, generate=False, **changes):
    return Provisioner(world.api(budget), check_mode).present(asked(**changes), wait, generate)


def absent(world, budget=600.0, tags=(), check_mode=False, wait=True):
    return Provisioner(world.api(budget), check_mode).absent("vllm-1", tags, wait)


def failure(call, *arguments, **options):
    with pytest.raises(TaskFailed) as caught:
        call(*arguments, **options)
    return caught.value


def test_creates_one_running_linode_and_says_what_it_is(world):
    outcome = present(world)

    assert outcome.changed
    assert world.account.labels() == ["vllm-1"]
    assert outcome.instance["status"] == "running"
    assert (outcome.instance["gpus"], outcome.instance["hourly_price"]) == (4, 3.57)
    assert [step["status"] for step in outcome.history] == ["provisioning", "booting", "running"]
    assert outcome.before == {}
    assert outcome.after["state"] == "present"


def test_second_run_changes_nothing_and_writes_nothing(world):
    present(world)
    world.account.requests.clear()

    outcome = present(world)

    assert not outcome.changed
    assert outcome.before == outcome.after
    assert world.account.writes() == []


def test_check_mode_only_reads(world):
    outcome = present(world, check_mode=True)

    assert outcome.changed
    assert outcome.instance is None
    assert outcome.after["hourly_price"] == 3.57
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
def test_lost_answer_does_not_make_a_second_linode(world, fault):
    world.plan.faults.append(fault)

    outcome = present(world)

    assert world.account.labels() == ["vllm-1"]
    assert outcome.changed
    assert outcome.instance["status"] == "running"
    assert "found by its label" in outcome.warnings[0]
    # Found by looking: nobody asked for a second one.
    assert world.account.writes() == [("POST", "/linode/instances")]


def test_list_that_lags_behind_does_not_make_a_second_linode(world):
    world.account.lag = 30.0
    world.plan.faults.append(Fault(CREATE, after=True, reply=error(502, "Bad Gateway")))

    outcome = present(world)

    assert world.account.labels() == ["vllm-1"]
    assert outcome.instance["label"] == "vllm-1"


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
def test_passing_trouble_is_waited_out(world, fault, waited):
    world.plan.faults.append(fault)

    outcome = present(world)

    assert outcome.changed
    assert world.account.labels() == ["vllm-1"]
    assert world.clock.time >= waited


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (Fault(".", times=99, reply=error(401, "Invalid Token")), Unauthorized, "LINODE_API_TOKEN"),
        (Fault(CREATE, reply=error(403, "Unauthorized")), Unauthorized, "scopes"),
        (Fault(".", times=99, reply=Reply(200, HTML)), GaveUp, "is https://api.linode.com/v4 the Linode API"),
        (Fault("GET", times=999, reply=error(503, "Unavailable")), GaveUp, "Gave up after"),
        (Fault(CREATE, times=99, reply=error(429, "Slow down", Retry_After="3600")), GaveUp, "3600"),
    ],
)
def test_lasting_trouble_ends_with_nothing_created(world, fault, kind, text):
    world.plan.faults.append(fault)

    failed = failure(present, world)

    assert isinstance(failed.error, kind)
    assert text in str(failed.error)
    assert world.account.labels() == []
    assert world.clock.time <= 620


def test_outcome_that_cannot_be_known_is_told_with_cost_and_ways_on(world):
    world.plan.faults += [
        Fault(CREATE, after=True, reply=error(502, "Bad Gateway")),
        Fault(LOOK, skip=1, times=9999, reply=error(503, "Unavailable")),
    ]

    failed = failure(present, world, generate=True)

    assert isinstance(failed.error, OutcomeUnknown)
    assert "3.57 USD an hour" in str(failed.error)
    assert "Run the same task again" in str(failed.error)
    # The password may be that of the Linode that exists: it must not be lost.
    assert failed.outcome.root_pass == list(world.account.passwords.values())[0]

    world.plan.faults.clear()
    assert not present(world).changed
    assert world.account.labels() == ["vllm-1"]


def test_next_region_where_the_plan_is_out_of_stock(world):
    world.account.no_stock = {("us-ord", "g2-gpu-rtx4000a4-m"), ("us-sea", "g2-gpu-rtx4000a4-m")}

    outcome = present(world, regions=("us-ord", "us-sea", "us-east"))

    assert outcome.instance["region"] == "us-east"
    assert [entry.partition(":")[0] for entry in outcome.attempts] == ["us-ord", "us-sea"]


def test_no_stock_anywhere_names_every_region(world):
    world.account.no_stock = {("us-ord", "g2-gpu-rtx4000a4-m"), ("us-sea", "g2-gpu-rtx4000a4-m")}

    failed = failure(present, world, regions=("us-ord", "us-sea"))

    assert isinstance(failed.error, OutOfStock)
    assert "us-ord" in str(failed.error)
    assert "us-sea" in str(failed.error)


def test_lost_answer_before_the_next_region_is_found(world):
    """The first attempt succeeded unseen; its repetition must not lead to a second Linode in the next region."""
    world.account.lag = 5.0
    world.plan.faults += [
        Fault(CREATE, after=True, drop=True),
        Fault(CREATE, reply=error(403, "The Linode plan you chose is not currently available in the selected region.")),
    ]

    outcome = present(world, regions=("us-ord", "us-sea"))

    assert world.account.labels() == ["vllm-1"]
    assert outcome.instance["region"] == "us-ord"


def test_race_of_two_controllers_ends_with_one_linode_and_a_clear_message(world):
    world.plan.faults.append(Fault(CREATE, meanwhile=lambda: world.rival(root_pass="theirs", tags=["vllm"])))

    outcome = present(world, generate=True)

    assert world.account.labels() == ["vllm-1"]
    assert not outcome.changed
    assert "Another run created vllm-1" in outcome.message
    # The password of this run belongs to nothing.
    assert outcome.root_pass is None


def test_race_with_another_plan_is_drift(world):
    world.plan.faults.append(Fault(CREATE, meanwhile=lambda: world.rival(type="g2-gpu-rtx4000a1-s")))

    assert isinstance(failure(present, world).error, Drift)
    assert world.account.labels() == ["vllm-1"]


def test_label_that_the_token_cannot_see(world):
    world.plan.faults.append(
        Fault(
            CREATE,
            times=99,
            reply=Reply(400, {"errors": [{"reason": "Label must be unique among your linodes", "field": "label"}]}),
        )
    )

    failed = failure(present, world)

    assert "cannot see the owner of the label" in str(failed.error)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"type": "g2-gpu-rtx4000a2-m"}, "type is g2-gpu-rtx4000a4-m, not g2-gpu-rtx4000a2-m"),
        ({"regions": ("us-east", "us-sea")}, "region is us-ord, not us-east or us-sea"),
        ({"image": "linode/debian12"}, "image is linode/ubuntu24.04, not linode/debian12"),
    ],
)
def test_drift_is_refused(world, changes, text):
    present(world)
    world.account.requests.clear()

    failed = failure(present, world, **changes)

    assert isinstance(failed.error, Drift)
    assert text in str(failed.error)
    assert world.account.writes() == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"type": "g9-gpu-nothing-1"}, "g9-gpu-nothing-1"),
        ({"expected_gpus": 2}, "has 4 GPU(s), but expected_gpus is 2"),
        ({"max_hourly_price": 3.0}, "costs 3.57 USD an hour in us-ord"),
        ({"max_hourly_price": 9.0, "type": "g3-gpu-rtxpro6000-blackwell-4"}, "unknown price"),
    ],
)
def test_plan_that_was_not_agreed_is_refused_before_it_is_created(world, changes, text):
    failed = failure(present, world, **changes)

    assert isinstance(failed.error, InvalidInput)
    assert text in str(failed.error)
    assert world.account.writes() == []


def test_region_above_the_price_is_passed_over(world):
    outcome = present(world, regions=("id-cgk", "us-ord"), max_hourly_price=3.6)

    assert outcome.instance["region"] == "us-ord"


def test_unknown_price_without_a_limit_is_a_warning(world):
    outcome = present(world, type="g3-gpu-rtxpro6000-blackwell-4")

    assert outcome.instance["hourly_price"] is None
    assert "does not say what" in outcome.warnings[0]


def test_boot_that_never_ends_says_what_exists_and_what_it_costs(world):
    world.account.boot_seconds = None

    failed = failure(present, world, budget=60)

    assert isinstance(failed.error, NotReady)
    assert "provisioning at 1 s, booting at" in str(failed.error)
    assert "3.57 USD an hour" in str(failed.error)
    assert failed.outcome.instance["label"] == "vllm-1"
    assert failed.outcome.changed
    assert 50 <= world.clock.time <= 60


def test_linode_that_is_powered_off_is_started(world):
    present(world)
    next(iter(world.account.instances.values()))["_status"] = "offline"

    assert present(world, check_mode=True).after["status"] == "running"
    outcome = present(world)

    assert outcome.changed
    assert outcome.instance["status"] == "running"
    assert sum(path.endswith("/boot") for _method, path in world.account.writes()) == 1


def test_linode_that_is_deleted_while_waited_for(world):
    world.plan.faults.append(Fault(POLL, skip=2, times=9, reply=error(404, "Not found")))

    assert "deleted by someone else" in str(failure(present, world).error)


@pytest.mark.parametrize("status", ["stopped", "billing_suspension"])
def test_status_that_no_waiting_changes(world, status):
    present(world)
    next(iter(world.account.instances.values()))["_status"] = status

    failed = failure(present, world)

    assert isinstance(failed.error, NotReady)
    assert status in str(failed.error)


def test_label_of_a_linode_that_is_being_deleted_is_waited_for(world):
    present(world)
    absent(world, wait=False)

    outcome = present(world)

    assert outcome.changed
    assert outcome.instance["status"] == "running"
    assert world.account.labels() == ["vllm-1"]


def test_missing_tags_are_added_and_others_left(world):
    world.rival(tags=["other"])

    assert present(world, check_mode=True).changed
    outcome = present(world)

    assert outcome.changed
    assert outcome.instance["tags"] == ["other", "vllm"]
    assert not present(world).changed


def test_firewall_is_put_before_a_linode_that_lacks_it(world):
    api = world.api()
    firewall = api.create_firewall({"label": "fence", "rules": {"inbound_policy": "DROP", "outbound_policy": "ACCEPT"}})
    world.rival(tags=["vllm"])
    world.plan.faults.append(Fault("POST .*/devices", after=True, drop=True))

    assert present(world, firewall_id=firewall["id"]).changed
    assert [device["entity"]["label"] for device in api.firewall_devices(firewall["id"])] == ["vllm-1"]
    assert not present(world, firewall_id=firewall["id"]).changed


def test_firewall_is_there_from_the_first_second(world):
    firewall = world.api().create_firewall({"label": "fence", "rules": {}})
    world.account.requests.clear()

    present(world, firewall_id=firewall["id"])

    assert world.account.writes() == [("POST", "/linode/instances")]
    assert len(world.account.firewalls[firewall["id"]]["_devices"]) == 1


def test_generated_password_is_the_one_that_was_sent(world):
    outcome = present(world, generate=True, authorized_users=())

    assert outcome.root_pass == list(world.account.passwords.values())[0]
    assert present(world, generate=True, authorized_users=()).root_pass is None


def test_linode_without_image_does_not_wait_for_a_system(world):
    outcome = present(world, image=None, authorized_users=())

    assert outcome.instance["status"] == "offline"


def test_deletes_and_waits_until_it_is_gone(world):
    present(world)

    assert absent(world, check_mode=True).changed
    outcome = absent(world)

    assert outcome.changed
    assert outcome.instance is None
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
def test_deletion_is_repeated_until_it_holds(world, fault):
    present(world)
    world.plan.faults.append(fault)

    assert absent(world).changed
    assert world.account.labels() == []


def test_deletion_that_does_not_end_says_that_it_costs(world):
    present(world)
    world.account.busy_until = 1e9

    failed = failure(absent, world, budget=30)

    assert "may still exist and cost money" in str(failed.error)
    world.account.busy_until, world.account.delete_seconds = 0, 1e9
    assert "still being deleted" in str(failure(absent, world, budget=30).error)


def test_linode_of_someone_else_is_not_deleted(world):
    world.rival(tags=["theirs"])

    failed = failure(absent, world, tags=("vllm",))

    assert "lacks the tag(s) vllm" in str(failed.error)
    assert world.account.labels() == ["vllm-1"]


def test_same_label_twice_is_reported(world):
    world.rival()
    world.rival()

    assert "2 Linodes labelled" in str(failure(present, world).error)


def test_existing_linode_above_the_price_is_a_warning(world):
    present(world)

    outcome = present(world, max_hourly_price=1.0)

    assert "max_hourly_price is 1.00" in outcome.warnings[0]


def test_summary_prefers_the_public_address():
    raw = {"id": 1, "label": "x", "type": "t", "region": "r", "status": "running"}

    assert summary({**raw, "ipv4": ["192.168.130.4", "203.0.113.9"], "ipv6": None})["address"] == "203.0.113.9"
    assert summary({**raw, "ipv4": ["192.168.130.4"], "ipv6": "2001:db8::1/128"})["address"] == "2001:db8::1"
    assert summary(raw)["address"] is None
    assert summary(raw)["gpus"] is None


def test_image_that_the_api_forgot_is_no_drift():
    found = {"type": "g2-gpu-rtx4000a4-m", "region": "us-ord", "image": None}

    assert drift(found, asked()) == []


def test_linode_that_is_unknown_for_a_moment_after_its_creation(world):
    world.plan.faults.append(Fault(POLL, times=2, reply=error(404, "Not found")))

    assert present(world).instance["status"] == "running"
