# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a fleet of GPU Linodes, and report the fleet's nodes and its cost before and after provisioning."""

from __future__ import annotations

import math
import typing as t
from collections import Counter
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.group import check_subnet
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.listing import GROUP_TAG, cost
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import (
    UnknownInstanceType,
    gpu_count,
    is_known_family,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.request import (
    check_group_label,
    check_label,
    check_tags,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.units import counted
from ansible_collections.multigpu.vllm.plugins.plugin_utils.option_limits import InvalidRoleOption, check_value
from ansible_collections.multigpu.vllm.plugins.plugin_utils.options import role_options

Json = dict[str, t.Any]


def expand(
    groups: Sequence[Mapping[str, t.Any]], prefix: str, image: str | None = None, subnet: str | None = None
) -> list[Json]:
    """Return the nodes of a fleet, each with the options that are needed to create it.

    A node has ``label`` (PREFIX-GROUP-NUMBER), ``group``, ``type``, ``regions``, ``image`` (the group's, otherwise
    ``image``), ``expected_gpus`` and ``max_hourly_price``. If the nodes of its group are one server, it also has
    ``vllm_group`` (PREFIX-GROUP), ``private_address`` in ``subnet`` and ``tags``, otherwise these are empty.

    :raises InvalidInput: for an invalid group.
    """
    try:
        valid = check_value("provision_fleet", groups, role_options("provision")["provision_fleet"])
    except InvalidRoleOption as error:
        raise InvalidInput(str(error)) from error
    nodes: list[Json] = []
    names: set[str] = set()
    for group in valid:
        _check_group(group, names)
        names.add(group["name"])
        server = _one_server(group, prefix, subnet) if group["one_server"] else {}
        for number in range(1, group["count"] + 1):
            nodes.append(
                {
                    "label": check_label(f"{prefix}-{group['name']}-{number}"),
                    "group": group["name"],
                    "type": group["plan"].strip().lower(),
                    "regions": group["regions"],
                    "image": group["image"] or image,
                    **{key: group[key] for key in ("expected_gpus", "max_hourly_price")},
                    "vllm_group": server.get("label", ""),
                    "private_address": str(server["hosts"][number - 1]) if server else "",
                    "tags": server.get("tags", []),
                }
            )
    if not nodes:
        raise InvalidInput("provision_fleet must have at least one node.")
    return nodes


def _check_group(group: Mapping[str, t.Any], names: set[str]) -> None:
    name, expected = group["name"], group["expected_gpus"]
    if name in names:
        raise InvalidInput(f"Group {name!r} is listed twice in provision_fleet.")
    try:
        gpus = gpu_count(group["plan"])
    except UnknownInstanceType as error:
        raise InvalidInput(f"Group {name!r}: {error}") from error
    if gpus == 0:
        raise InvalidInput(f"Group {name!r} has the plan {group['plan']}, which has no GPU.")
    # For other families, the API reports the number before a node is created.
    if expected not in (None, gpus) and is_known_family(group["plan"]):
        raise InvalidInput(f"Group {name!r} expects {expected} GPUs, but {group['plan']} has {gpus}.")


def _one_server(group: Mapping[str, t.Any], prefix: str, subnet: str | None) -> Json:
    """Return the label, the tags and the addresses of the nodes in ``group``, which are one server."""
    name, count = group["name"], group["count"]
    if count == 1:
        raise InvalidInput(f"Group {name!r} has one_server, so count must be at least 2, got 1.")
    if len(group["regions"]) != 1:
        raise InvalidInput(
            f"Group {name!r} has one_server, so regions must have exactly one item, got {', '.join(group['regions'])}."
        )
    label = check_group_label(f"{prefix}-{name}")
    # Linode reserves the first two and the last two addresses of a subnet.
    network = check_subnet(subnet or role_options("provision")["provision_group_subnet"]["default"])
    usable = network.num_addresses - 4
    if count > usable:
        raise InvalidInput(f"Group {name!r} has {count} nodes, but {network} has {usable} usable addresses.")
    return {
        "label": label,
        "tags": list(check_tags([f"{GROUP_TAG}{label}"])),
        "hosts": [network[number + 2] for number in range(count)],
    }


def fleet_tag(prefix: str) -> str:
    """Return the tag of the Linodes and firewalls in the fleet. Teardown deletes only resources with this tag."""
    return check_tags([f"multigpu-{prefix}"])[0]


def plan_fleet(
    nodes: Sequence[Json], prefix: str, listing: Mapping[str, t.Any], max_hourly_price: float | None = None
) -> Json:
    """Compare the requested ``nodes`` (see :func:`expand`) with the existing Linodes, and plan which nodes to create.

    ``listing`` is the result of ``linode_instance_info`` for the label prefix; ``max_hourly_price`` limits the cost of
    the whole fleet in USD per hour. Returns ``nodes`` (with ``exists``), ``create`` and ``extra`` (labels), ``groups``
    (label and region of each group of nodes that are one server), ``before`` and ``after`` (see ``listing.cost``), and
    ``lines``, a summary as text.

    :raises InvalidInput: if a price is unknown or above a limit, or if a label is used outside the fleet.
    """
    tag = fleet_tag(prefix)
    existing = {instance["label"]: instance for instance in listing["instances"]}
    members = {label for label, instance in existing.items() if tag in instance["tags"]}
    nodes = [{**node, "exists": node["label"] in existing} for node in nodes]
    foreign = [node["label"] for node in nodes if node["exists"] and node["label"] not in members]
    if foreign:
        raise InvalidInput(
            f"{', '.join(foreign)}: these Linodes exist without the tag {tag}, so they do not belong to this fleet. "
            "Choose another provision_label_prefix, or add the tag to those Linodes."
        )
    current = [existing[label] for label in sorted(members)]
    _check_groups(nodes, {instance["label"]: instance["tags"] for instance in current})
    create = [node for node in nodes if not node["exists"]]
    servers = Counter((node["vllm_group"], node["regions"][0]) for node in nodes if node["vllm_group"])
    before, after = cost(current), cost([*current, *(_price(node, listing["plans"]) for node in create)])
    _check_fleet_price(max_hourly_price, after, create)
    extra = sorted(members - {node["label"] for node in nodes})
    return {
        "nodes": nodes,
        "create": [node["label"] for node in create],
        "extra": extra,
        "groups": [{"label": label, "region": region} for label, region in servers],
        "before": before,
        "after": after,
        "lines": [
            f"Before: {cost_text(before)}.",
            f"To create: {len(create)} of {len(nodes)} nodes.",
            f"After: {cost_text(after)}.",
            *(
                f"One server: the {count} nodes of {label}, connected by the VPC {label} in {region}."
                for (label, region), count in servers.items()
            ),
            *([f"Not in provision_fleet, but existing and billed: {', '.join(extra)}."] if extra else []),
        ],
    }


def _check_groups(nodes: Sequence[Json], tags: Mapping[str, Sequence[str]]) -> None:
    """Refuse existing nodes that were not created as members of their group. ``tags`` has the tags of all Linodes."""
    outside = [node["label"] for node in nodes if node["exists"] and not set(node["tags"]) <= set(tags[node["label"]])]
    if outside:
        raise InvalidInput(
            f"{', '.join(outside)}: these Linodes exist outside of the private network of their group. A Linode joins "
            "the network only when it is created: delete them first, or use another name for the group."
        )


def _price(node: Json, plans: Mapping[str, t.Any]) -> Json:
    """Return the label, number of GPUs and hourly price of a new node.

    The price is that of the most expensive region, because any of the regions may be chosen. If the API token has
    no access to the plan, the price is None.
    """
    plan = plans.get(node["type"]) or {"gpus": gpu_count(node["type"]), "hourly_price": None, "region_prices": {}}
    limit = node["max_hourly_price"]
    prices = [plan["region_prices"].get(region) or plan["hourly_price"] for region in node["regions"]]
    eligible = [price for price in prices if price and (limit is None or price <= float(limit))]
    if limit is not None and not eligible:
        listed = ", ".join("unknown" if not price else f"{price:.2f}" for price in prices)
        raise InvalidInput(
            f"{node['type']} for {node['label']} costs {listed} USD per hour in {', '.join(node['regions'])}; "
            f"max_hourly_price is {float(limit):.2f}."
        )
    return {"label": node["label"], "gpus": plan["gpus"], "hourly_price": max(eligible) if eligible else None}


def _check_fleet_price(limit: float | None, after: Json, create: Sequence[Json]) -> None:
    if limit is None:
        return
    if not 0 < limit < math.inf:
        raise InvalidInput(f"provision_max_hourly_price must be finite and greater than 0, got {limit}.")
    if not create:
        return
    if after["unpriced"]:
        labels = ", ".join(after["unpriced"])
        raise InvalidInput(f"The API reports no price for {labels}, so provision_max_hourly_price cannot be checked.")
    if after["hourly"] > limit:
        raise InvalidInput(
            f"The fleet would cost {after['hourly']:.2f} USD per hour; provision_max_hourly_price is {limit:.2f}."
        )


def cost_text(total: Mapping[str, t.Any]) -> str:
    """Format a cost as text. The cost per month assumes that a month has 730 hours."""
    text = (
        f"{counted(total['count'], 'node')}, {counted(total['gpus'], 'GPU')}, {total['hourly']:.2f} USD per hour, "
        f"{total['monthly']:.2f} USD per month"
    )
    unpriced = total["unpriced"]
    return f"{text}, and {len(unpriced)} at an unknown price ({', '.join(unpriced)})" if unpriced else text


def fleet_report(listing: Mapping[str, t.Any], prefix: str, failures: Mapping[str, str] | None = None) -> Json:
    """Report the existing nodes, their cost and the failed nodes.

    If a node failed, the report also explains how to resume provisioning and how to remove the fleet.

    ``failures`` maps labels to reasons, empty for nodes that did not fail. Returns ``lines``, and ``failed_because``,
    which is empty if no node failed.
    """
    failed = {label: reason for label, reason in sorted((failures or {}).items()) if reason}
    lines = [
        *(f"{label}: {reason}" for label, reason in failed.items()),
        f"Fleet {prefix}: {cost_text(listing['cost'])}.",
        *(
            f"  {instance['label']}  {instance['status']}  {instance['region']}  "
            f"{instance['address'] or 'no address'}  {instance['type']}"
            for instance in listing["instances"]
        ),
    ]
    if not failed:
        return {"lines": lines, "failed_because": ""}
    next_steps = [
        "To resume: run the same playbook again; existing nodes are kept.",
        "To remove: ansible-playbook multigpu.vllm.teardown "
        f"-e provision_label_prefix={prefix} -e provision_teardown_confirm={prefix}",
    ]
    reason = f"{len(failed)} node(s) are not ready: {', '.join(failed)}. Existing nodes are billed; see above."
    return {"lines": [*lines, *next_steps], "failed_because": reason}
