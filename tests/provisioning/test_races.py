# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Races with other users of the account: their Linodes, firewalls and VPCs are neither changed nor deleted.

In each scenario, someone else acts at the moment of one request of the module: creates, replaces, renames or takes over
an object. ``test_two_controllers_create_one_linode`` and test_playbooks.py repeat some scenarios with real processes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.module import run_firewall, run_group, run_instance
from cloud import FIGURES
from faults import Fault, error
from in_process import World

OWNER = "multigpu-vllm"
OPEN = {"inbound_policy": "ACCEPT", "outbound_policy": "ACCEPT", "inbound": [], "outbound": []}
PLAN, LIST, CREATE = "GET /linode/types", "GET /linode/instances$", "POST /linode/instances$"
POLL, TAG, DELETE = r"GET /linode/instances/\d+$", r"PUT /linode/instances/\d+$", r"DELETE /linode/instances/\d+$"
FW_LIST, FW_CREATE = "GET /networking/firewalls$", "POST /networking/firewalls$"
FW_RULES, FW_DEVICES = "PUT /networking/firewalls/.*/rules", "GET /networking/firewalls/.*/devices"
FW_DELETE = r"DELETE /networking/firewalls/\d+$"
VPC_LIST, VPC_CREATE, VPC_DELETE = "GET /vpcs$", "POST /vpcs$", r"DELETE /vpcs/\d+$"
#: Faults of the creation before or at the moment of the race.
FAULTS = {
    "refused": [],
    "after 502": [error(502, "Bad Gateway")],
    "after 429": [error(429, "Too many requests")],
    "after 403": [error(403, "The Linode plan you chose is not currently available in the selected region.")],
}
TAGS = {"untagged": [], "of someone else": ["prod-db"], "of another controller": [OWNER]}


@dataclass
class Account:
    """The account, with the objects of other users and their state before the test."""

    world: World = field(default_factory=World)
    theirs: dict[int, dict] = field(default_factory=dict)

    @property
    def objects(self) -> dict[int, dict]:
        return {**self.world.account.instances, **self.world.account.firewalls, **self.world.account.vpcs}

    def create(self, tags: list[str] | None = None, label: str = "vllm-1") -> int:
        """Create a Linode of someone else."""
        return self.take(self.world.create_by_other(label=label, tags=tags or [])["id"])

    def create_firewall(self, tags: list[str] | None = None) -> int:
        """Create a firewall of someone else with the label of the fleet's firewall."""
        return self.take(self.world.fake.add_firewall(self.world.account, "vllm-1", OPEN, tags or [])["id"])

    def create_vpc(self, description: str = "") -> int:
        """Create a VPC of someone else with the label of the group's VPC."""
        subnets = [{"label": "inner", "ipv4": "10.0.0.0/24"}]
        body = {"label": "vllm-1", "region": "us-ord", "description": description, "subnets": subnets}
        return self.take(self.world.fake.add_vpc(self.world.account, body)["id"])

    def take(self, number: int, **changes: object) -> int:
        """Transfer an object to another owner."""
        self.objects[number].update(changes)
        self.theirs[number] = copy.deepcopy(self.objects[number])
        return number

    def take_ours(self, **changes: object) -> None:
        self.take(min(self.objects), **changes)

    def replace_ours(self, create: Callable[[], int]) -> None:
        """Delete the object of the fleet, and create one of someone else with its label."""
        number = min(self.objects)
        self.world.account.instances.pop(number, None)
        self.world.account.firewalls.pop(number, None)
        self.world.account.vpcs.pop(number, None)
        create()

    def during(self, where: str, action: Callable[[], object], skip: int = 0, **options: object) -> None:
        self.world.plan.faults.append(Fault(where, skip=skip, meanwhile=action, **options))

    def run(self, task: Callable, state: str = "present", **options: object) -> dict:
        options = {"owner_tag": OWNER, "return_root_pass": True, "tags": [], **options}
        return self.world.run(task, state=state, **options)[1].result

    def run_group(self, state: str = "present") -> dict:
        return self.run(run_group, state, region="us-ord")

    def damaged(self) -> list[int]:
        """Return the IDs of others' objects that were changed or deleted."""
        return [number for number, item in self.theirs.items() if self.objects.get(number) != item]


def scenarios() -> Iterator[tuple[str, Callable[[Account], object]]]:
    """Yield name and course of each scenario."""

    def race_for_label(account: Account, tags: list[str], faults: list) -> None:
        account.world.plan.faults += [Fault(CREATE, reply=reply) for reply in faults]
        account.during(CREATE, lambda: account.create(tags))
        account.run(run_instance, region=["us-ord", "us-sea"])

    for tag_name, tags in TAGS.items():
        for name, faults in FAULTS.items():
            yield (
                f"creation {name}, Linode {tag_name}",
                lambda a, tags=tags, faults=faults: race_for_label(a, tags, faults),
            )
        yield (
            f"look-up, Linode {tag_name}",
            lambda a, tags=tags: (
                a.during(PLAN, lambda: a.create(tags)),
                a.run(run_instance, creation_tag="made-by-this-run"),
            ),
        )
        yield (
            f"creation, Linode {tag_name} appears late",
            lambda a, tags=tags: (
                setattr(a.world.account, "lag", 60.0),
                a.during(CREATE, lambda: a.create(tags)),
                a.run(run_instance),
            ),
        )
    for request, where in {"tag": TAG, "poll": POLL}.items():
        yield (
            f"{request}, Linode replaced",
            lambda a, where=where: (
                a.during(where, lambda: a.replace_ours(a.create)),
                a.run(run_instance),
            ),
        )
    yield (
        "tag repeated, Linode taken over",
        lambda a: (
            a.during(TAG, lambda: a.take_ours(tags=["prod-db"]), reply=error(429, "Too many requests")),
            a.run(run_instance),
        ),
    )
    for request, where in {"look-up": LIST, "deletion": DELETE, "wait": POLL}.items():
        yield (
            f"deletion, Linode replaced at the {request}",
            lambda a, where=where: (
                a.run(run_instance),
                a.during(where, lambda: a.replace_ours(a.create)),
                a.run(run_instance, "absent"),
            ),
        )
    for request, where in {"look-up": POLL, "deletion": DELETE}.items():
        yield (
            f"deletion by ID, Linode replaced at the {request}",
            lambda a, where=where: (
                a.during(where, lambda: a.replace_ours(lambda: a.create([OWNER]))) if a.run(run_instance) else None,
                a.run(run_instance, "absent", id=1001),
            ),
        )
    for change, values in {"taken over": {"tags": ["prod-db"]}, "renamed": {"label": "db-1"}}.items():
        yield (
            f"deletion by ID, Linode {change}",
            lambda a, values=values: (
                a.run(run_instance),
                a.during(POLL, lambda: a.take_ours(**values)),
                a.run(run_instance, "absent", id=1001),
            ),
        )
    for fault in (error(429, "Too many requests"), error(400, "Linode busy."), error(503, "Unavailable")):
        yield (
            f"deletion repeated after {fault.status}, Linode taken over",
            lambda a, fault=fault: (
                a.run(run_instance),
                a.during(DELETE, lambda: a.take_ours(tags=["prod-db"]), reply=fault),
                a.run(run_instance, "absent"),
            ),
        )
    for state in ("present", "absent"):
        for tag_name, tags in {"untagged": [], "of someone else": ["prod-db"]}.items():
            yield (
                f"{state}, Linode {tag_name} exists",
                lambda a, state=state, tags=tags: (
                    a.create(tags),
                    a.run(run_instance, state),
                ),
            )
            yield (
                f"{state}, firewall {tag_name} exists",
                lambda a, state=state, tags=tags: (
                    a.create_firewall(tags),
                    a.run(run_firewall, state),
                ),
            )
            yield (
                f"{state}, firewall {tag_name} at the look-up",
                lambda a, state=state, tags=tags: (
                    a.during(FW_LIST, lambda: a.create_firewall(tags)),
                    a.run(run_firewall, state),
                ),
            )
    for tag_name, tags in {"untagged": [], "of someone else": ["prod-db"]}.items():
        for name, faults in list(FAULTS.items())[:3]:
            yield (
                f"creation {name}, firewall {tag_name}",
                lambda a, tags=tags, faults=faults: (
                    a.world.plan.faults.extend(Fault(FW_CREATE, reply=reply) for reply in faults),
                    a.during(FW_CREATE, lambda: a.create_firewall(tags)),
                    a.run(run_firewall),
                ),
            )
    for request, where, state in (
        ("rules", FW_RULES, "present"), ("devices", FW_DEVICES, "absent"), ("deletion", FW_DELETE, "absent"),
    ):  # fmt: skip
        yield (
            f"{request}, firewall replaced",
            lambda a, where=where, state=state: (
                a.run(run_firewall),
                a.during(where, lambda: a.replace_ours(a.create_firewall)),
                a.run(run_firewall, state, inbound=[]),
            ),
        )
    for request, where, state in (("rules", FW_RULES, "present"), ("deletion", FW_DELETE, "absent")):
        yield (
            f"{request} repeated, firewall taken over",
            lambda a, where=where, state=state: (
                a.run(run_firewall),
                a.during(where, lambda: a.take_ours(tags=["prod"], rules=OPEN), reply=error(503, "Unavailable")),
                a.run(run_firewall, state, inbound=[]),
            ),
        )
    for description in ("", "multigpu-other"):
        for state in ("present", "absent"):
            for moment, where in {"exists": None, "at the look-up": VPC_LIST}.items():
                yield (
                    f"{state}, VPC with description {description!r} {moment}",
                    lambda a, d=description, state=state, where=where: (
                        a.during(where, lambda: a.create_vpc(d)) if where else a.create_vpc(d),
                        a.run_group(state),
                    ),
                )
        for name, faults in list(FAULTS.items())[:3]:
            yield (
                f"creation {name}, VPC with description {description!r}",
                lambda a, d=description, faults=faults: (
                    a.world.plan.faults.extend(Fault(VPC_CREATE, reply=reply) for reply in faults),
                    a.during(VPC_CREATE, lambda: a.create_vpc(d)),
                    a.run_group(),
                ),
            )
    yield (
        "deletion, VPC replaced",
        lambda a: (
            a.run_group(),
            a.during(VPC_DELETE, lambda: a.replace_ours(a.create_vpc)),
            a.run_group("absent"),
        ),
    )
    yield (
        "deletion repeated, VPC taken over",
        lambda a: (
            a.run_group(),
            a.during(VPC_DELETE, lambda: a.take_ours(description=""), reply=error(503, "Unavailable")),
            a.run_group("absent"),
        ),
    )


SCENARIOS = dict(scenarios())


@pytest.fixture(scope="module")
def outcome() -> dict[str, Account]:
    """Run every scenario."""
    accounts = {}
    for name, course in SCENARIOS.items():
        accounts[name] = Account()
        course(accounts[name])
    damaged = sum(len(account.damaged()) for account in accounts.values())
    FIGURES.append(f"{len(accounts)} races: {damaged} Linodes, firewalls or VPCs of others changed or deleted")
    return accounts


@pytest.mark.parametrize("name", SCENARIOS)
def test_race_leaves_the_objects_of_others_as_they_are(outcome, name):
    account = outcome[name]

    assert account.theirs, "no one else took part"
    assert account.damaged() == []
    assert [fault for fault in account.world.plan.faults if fault.times > 0] == []


def test_fault_matrix_states_the_number_of_races():
    matrix = (Path(__file__).parents[2] / "docs" / "fault-matrix.md").read_text(encoding="utf-8")
    assert f"| {len(SCENARIOS)} | A Linode, firewall or VPC of someone else" in matrix
