# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create or delete the private network (VPC) and the placement group of Linodes that are one server.

A VPC has no tags. Its description contains the tag of its owner. A placement group has neither tags nor a description.
Its label contains the id of the VPC to which it belongs, so no one else's placement group has that label.
"""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.api import LinodeApi
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import (
    Drift,
    InvalidInput,
    check_owner,
    is_owned,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.idempotent_create import create_once
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.instance import PRIVATE_NETWORK
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.request import check_group_label, check_tags

Json = dict[str, t.Any]

#: Networks of RFC 1918, and the longest prefix of a subnet. Source: Linode's API documentation.
_PRIVATE: t.Final = [ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
_LONGEST_PREFIX: t.Final = 29


def check_subnet(text: str) -> ipaddress.IPv4Network:
    """Validate the network of a VPC subnet and return it.

    :raises InvalidInput: if the API would refuse it.
    """
    try:
        subnet = ipaddress.IPv4Network(text)
        is_valid = subnet.prefixlen <= _LONGEST_PREFIX and any(map(subnet.subnet_of, _PRIVATE))
    except ValueError:
        is_valid = False
    if not is_valid or subnet.overlaps(PRIVATE_NETWORK):
        raise InvalidInput(
            f"subnet must be a private IPv4 network of 8 or more addresses outside of {PRIVATE_NETWORK}, such as "
            f"10.0.0.0/24, got {text!r}."
        )
    return subnet


def present(api: LinodeApi, options: Mapping[str, t.Any], check_mode: bool) -> Json:
    """Create the VPC with its subnet and the placement group unless they exist.

    :returns: ``changed``, ``group`` and ``diff``.

    ``group`` is None in check mode if the VPC does not exist yet.

    :raises InvalidInput: for options that the API would refuse.
    :raises NotOurs: if a VPC of this label belongs to someone else.
    :raises Drift: if the VPC is in another region or has another subnet, or if the placement group has another type.
        Neither of them is ever changed.
    """
    label, region = check_group_label(options["label"]), options["region"]
    (owner,) = check_tags([options["owner_tag"]])
    subnet = str(check_subnet(options["subnet"]))
    after = {"label": label, "region": region, "subnet": subnet, "placement": options["placement"]}

    def find() -> Json | None:
        return next((vpc for vpc in _vpcs(api) if vpc["label"] == label), None)

    existing = vpc = find()
    if vpc is None and check_mode:
        return {"changed": True, "group": None, "diff": {"before": {}, "after": after}}
    if vpc is None:
        subnets = [{"label": label, "ipv4": subnet}]
        body = {"label": label, "region": region, "description": owner, "subnets": subnets}
        # Two runs for one fleet share its VPC, so the tag of the fleet identifies it even after a lost response.
        vpc, _failures = create_once(
            [(region, lambda: api.create_vpc(body))], find, lambda found: is_owned(found, owner), api.budget
        )
    else:
        check_owner(vpc, owner, "The VPC ", "description")
    subnet_ids = {entry.get("ipv4"): entry["id"] for entry in vpc["subnets"]}
    if vpc["region"] != region or subnet not in subnet_ids:
        raise Drift(
            f"The VPC {label} (id {vpc['id']}) exists in {vpc['region']} with the subnets "
            f"{', '.join(map(str, subnet_ids)) or 'none'}, not in {region} with {subnet}. Delete it first "
            "(state=absent), or correct the task."
        )
    placement_id, created = _place(api, vpc, after["placement"], check_mode)
    ids = {"vpc_id": vpc["id"], "subnet_id": subnet_ids[subnet], "placement_group_id": placement_id}
    before = {**after, **({"placement": "none"} if created else {})} if existing else {}
    changed = existing is None or created
    return {"changed": changed, "group": {**after, **ids}, "diff": {"before": before, "after": after}}


def _place(api: LinodeApi, vpc: Json, placement: str, check_mode: bool) -> tuple[int | None, bool]:
    """Create the placement group of the VPC unless it exists. Return its id, if it has one, and whether it is new."""
    if placement == "none":
        return None, False
    label = _placement_label(vpc)
    group = api.placement_group_labelled(label)
    if group is None and check_mode:
        return None, True
    if group is None:
        # With the policy "strict", the API refuses a Linode that it cannot place as requested, before it is billed.
        kind = {"placement_group_type": placement, "placement_group_policy": "strict"}
        body = {"label": label, "region": vpc["region"], **kind}
        group, _failures = create_once(
            [(vpc["region"], lambda: api.create_placement_group(body))],
            lambda: api.placement_group_labelled(label),
            lambda _found: True,
            api.budget,
        )
        return group["id"], True
    if group["placement_group_type"] != placement:
        raise Drift(
            f"The placement group {label} (id {group['id']}) has the type {group['placement_group_type']}, not "
            f"{placement}. Delete the group first (state=absent), or correct the task."
        )
    return group["id"], False


def _placement_label(vpc: Json) -> str:
    return f"{vpc['label']}-{vpc['id']}"


def absent(api: LinodeApi, options: Mapping[str, t.Any], check_mode: bool) -> Json:
    """Delete the VPC with this label and its placement group, or all of the owner if ``label`` is not set.

    :returns: ``changed``, ``group`` (None) and ``diff``.
    :raises InvalidInput: if ``owner_tag`` is not a tag, for example empty.
    :raises NotOurs: if the VPC belongs to someone else.
    :raises Drift: if Linodes are still in a VPC or placement group, which is not deleted then.
    """
    label, (owner,) = options.get("label"), check_tags([options["owner_tag"]])
    vpcs = [vpc for vpc in _vpcs(api) if (vpc["label"] == label if label else is_owned(vpc, owner))]
    for vpc in vpcs:
        check_owner(vpc, owner, "The VPC ", "description")
        if linodes := [str(linode["id"]) for subnet in vpc["subnets"] for linode in subnet.get("linodes") or []]:
            raise Drift(f"The VPC {vpc['label']} was not deleted: it still has the Linodes {', '.join(linodes)}.")
    # Nothing is deleted before all objects have been checked.
    placements = [_unused_placement_group(api, _placement_label(vpc)) for vpc in vpcs]
    for vpc, placement in zip(vpcs, placements, strict=True) if not check_mode else ():

        def is_done(vpc: Json = vpc) -> bool:
            """Return whether the VPC is deleted; raise ``NotOurs`` if its owner has changed."""
            current = next((found for found in _vpcs(api) if found["id"] == vpc["id"]), None)
            if current:
                check_owner(current, owner, "The VPC ", "description")
            return current is None

        if placement is not None:
            _delete_placement_group(api, placement)
        api.delete_vpc(vpc["id"], is_done)
    before = {"labels": [vpc["label"] for vpc in vpcs]} if vpcs else {}
    return {"changed": bool(vpcs), "group": None, "diff": {"before": before, "after": {}}}


def _unused_placement_group(api: LinodeApi, label: str) -> Json | None:
    """Return the placement group with this label, or None without one; raise ``Drift`` if Linodes are in it."""
    group = api.placement_group_labelled(label)
    if group is not None and (linodes := [str(member["linode_id"]) for member in group.get("members") or []]):
        raise Drift(f"The placement group {label} was not deleted: it still has the Linodes {', '.join(linodes)}.")
    return group


def _delete_placement_group(api: LinodeApi, group: Json) -> None:
    api.delete_placement_group(group["id"], lambda: api.placement_group_labelled(group["label"]) is None)


def _vpcs(api: LinodeApi) -> list[Json]:
    """List the VPCs of the account, each with its description as its only tag."""
    return [{**vpc, "tags": [vpc.get("description")]} for vpc in api.vpcs()]
