# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the cost of a node: its hourly price, the price per million output tokens, and the price of idle GPUs.

The price is set by the user, or else it is Linode's list price of the plan. An unknown price results in None, not in 0.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import plan

_SECONDS_PER_HOUR: t.Final = 3600
#: Number of tokens to which a price refers, as is usual for hosted models.
_TOKENS: t.Final = 1_000_000

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


def node_cost(
    price: float | None, instance_type: str | None, throughput: float | None, gpus: int | None, idle: Sequence[int]
) -> Cost | None:
    """Return the cost of one node in US dollars, or None if the price of the node is unknown.

    :param throughput: output tokens per second of all streams, or None if there was no load test.
    :param gpus: number of GPUs of the node.
    :param idle: indices of the GPUs that hold no part of the model.
    :returns: ``hourly_price``, ``source``, ``per_million_output_tokens`` and ``idle_hourly``.
    """
    priced = hourly_price(price, instance_type)
    if priced is None:
        return None
    hourly, source = priced
    return {
        "hourly_price": hourly,
        "source": source,
        "per_million_output_tokens": per_million(hourly, throughput),
        "idle_hourly": hourly * len(idle) / gpus if gpus and idle else 0.0,
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
    return {
        "nodes": len(facts),
        "hourly_price": hourly,
        "per_million_output_tokens": per_million(hourly, sum(speeds)) if all(speeds) else None,
        "idle_hourly": sum(item["cost"]["idle_hourly"] for item in facts),
    }
