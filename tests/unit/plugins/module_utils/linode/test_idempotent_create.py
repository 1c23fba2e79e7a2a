# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import random

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import (
    LabelTaken,
    LinodeError,
    OutcomeUnknown,
    OutOfStock,
    Refused,
    RetriesExhausted,
    Transient,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.idempotent_create import create_once
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.instance import Provisioner
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.request import InstanceRequest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.retry import RetryBudget
from fake_linode import Reply
from faults import HTML, Fault, error

PLAN = "g2-gpu-rtx4000a4-m"
FLEET = ("vllm-1", "vllm-2", "vllm-3")
REGIONS = ("us-ord", "us-sea")
#: The nightly run tries all sequences.
SEQUENCES = 500 if os.environ.get("MULTIGPU_NIGHTLY") else 100
REQUESTS = (
    "POST /linode/instances$",
    "GET /linode/instances$",
    r"GET /linode/instances/\d+$",
    "GET /linode/types",
    ".",
)
EFFECTS = (
    {"drop": True},
    {"stall": 1},
    {"slow": 30},
    {"truncate": True},
    {"reply": error(401, "Invalid Token")},
    {"reply": error(403, "The Linode plan you chose is not currently available in the selected region.")},
    {"reply": error(404, "Not found")},
    {"reply": error(400, "Linode busy.")},
    {"reply": error(408, "Request Timeout")},
    {"reply": error(429, "Too many requests", Retry_After="20")},
    {"reply": error(429, "Too many requests")},
    {"reply": error(500, "Internal")},
    {"reply": error(502, "Bad Gateway")},
    {"reply": error(503, "Unavailable", Retry_After="5")},
    {"reply": Reply(502, HTML)},
    {"reply": Reply(200, HTML)},
    {"reply": Reply(200, {})},
)


def provision_fleet(world, budget):
    """Run the provisioner for the whole fleet; return the report of every node by label."""
    reports = {}
    for label in FLEET:
        login = {"authorized_users": ["alice"]}
        request = InstanceRequest(label=label, type=PLAN, regions=REGIONS, image="x/y", further=login)
        provisioner = Provisioner(world.api(budget))
        try:
            provisioner.present(request)
            reports[label] = f"ok {provisioner.result.instance['label']}"
        except LinodeError as failure:
            unknown = isinstance(failure, OutcomeUnknown) and label in str(failure)
            reports[label] = f"failed {(provisioner.result.instance or {}).get('label')} {label if unknown else ''}"
    return reports


def add_random_faults(world, seed):
    rng = random.Random(seed)
    world.account.lag = rng.choice((0.0, 0.0, 3.0, 40.0))
    world.account.boot_seconds = rng.choice((0.0, 12.0, None))
    world.account.no_stock = {(region, PLAN) for region in REGIONS if rng.random() < 0.15}
    for _count in range(rng.randint(1, 6)):
        effect = rng.choice(EFFECTS)
        world.plan.faults.append(
            Fault(
                rng.choice(REQUESTS),
                times=rng.randint(1, 6),
                skip=rng.randint(0, 4),
                after=rng.random() < 0.5 and not is_refusal(effect),
                **effect,
            )
        )
    if rng.random() < 0.2:
        label = rng.choice(FLEET)
        world.plan.faults.insert(0, Fault(REQUESTS[0], meanwhile=lambda: create_by_other_unless_present(world, label)))
    return rng.choice((30.0, 60.0, 200.0))


def is_refusal(effect):
    """Return whether the API refuses the request, which then has no effect."""
    return "reply" in effect and 400 <= effect["reply"].status < 500 and effect["reply"].status != 408


def create_by_other_unless_present(world, label):
    if label not in world.account.labels():
        world.create_by_other(label=label, image="x/y", tags=["other"])


def test_random_faults_and_a_second_run_create_exactly_the_fleet(world):
    unreported, struck = [], 0
    for seed in range(SEQUENCES):
        world.__init__()
        reports = provision_fleet(world, add_random_faults(world, seed))
        struck += world.plan.struck
        labels = world.account.labels()
        assert len(labels) == len(set(labels)), (seed, labels)
        assert set(labels) <= set(FLEET), (seed, labels)
        # Every Linode that this run created was reported, in success or in failure.
        ours = [item["label"] for item in world.account.instances.values() if "other" not in item["tags"]]
        unreported += [(seed, label) for label in ours if label not in reports[label]]
        world.plan.faults.clear()
        world.account.no_stock, world.account.lag = set(), 0.0
        world.account.boot_seconds = 0.0
        again = provision_fleet(world, 600.0)
        assert world.account.labels() == list(FLEET), (seed, again)
        assert all(words.startswith("ok") for words in again.values()), (seed, again)
    assert unreported == []
    assert struck > SEQUENCES


def nothing_visible():
    return None


def ours(_resource):
    return True


def retry_budget(world, budget=60.0):
    return RetryBudget(budget, world.clock, jitter=lambda: 0.0)


def scripted(*steps):
    """Return a create function that goes through ``steps``: it raises exceptions and returns dictionaries."""
    remaining = list(steps)

    def create():
        step = remaining.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    return create


LOST = Transient("unavailable", "502", may_have_happened=True)


def test_create_once_success_is_not_looked_up(world):
    created = create_once([("a", scripted({"id": 1}))], pytest.fail, ours, retry_budget(world))

    assert created == ({"id": 1}, [])


def test_create_once_refusal_is_raised(world):
    with pytest.raises(Refused, match="weak password"):
        create_once([("a", scripted(Refused("weak password")))], nothing_visible, ours, retry_budget(world))


def test_create_once_refusal_after_lost_response_is_unknown(world):
    """An API that checks stock before labels may refuse the retry of a request that succeeded."""
    with pytest.raises(OutcomeUnknown, match="last look"):
        create_once([("a", scripted(LOST, OutOfStock("sold out")))], nothing_visible, ours, retry_budget(world))


def test_create_once_waits_for_a_label_that_stays_hidden_after_a_lost_response(world):
    taken = [LabelTaken("label taken")] * 99
    limited = Transient("rate_limited", "429")
    visible_after = 400.0

    def find():
        return {"id": 1, "label": "a"} if world.clock.now() >= visible_after else None

    for lost in (LOST, limited, OutOfStock("sold out")):
        world.clock.time = 0.0
        offers = [("a", scripted(lost, *taken)), ("b", scripted(*taken))]
        assert create_once(offers, find, ours, retry_budget(world, 600.0))[0]["id"] == 1
        assert world.clock.now() >= visible_after


def test_create_once_label_hidden_from_the_start_is_refused_early(world):
    with pytest.raises(RetriesExhausted, match="not visible to this token"):
        create_once([("a", scripted(*[LabelTaken("taken")] * 9))], nothing_visible, ours, retry_budget(world, 600.0))
    assert world.clock.now() < 60


def test_create_once_reports_whether_the_label_was_visible_at_the_end(world):
    def unavailable():
        raise RetriesExhausted("GET failed.")

    for find, expected in (
        (nothing_visible, "no object of that label was visible"),
        (unavailable, "look-up of the label failed"),
    ):
        with pytest.raises((OutOfStock, RetriesExhausted), match=expected):
            create_once([("a", scripted(OutOfStock("sold out")))], find, ours, retry_budget(world))


def test_create_once_tries_every_offer(world):
    offers = [("a", scripted(OutOfStock("no a"))), ("b", scripted(OutOfStock("no b")))]

    with pytest.raises(OutOfStock, match="a: no a; b: no b"):
        create_once(offers, nothing_visible, ours, retry_budget(world))


def test_create_once_stops_after_server_errors(world):
    always = scripted(*[Transient("server_error", "500", may_have_happened=True)] * 9)

    with pytest.raises(OutcomeUnknown, match="5 attempts"):
        create_once([("a", always)], nothing_visible, ours, retry_budget(world))


def test_create_once_rate_limit_creates_nothing(world):
    limited = Transient("rate_limited", "429", retry_after=100)

    with pytest.raises(RetriesExhausted, match="another 100 s"):
        create_once([("a", scripted(limited))], nothing_visible, ours, retry_budget(world))
