# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the Linodes in an account, with their GPUs and cost."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.linode import pricing
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.api import LinodeApi
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.instance import summary

Json = dict[str, t.Any]


#: Start of the tag that names the group (``vllm_group``) of a Linode: the Linodes that are one server.
GROUP_TAG: t.Final = "vllm_group:"


def group_of(instance: Mapping[str, t.Any]) -> str:
    """Return the group to which a Linode belongs according to its tags, or an empty string."""
    names = (tag.removeprefix(GROUP_TAG) for tag in instance.get("tags") or () if tag.startswith(GROUP_TAG))
    return next(names, "")


def select(instances: Iterable[Json], tags: Sequence[str] | None, label_prefix: str | None) -> list[Json]:
    """Return the instances that have all ``tags`` and whose label starts with ``label_prefix``, sorted by label.

    Numbers in labels are compared as numbers: the order of the members of a group determines their ranks.
    """
    required = set(tags or ())
    selected = [
        instance
        for instance in instances
        if required <= set(instance.get("tags") or ()) and instance["label"].startswith(label_prefix or "")
    ]
    return sorted(selected, key=lambda instance: _natural_order(instance["label"]))


def _natural_order(label: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", label)]


def cost(instances: Iterable[Mapping[str, t.Any]]) -> Json:
    """Return the number of instances, their total number of GPUs, and their total cost in USD.

    ``unpriced`` lists the labels of instances whose price is unknown. The cost does not include these instances.
    """
    listed = list(instances)
    prices = [instance["hourly_price"] for instance in listed if instance["hourly_price"] is not None]
    hourly = round(sum(prices), 4)
    return {
        "count": len(listed),
        "gpus": sum(instance["gpus"] or 0 for instance in listed),
        "hourly": hourly,
        "monthly": round(hourly * pricing.HOURS_PER_MONTH, 2),
        "unpriced": [instance["label"] for instance in listed if instance["hourly_price"] is None],
    }


def list_fleet(api: LinodeApi, tags: Sequence[str] | None, label_prefix: str | None) -> Json:
    """Return the summaries of the selected Linodes, their total cost, and the available GPU plans with their prices."""
    plans = api.plans()
    # The API can filter by one tag only; ``select`` checks the other tags and the label.
    candidates = _summaries(plans, api.instances({"tags": tags[0]} if tags else None))
    instances = _with_vpc_addresses(api, select(candidates, tags, label_prefix))
    return {"instances": instances, "cost": cost(instances), "plans": _gpu_plans(plans)}


def list_account(api: LinodeApi) -> list[Json]:
    """Return the summaries of all Linodes in the account."""
    return _with_vpc_addresses(api, _summaries(api.plans(), api.instances()))


def _with_vpc_addresses(api: LinodeApi, instances: list[Json]) -> list[Json]:
    """Add the VPC addresses of members of groups, with one request. Without members, no request is sent."""
    if not any(map(group_of, instances)):
        return instances
    # An address in use takes precedence over that of a configuration with which the Linode was not started.
    entries = sorted(api.vpc_addresses(), key=lambda entry: bool(entry.get("active")))
    addresses = {entry.get("linode_id"): entry["address"] for entry in entries}
    return [{**instance, "vpc_address": addresses.get(instance["id"])} for instance in instances]


def _summaries(plans: Iterable[Json], instances: Iterable[Json]) -> list[Json]:
    plan_by_id = {plan["id"]: plan for plan in plans}
    return [summary(instance, plan_by_id.get(instance["type"])) for instance in instances]


def _gpu_plans(plans: Iterable[Json]) -> Json:
    return {
        plan["id"]: {
            "gpus": pricing.gpu_count(plan),
            "hourly_price": pricing.hourly_price(plan, ""),
            "region_prices": {price["id"]: price.get("hourly") for price in plan.get("region_prices") or []},
        }
        for plan in plans
        if pricing.gpu_count(plan)
    }
