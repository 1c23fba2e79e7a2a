# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several Linodes at once: what belongs to a fleet and what it costs."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.api import LinodeApi
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
    plans = api.plans()
    # The API filters by one tag at a time; the rest is done here.
    everything = _summaries(plans, api.instances({"tags": tags[0]} if tags else None))
    instances = members(everything, tags, label_prefix)
    return {"instances": instances, "cost": cost(instances), "plans": _gpu_plans(plans)}


def snapshot(api: LinodeApi) -> list[Json]:
    """Summaries of all Linodes of the account."""
    return _summaries(api.plans(), api.instances())


def _summaries(plans: Iterable[Json], instances: Iterable[Json]) -> list[Json]:
    known = {plan["id"]: plan for plan in plans}
    return [summary(item, known.get(item["type"])) for item in instances]


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
