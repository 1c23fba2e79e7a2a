# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node's speed costs: its price by the hour, per million output tokens, and the part paid for idle GPUs.

The price is the user's own, or Linode's list price of the plan. A plan whose price is not known has no cost, never 0.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import plan

#: Seconds of the hour that plans are billed by.
_HOUR: t.Final = 3600
#: Hosted models are sold by this many tokens, so this is what people compare with.
_TOKENS: t.Final = 1_000_000

Cost = dict[str, t.Any]


def price_errors(price: float | None, option: str) -> list[str]:
    """What is wrong with a price of the user's own, in words that name the ``option``; empty where nothing is."""
    if price is None or 0 < price < math.inf:
        return []
    return [f"{option} is {price:g}; allowed: more than 0 US dollars"]


def hourly_price(price: float | None, instance_type: str | None) -> tuple[float, str] | None:
    """US dollars an hour and where that is from; ``None`` where nobody knows."""
    if price is not None:
        return price, "validate_hourly_price"
    known = plan(instance_type) if instance_type else None
    if known is None or known.price_hourly is None:
        return None
    return known.price_hourly, f"list price of {instance_type}"


def per_million(hourly: float, throughput: float | None) -> float | None:
    """US dollars per million output tokens: ``hourly / (throughput x 3600) x 10^6``, ``throughput`` in tokens/s."""
    return hourly / (throughput * _HOUR) * _TOKENS if throughput else None


def node_cost(
    price: float | None, instance_type: str | None, throughput: float | None, gpus: int | None, idle: Sequence[int]
) -> Cost | None:
    """``hourly_price, source, per_million_output_tokens, idle_hourly`` in US dollars; ``None`` without a price.

    :param throughput: output tokens per second of all streams; ``None`` where no load was made.
    :param gpus: GPUs of the node; ``idle`` are the indices of those without a part of the model.
    """
    known = hourly_price(price, instance_type)
    if known is None:
        return None
    hourly, source = known
    return {
        "hourly_price": hourly,
        "source": source,
        "per_million_output_tokens": per_million(hourly, throughput),
        "idle_hourly": hourly * len(idle) / gpus if gpus and idle else 0.0,
    }


def fleet_cost(nodes: Mapping[str, Mapping[str, t.Any]]) -> Cost | None:
    """The same over all nodes with a price, and their number (``nodes``); ``None`` where no node has one.

    ``per_million_output_tokens`` is ``None`` where one of them has no measured speed: it is paid for all the same.
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
