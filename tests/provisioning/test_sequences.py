# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Creation of a Linode or a VPC under every combination of a fault, a request and a moment, with simulated time.

docs/fault-matrix.md explains the faults and states the figures of this file and of test_races.py.
"""

from __future__ import annotations

import itertools
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.module import run_group, run_instance
from cloud import FIGURES
from fake_linode import Reply
from faults import HTML, Fault, error
from in_process import ModuleExit, World

NO_STOCK = "The Linode plan you chose is not currently available in the selected region."
TAKEN = Reply(400, {"errors": [{"reason": "Label must be unique among your linodes", "field": "label"}]})
MATRIX = (Path(__file__).parents[2] / "docs" / "fault-matrix.md").read_text(encoding="utf-8")
#: Deeper than the recursion limit of Python's JSON parser.
DEEP = "[" * 10_000 + "]" * 10_000
NAN = float("nan")

CONNECTION = {
    "closed": {"drop": True},
    "silent": {"stall": 1},
    "slow": {"slow": 30},
    "cut": {"truncate": True},
}
STATUS = {
    "401": error(401, "Invalid Token"),
    "403 scopes": error(403, "Unauthorized"),
    "403 no stock": error(403, NO_STOCK),
    "404": error(404, "Not found"),
    "400 busy": error(400, "Linode busy."),
    "400 label": TAKEN,
    "400 region": error(400, "region is not valid"),
    "408": error(408, "Request Timeout"),
    "429": error(429, "Too many requests"),
    "500": error(500, "Internal"),
    "502": error(502, "Bad Gateway"),
    "502 HTML": Reply(502, HTML),
    "503": error(503, "Unavailable", Retry_After="5"),
    "504": error(504, "Gateway Timeout"),
    **{
        f"429 Retry-After {text[:40]}": error(429, "Too many requests", Retry_After=text)
        for text in ("20", "\u00b2", "-5", "1e3", "nan", "soon", "9" * 400, "Sun, 01 Nov 999999999999 12:00:00 GMT",
                     "Sun, 01 Nov 2026 12:00:00 +999999999999", "0, 0", "\u0661", "")
    },
    **{
        f"{status} {name}": Reply(status, body)
        for status in (400, 503)
        for name, body in (("error text", {"errors": ["text"]}), ("errors null", {"errors": None}),
                           ("errors deep", {"errors": [{"reason": [[[[]]]] * 99}]}), ("reason null", {"errors": [{}]}),
                           ("deep", DEEP), ("list", [1]), ("number", 5), ("null", None), ("empty", ""))
    },
}  # fmt: skip
BODIES = {
    "HTML": HTML,
    "empty": "",
    "{}": {},
    "[]": [],
    "null": None,
    "number": 5,
    "NaN": NAN,
    "text": '"text"',
    "deep": DEEP,
    "deep object": '{"id": ' + DEEP + "}",
    "long number": '{"id": ' + "9" * 5000 + "}",
    "only id": {"id": 1001},
    "data null": {"data": None, "pages": 1},
    "data object": {"data": {}, "pages": 1},
    "data of null": {"data": [None], "pages": 1},
    "data of {}": {"data": [{}], "pages": 1},
    "data of ids": {"data": [{"id": 1001}], "pages": 1},
}
#: Field of a Linode, a plan or a page -> invalid values.
FIELDS = {
    "id": [None, NAN, "1001", True, {}, -1, 4242],
    "label": [None, 5, ["vllm-1"], "vllm-9"],
    "status": [None, 5, {}],
    "region": [None, 5],
    "type": [None, 5],
    "image": [5, {}],
    "ipv4": ["203.0.113.7", ["unknown"], [None], [5], {}],
    "ipv6": [5, "unknown", "2001:db8::/x"],
    "tags": ["vllm", [None], [5], {}],
    "specs": ["4", {"gpus": "4"}, {"gpus": NAN}, []],
    "price": ["3.57", {"hourly": "3.57"}, {"hourly": NAN}, {"hourly": True}, {"hourly": -1}, []],
    "region_prices": ["x", [None], [{"hourly": 1}], [{"id": "us-ord", "hourly": "1"}], {}],
    "gpus": ["4", NAN],
    "pages": [None, NAN, "2", 10**9, -1, {}],
    "data": [None, {}, "x"],
    "address": [None, 5, "unknown", {}],
    "linode_id": [None, "1001", 4242],
}
MISSING = object()


def altered(field: str, value: object) -> Callable[[Reply], None]:
    """Return a function that changes ``field`` of an object, or of the page and all its entries."""

    def alter(reply: Reply) -> None:
        if not isinstance(reply.body, dict) or reply.status != 200:
            return
        body = dict(reply.body)
        if isinstance(body.get("data"), list):
            body["data"] = [changed(entry) for entry in body["data"]]
        reply.body = changed(body)

    def changed(item: dict) -> dict:
        if field not in item:
            return item
        return {key: entry for key, entry in {**item, field: value}.items() if entry is not MISSING}

    return alter


def effects() -> Iterator[tuple[str, dict]]:
    """Yield name and options of each fault."""
    for name, options in CONNECTION.items():
        yield name, options
    for name, reply in STATUS.items():
        yield name, {"reply": reply}
    for name, body in BODIES.items():
        yield f"200 {name}", {"reply": Reply(200, body)}
    for field, values in FIELDS.items():
        for value in (MISSING, *values):
            shown = "missing" if value is MISSING else repr(value)[:20]
            yield f"{field} {shown}", {"alter": altered(field, value)}


EFFECTS = dict(effects())
CREATE, LIST = "POST /linode/instances$", "GET /linode/instances$"
REQUESTS = {
    "plan": "GET /linode/types/",
    "look-up": LIST,
    "create": CREATE,
    "poll": r"GET /linode/instances/\d+$",
    "tag": "PUT /linode/instances",
    "address": "GET /vpcs/ips$",
    "all": ".",
}
#: Faults after which the module does not know whether the Linode exists.
LOST = ("closed", "429", "403 no stock")


def sequences() -> Iterator[tuple[str, Callable[[World], None]]]:
    """Yield the name and the preparation of each sequence."""
    for (request, where), (name, options), times, after in itertools.product(
        REQUESTS.items(), EFFECTS.items(), (1, 999), (False, True)
    ):
        if (
            after
            and ("alter" in options or "slow" in options or where.startswith("GET"))
            or times == 1
            and where == "."
        ):
            continue
        fault = {"where": where, "times": times, "after": after, **options}
        yield f"{request}, {name}, {times} times, {'after' if after else 'before'}", adder(fault)
    # The response to the creation is lost, the list shows the Linode late, and the look-ups fail too.
    for lost, (name, options), (lag, times) in itertools.product(LOST, EFFECTS.items(), ((0.0, 999), (60.0, 1))):
        first = {"where": CREATE, "after": True, **EFFECTS[lost]}
        yield (
            f"{lost}, {lag:.0f} s hidden, look-up {name} {times}",
            adder(first, {"where": LIST, "skip": 1, "times": times, **options}, lag=lag),
        )


#: Field of a VPC or a page -> invalid values, and faults that do not depend on the kind of the object.
VPC_FIELDS = {
    **{field: FIELDS[field] for field in ("label", "region", "pages", "data")},
    # Nothing contradicts another valid id of a VPC, so a wrong one cannot be recognised.
    "id": [value for value in FIELDS["id"] if value != 4242],
    "description": [5, ["multigpu-vllm"]],
    "subnets": [None, {}, [None], [{}], [{"id": "5"}], [{"id": 5, "ipv4": "unknown"}]],
    "placement_group_type": [None, 5],
}
GROUP_EFFECTS = {name: options for name, options in EFFECTS.items() if "alter" not in options} | {
    f"{field} {value!r}": {"alter": altered(field, value)} for field, values in VPC_FIELDS.items() for value in values
}
GROUP_REQUESTS = {
    "look-up": "GET /vpcs$",
    "create": "POST /vpcs$",
    "look-up after creation": "GET /vpcs$",
    "look-up of placement group": "GET /placement/groups$",
    "create placement group": "POST /placement/groups$",
}


def group_sequences() -> Iterator[tuple[str, list[dict]]]:
    """Yield the name and the faults of each sequence of the creation of a VPC."""
    for (request, where), (name, options), times, after in itertools.product(
        GROUP_REQUESTS.items(), GROUP_EFFECTS.items(), (1, 999), (False, True)
    ):
        if after and ("alter" in options or "slow" in options or "create" not in request):
            continue
        faults = [{"where": where, "times": times, "after": after, **options}]
        if request == "look-up after creation":
            faults[0]["skip"] = 1
            faults.insert(0, {"where": GROUP_REQUESTS["create"], "after": True, **EFFECTS["closed"]})
        yield f"{request}, {name}, {times} times, {'after' if after else 'before'}", faults


def judge_group(faults: list[dict]) -> Iterator[str]:
    """Run one sequence of the creation of a VPC and yield a message for each violation."""
    world = World()
    world.plan.faults = [Fault(**options) for options in faults]

    def run(state: str = "present") -> ModuleExit:
        options = {"label": "vllm-big", "region": "us-ord", "owner_tag": "multigpu-vllm", "wait_timeout": 150.0}
        return world.run(run_group, state=state, placement="anti_affinity:local", **options)[1]

    try:
        first = run()
    except Exception:  # noqa: BLE001
        yield "traceback: " + traceback.format_exc().splitlines()[-1]
        return
    text = str(first.result.get("msg", ""))
    if first.failed and not (text and "\n" not in text and len(text) < 2000):
        yield f"message is not one short line: {text!r}"
    created = [*world.account.vpcs, *world.account.placement_groups]
    world.plan.faults.clear()
    world.account.requests.clear()
    again = run()
    left = [*world.account.vpcs, *world.account.placement_groups]
    if again.failed or len(left) != 2 or not set(created) <= set(left):
        yield f"second run: {again.result.get('msg')}"
    if not first.failed and world.account.writes():
        yield "second run writes"
    if run("absent").failed or world.account.vpcs or world.account.placement_groups:
        yield "not deleted"


def test_every_sequence_of_a_group_ends_with_one_vpc_and_a_message():
    problems = {name: list(judge_group(faults)) for name, faults in group_sequences()}

    wrong = {name: texts for name, texts in problems.items() if texts}
    FIGURES.append(f"{len(problems)} fault sequences of the creation of a group: {len(wrong)} with another result")
    assert f"| {len(problems):,} |" in MATRIX
    assert wrong == {}


def adder(*faults: dict, lag: float = 0.0) -> Callable[[World], None]:
    def prepare(world: World) -> None:
        world.account.lag = lag
        world.plan.faults = [Fault(**options) for options in faults]

    return prepare


def create(world: World) -> ModuleExit:
    options = {"owner_tag": "multigpu-vllm", "return_root_pass": True, "authorized_users": [], "wait_timeout": 150.0}
    return world.run(run_instance, **options, vpc_subnet_id=2)[1]


def judge(world: World, prepare: Callable[[World], None]) -> Iterator[str]:
    """Run one sequence and yield a message for each violation."""
    world.account.boot_seconds = 8.0
    world.account.vpcs[1] = {"id": 1, "label": "big", "region": "us-ord", "subnets": [{"id": 2, "ipv4": "10.0.0.0/24"}]}
    prepare(world)
    try:
        first = create(world)
    except Exception:  # noqa: BLE001
        yield "traceback: " + traceback.format_exc().splitlines()[-1]
        first = None
    if len(world.account.instances) > 1 or len(world.account.creations) > 1:
        yield "double creation"
    password = next(iter(world.account.passwords.values()), None)
    if password is not None and (first is None or first.result.get("root_pass") != password):
        yield "lost password"
    if first is not None:
        text = str(first.result.get("msg", ""))
        if first.failed and not (text and "\n" not in text and len(text) < 2000):
            yield f"message is not one short line: {text!r}"
        if password and not first.result["instance"] and "label" not in text:
            yield f"the Linode is not reported: {text}"
    world.plan.faults.clear()
    world.account.lag = 0.0
    again = create(world)
    if again.failed or world.account.labels() != ["vllm-1"] or len(world.account.creations) != 1:
        yield f"second run: {again.result.get('msg')}"


def test_every_sequence_ends_with_one_linode_its_password_and_a_message():
    problems = {name: list(judge(World(), prepare)) for name, prepare in sequences()}

    totals = Counter(text.partition(":")[0] for texts in problems.values() for text in texts)
    shown = ", ".join(f"{totals[kind]} {kind}s" for kind in ("double creation", "lost password", "traceback"))
    FIGURES.append(f"{len(problems)} fault sequences of a creation: {shown}")
    assert f"| {len(problems):,} |" in MATRIX
    assert f"There are {len(EFFECTS)} faults" in MATRIX
    assert {name: texts for name, texts in problems.items() if texts} == {}
