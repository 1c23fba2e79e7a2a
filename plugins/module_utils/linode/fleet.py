# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several Linodes at once: what belongs to a fleet and what it costs."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.api import LinodeApi
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.instance import summary
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.pricing import (
    gpu_count,
    hourly_price,
    monthly_price,
)

Json = dict[str, t.Any]


def members(instances: Iterable[Json], tags: Sequence[str] | None, label_prefix: str | None) -> list[Json]:
    """Those that carry all ``tags`` and whose label begins with ``label_prefix``, by label."""
    wanted = set(tags or ())
    kept = [
        item
        for item in instances
        if wanted <= set(item.get("tags") or ()) and item["label"].startswith(label_prefix or "")
    ]
    return sorted(kept, key=lambda item: item["label"])


def cost(instances: Iterable[Mapping[str, t.Any]]) -> Json:
    """Totals over summaries: ``count``, ``gpus``, ``hourly``, ``monthly`` (USD, without ``unpriced`` labels)."""
    listed = list(instances)
    prices = [item["hourly_price"] for item in listed if item["hourly_price"] is not None]
    hourly = round(sum(prices), 4)
    return {
        "count": len(listed),
        "gpus": sum(item["gpus"] or 0 for item in listed),
        "hourly": hourly,
        "monthly": monthly_price(hourly),
        "unpriced": [item["label"] for item in listed if item["hourly_price"] is None],
    }


def listing(api: LinodeApi, tags: Sequence[str] | None, label_prefix: str | None) -> Json:
    """``instances`` (summaries), ``cost``, and ``plans`` (GPU plans: gpus, hourly price, regional prices)."""
    plans = {plan["id"]: plan for plan in api.plans()}
    filters = {"tags": tags[0]} if tags else None
    kept = members(api.instances(filters), tags, label_prefix)
    instances = [summary(item, plans.get(item["type"])) for item in kept]
    return {"instances": instances, "cost": cost(instances), "plans": _gpu_plans(plans.values())}


def _gpu_plans(plans: Iterable[Json]) -> Json:
    return {
        plan["id"]: {
            "gpus": gpu_count(plan),
            "hourly_price": hourly_price(plan, ""),
            "region_prices": {item["id"]: item.get("hourly") for item in plan.get("region_prices") or []},
        }
        for plan in plans
        if gpu_count(plan)
    }


def expand(groups: Sequence[Mapping[str, t.Any]], prefix: str) -> list[Json]:
    """One entry a node from groups of ``{name, count, plan, regions}``: labels are ``prefix-name-1`` and so on.

    Further keys of a group go along to each of its nodes.

    :raises InvalidInput: for a group without name, plan or regions, a count below 0, or a name that occurs twice.
    """
    nodes: list[Json] = []
    seen: set[str] = set()
    for group in groups:
        lacking = [key for key in ("name", "plan", "regions") if not group.get(key)]
        if lacking:
            raise InvalidInput(f"Fleet group {group.get('name', group)!r} lacks {', '.join(lacking)}.")
        name, count = group["name"], int(group.get("count", 1))
        if name in seen:
            raise InvalidInput(f"Fleet group {name!r} occurs twice.")
        if count < 0:
            raise InvalidInput(f"Fleet group {name!r} has the count {count}.")
        seen.add(name)
        own = {key: value for key, value in group.items() if key not in ("name", "count")}
        nodes.extend({**own, "group": name, "label": f"{prefix}-{name}-{number}"} for number in range(1, count + 1))
    return nodes
