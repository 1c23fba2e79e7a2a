# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the cost of a node: its price, the price per million output tokens, and the part that buys no speed.

The price is set by the user, or else it is Linode's list price of the plan. An unknown price results in None, not in 0.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import plan
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.pricing import HOURS_PER_MONTH

_SECONDS_PER_HOUR: t.Final = 3600
#: Number of tokens to which a price refers, as is usual for hosted models.
_TOKENS: t.Final = 1_000_000

#: Reasons why a part of the price buys no speed: servers that answer no requests, GPUs that the plan promises but that
#: are missing or do not respond, GPUs that hold no part of the model, and GPUs that are slower than expected.
REASONS: t.Final = ("dead", "missing", "idle", "slow")

Cost = dict[str, t.Any]


def price_errors(price: float | None, option: str) -> list[str]:
    """Return error messages if ``price``, the value of the option ``option``, is not a finite number greater than 0."""
    if price is None or 0 < price < math.inf:
        return []
    return [f"{option} must be greater than 0 US dollars, got {price:g}"]


def hourly_price(price: float | None, instance_type: str | None) -> tuple[float, str] | None:
    """Return the price in US dollars per hour and its source, or None if the price is unknown.

    :param price: price that the user set; it takes precedence over the list price.
    :param instance_type: type id of the plan.
    """
    if price is not None:
        return price, "validate_hourly_price"
    instance_plan = plan(instance_type) if instance_type else None
    if instance_plan is None or instance_plan.price_hourly is None:
        return None
    return instance_plan.price_hourly, f"list price of {instance_type}"


def per_million(hourly: float, throughput: float | None) -> float | None:
    """Return the price of a million output tokens: ``hourly / (throughput x 3600) x 10^6``.

    :param hourly: price in US dollars per hour.
    :param throughput: output tokens per second.
    :returns: price in US dollars, or None if the throughput is 0 or unknown.
    """
    return hourly / (throughput * _SECONDS_PER_HOUR) * _TOKENS if throughput else None


def wasted_shares(
    paid: int, working: int, idle: int, attained: float | None, *, dead: bool = False
) -> dict[str, float]:
    """Return the parts of a node's price that buy no speed, as shares of the price, by reason (``REASONS``).

    Every GPU of the plan costs the same. Slow GPUs waste the part of the expected speed that one stream does not reach.

    :param paid: number of GPUs in the plan.
    :param working: number of GPUs that respond.
    :param idle: number of responding GPUs that hold no part of the model.
    :param attained: speed of one stream as a percentage of its expected speed if it is too slow, otherwise None.
    :param dead: whether the server answers no requests; then the whole node is wasted.
    """
    if dead:
        return {**dict.fromkeys(REASONS, 0.0), "dead": 1.0}
    if not paid:
        return dict.fromkeys(REASONS, 0.0)
    used = max(min(working, paid) - idle, 0)
    slow = 0.0 if attained is None else max(1 - attained / 100, 0.0)
    return {
        "dead": 0.0,
        "missing": max(paid - working, 0) / paid,
        "idle": min(idle, paid) / paid,
        "slow": slow * used / paid,
    }


def node_cost(
    price: float | None, instance_type: str | None, throughput: float | None, shares: Mapping[str, float]
) -> Cost | None:
    """Return the cost of one node in US dollars, or None if the price of the node is unknown.

    :param throughput: output tokens per second of all streams, or None if there was no load test.
    :param shares: result of ``wasted_shares``.
    :returns: ``source`` of the price, ``per_million_output_tokens``, and the amounts of ``_amounts``.
    """
    priced = hourly_price(price, instance_type)
    if priced is None:
        return None
    hourly, source = priced
    wasted = {reason: hourly * share for reason, share in shares.items()}
    return {"source": source, **_amounts(hourly, wasted), "per_million_output_tokens": per_million(hourly, throughput)}


def _amounts(hourly: float, wasted: Mapping[str, float]) -> Cost:
    """Return a price and its wasted part, in US dollars per hour and per month of 730 hours.

    :param wasted: US dollars per hour by reason. ``idle_hourly`` repeats the part for idle GPUs.
    """
    total = sum(wasted.values())
    return {
        "hourly_price": hourly,
        "monthly_price": hourly * HOURS_PER_MONTH,
        "idle_hourly": wasted["idle"],
        "wasted": dict(wasted),
        "wasted_hourly": total,
        "wasted_monthly": total * HOURS_PER_MONTH,
    }


def fleet_cost(nodes: Mapping[str, Mapping[str, t.Any]]) -> Cost | None:
    """Return the total cost of all nodes whose price is known, or None if no price is known.

    ``nodes`` is the number of these nodes. ``per_million_output_tokens`` is None if the speed of any of these nodes is
    unknown, because the total price includes that node.
    """
    facts = [node["facts"] for node in nodes.values() if node["facts"]["cost"]]
    if not facts:
        return None
    hourly = sum(item["cost"]["hourly_price"] for item in facts)
    speeds = [item["output_throughput"] for item in facts]
    wasted = {reason: sum(item["cost"]["wasted"][reason] for item in facts) for reason in REASONS}
    return {
        "nodes": len(facts),
        **_amounts(hourly, wasted),
        "per_million_output_tokens": per_million(hourly, sum(speeds)) if all(speeds) else None,
    }
