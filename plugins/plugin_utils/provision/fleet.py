# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of GPU Linodes: what is asked for, what exists, what it costs before and after."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.fleet import cost
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import UnknownInstanceType, gpu_count
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.pricing import HOURS_PER_MONTH
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.request import check_label, check_tags

Json = dict[str, t.Any]

#: What a group of ``provision_fleet`` may say.
GROUP_KEYS: t.Final = ("name", "count", "plan", "regions", "image", "expected_gpus", "max_hourly_price")


def expand(groups: Sequence[Mapping[str, t.Any]], prefix: str) -> list[Json]:
    """One entry a node: ``label`` (PREFIX-GROUP-NUMBER), ``group``, ``type``, ``regions``, and what its group adds.

    :raises InvalidInput: for a group that cannot be built, before anything is asked or sent.
    """
    nodes: list[Json] = []
    seen: set[str] = set()
    for group in groups:
        _check_group(group, seen)
        seen.add(group["name"])
        regions = [group["regions"]] if isinstance(group["regions"], str) else list(group["regions"])
        for number in range(1, int(group.get("count", 1)) + 1):
            nodes.append(
                {
                    "label": check_label(f"{prefix}-{group['name']}-{number}"),
                    "group": group["name"],
                    "type": group["plan"].strip().lower(),
                    "regions": regions,
                    **{key: group.get(key) for key in ("image", "expected_gpus", "max_hourly_price")},
                }
            )
    if not nodes:
        raise InvalidInput("provision_fleet asks for no node.")
    return nodes


def _check_group(group: Mapping[str, t.Any], seen: set[str]) -> None:
    name = group.get("name")
    lacking = [key for key in ("name", "plan", "regions") if not group.get(key)]
    if lacking:
        raise InvalidInput(f"Group {name or dict(group)!r} of provision_fleet lacks {', '.join(lacking)}.")
    unknown = sorted(set(group) - set(GROUP_KEYS))
    if unknown:
        raise InvalidInput(f"Group {name!r} has the unknown keys {', '.join(unknown)}; known: {', '.join(GROUP_KEYS)}.")
    if name in seen:
        raise InvalidInput(f"Group {name!r} occurs twice in provision_fleet.")
    count = group.get("count", 1)
    if not str(count).isdigit():
        raise InvalidInput(f"Group {name!r} has the count {count!r}; it must be a number of 0 or more.")
    gpus = _offline_gpus(name, group["plan"])
    expected = group.get("expected_gpus")
    if expected is not None and gpus != int(expected):
        raise InvalidInput(f"Group {name!r} expects {expected} GPUs, but {group['plan']} has {gpus}.")
    if gpus == 0:
        raise InvalidInput(f"Group {name!r} asks for {group['plan']}, which has no GPU.")


def _offline_gpus(name: str, plan: str) -> int:
    try:
        return gpu_count(plan)
    except UnknownInstanceType as error:
        raise InvalidInput(f"Group {name!r}: {error}") from error


def fleet_tag(prefix: str) -> str:
    """The tag that says which fleet a Linode or firewall belongs to; teardown goes by it."""
    return check_tags([f"multigpu-{prefix}"])[0]


def plan_fleet(
    groups: Sequence[Mapping[str, t.Any]], prefix: str, listing: Mapping[str, t.Any], limit: float | None = None
) -> Json:
    """What a run will do.

    ``listing``: result of ``linode_instance_info`` for the label prefix; ``limit``: most that the whole fleet may cost,
    USD an hour. Returns ``nodes`` (as :func:`expand`, with ``exists``), ``create`` and ``extra`` (labels), ``before``
    and ``after`` (as ``fleet.cost``) and ``lines`` for a person.

    :raises InvalidInput: where the plan breaks an agreement: price above a limit or unknown, label of somebody else.
    """
    tag = fleet_tag(prefix)
    existing = {item["label"]: item for item in listing["instances"]}
    ours = {label for label, item in existing.items() if tag in item["tags"]}
    nodes = [{**node, "exists": node["label"] in existing} for node in expand(groups, prefix)]
    foreign = [node["label"] for node in nodes if node["exists"] and node["label"] not in ours]
    if foreign:
        raise InvalidInput(
            f"{', '.join(foreign)} exist, but not with the tag {tag}: they are not of this fleet. Choose another "
            "provision_label_prefix, or give them that tag."
        )
    create = [node for node in nodes if not node["exists"]]
    future = [_priced(node, listing["plans"]) for node in create]
    present = [existing[label] for label in sorted(ours)]
    before, after = cost(present), cost([*present, *future])
    _check_limit(limit, after, create)
    extra = sorted(ours - {node["label"] for node in nodes})
    return {
        "nodes": nodes,
        "create": [node["label"] for node in create],
        "extra": extra,
        "before": before,
        "after": after,
        "lines": [
            f"Before: {spell(before)}.",
            f"To create: {len(create)} of {len(nodes)} nodes.",
            f"After: {spell(after)}.",
            *([f"Not asked for, but there, and paid for: {', '.join(extra)}."] if extra else []),
        ],
    }


def _priced(node: Json, plans: Mapping[str, t.Any]) -> Json:
    """What a node will cost: in the dearest of its regions, because any of them can be chosen."""
    plan = plans.get(node["type"])
    gpus = plan["gpus"] if plan else gpu_count(node["type"])
    limit = node["max_hourly_price"]
    prices = [
        (plan["region_prices"].get(region) or plan["hourly_price"]) if plan else None for region in node["regions"]
    ]
    known = [price for price in prices if price and (limit is None or price <= float(limit))]
    if limit is not None and not known:
        asked = ", ".join("unknown" if not price else f"{price:.2f}" for price in prices)
        raise InvalidInput(
            f"{node['type']} for {node['label']} costs {asked} USD an hour in {', '.join(node['regions'])}; "
            f"max_hourly_price is {float(limit):.2f}."
        )
    return {"label": node["label"], "gpus": gpus, "hourly_price": max(known) if known else None}


def _check_limit(limit: float | None, after: Json, create: Sequence[Json]) -> None:
    if limit is None or not create:
        return
    if after["unpriced"]:
        raise InvalidInput(
            f"The API does not say what {', '.join(after['unpriced'])} cost; there is a limit for the fleet."
        )
    if after["hourly"] > limit:
        raise InvalidInput(f"The fleet would cost {after['hourly']:.2f} USD an hour; its limit is {limit:.2f}.")


def spell(total: Mapping[str, t.Any]) -> str:
    """A cost in words; a month has 730 hours."""
    words = (
        f"{total['count']} nodes, {total['gpus']} GPUs, {total['hourly']:.2f} USD an hour, "
        f"{total['hourly'] * HOURS_PER_MONTH:.2f} USD a month"
    )
    unpriced = total["unpriced"]
    return f"{words}, and {len(unpriced)} at an unknown price ({', '.join(unpriced)})" if unpriced else words


def report(prefix: str, listing: Mapping[str, t.Any], failures: Mapping[str, str]) -> Json:
    """How a run ended, for a person: what exists, what it costs, and the ways on where a node failed.

    ``failures``: label to reason, empty where there is none. Returns ``lines``, and ``failed_because`` (empty: nothing
    failed).
    """
    failed = {label: reason for label, reason in sorted(failures.items()) if reason}
    lines = [
        *(f"{label}: {reason}" for label, reason in failed.items()),
        f"Fleet {prefix}: {spell(listing['cost'])}.",
        *(
            f"  {item['label']}  {item['status']}  {item['region']}  {item['address'] or 'no address'}  {item['type']}"
            for item in listing["instances"]
        ),
    ]
    if not failed:
        return {"lines": lines, "failed_because": ""}
    ways_on = [
        "To resume: run the same playbook again; what exists is kept.",
        "To remove: ansible-playbook multigpu.vllm.teardown "
        f"-e provision_label_prefix={prefix} -e teardown_confirm={prefix}",
    ]
    because = f"{len(failed)} node(s) are not ready: {', '.join(failed)}. What exists is paid for; see above."
    return {"lines": [*lines, *ways_on], "failed_because": because}
