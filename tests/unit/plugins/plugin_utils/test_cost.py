# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the price of a node by source, and the cost per token and of idle GPUs."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils import cost

PLAN = "g2-gpu-rtx4000a4-m"


@pytest.mark.parametrize(
    ("price", "instance_type", "expected"),
    [
        (None, PLAN, (3.57, f"list price of {PLAN}")),
        (2.5, PLAN, (2.5, "validate_hourly_price")),
        (None, "g3-gpu-rtxpro6000-blackwell-4", None),
        (None, "g9-gpu-unheard-of-4", None),
        (None, None, None),
    ],
)
def test_hourly_price_of_the_user_takes_precedence(price, instance_type, expected):
    assert cost.hourly_price(price, instance_type) == expected


@pytest.mark.parametrize(("price", "count"), [(None, 0), (0.01, 0), (0, 1), (-1, 1), (float("inf"), 1)])
def test_price_errors_for_prices_not_positive(price, count):
    errors = cost.price_errors(price, "hourly_price")
    assert len(errors) == count
    assert all("hourly_price must be greater than 0" in error for error in errors)


def test_per_million_output_tokens():
    # 1,000 tokens/s are 3.6 million tokens per hour.
    assert cost.per_million(3.6, 1000.0) == pytest.approx(1.0)
    assert cost.per_million(3.6, None) is None
    assert cost.per_million(3.6, 0.0) is None


@pytest.mark.parametrize(
    ("paid", "working", "idle", "attained", "dead", "wasted"),
    [
        (4, 4, 0, None, False, {}),
        (4, 4, 3, None, False, {"idle": 3.0}),
        (4, 3, 1, None, False, {"missing": 1.0, "idle": 1.0}),
        (4, 4, 0, 25.0, False, {"slow": 3.0}),
        (4, 3, 1, 50.0, False, {"missing": 1.0, "idle": 1.0, "slow": 1.0}),
        (4, 4, 0, 130.0, False, {}),
        (4, 3, 0, None, True, {"dead": 4.0}),
        (0, 0, 0, None, True, {"dead": 4.0}),
        (0, 0, 0, None, False, {}),
    ],
)
def test_node_cost_splits_the_price_by_what_the_plan_promises(paid, working, idle, attained, dead, wasted):
    shares = cost.wasted_shares(paid, working, idle, attained, dead=dead)
    result = cost.node_cost(4.0, None, 100.0, shares)
    assert {reason: amount for reason, amount in result["wasted"].items() if amount} == wasted
    assert result["wasted_hourly"] == sum(wasted.values())
    assert result["wasted_monthly"] == 730 * sum(wasted.values())
    assert cost.node_cost(None, None, 100.0, shares) is None


def node(throughput, hourly_price=None, idle=0.0):
    shares = {**dict.fromkeys(cost.REASONS, 0.0), "idle": idle / (hourly_price or 1)}
    return {"facts": {"output_throughput": throughput, "cost": cost.node_cost(hourly_price, None, throughput, shares)}}


def test_fleet_cost_sums_nodes_with_a_price():
    nodes = {
        "a": node(500.0, hourly_price=3.0),
        "b": node(1500.0, hourly_price=4.2, idle=2.1),
        "c": node(900.0),
    }
    fleet = cost.fleet_cost(nodes)
    assert (fleet["nodes"], fleet["hourly_price"], fleet["idle_hourly"]) == (2, 7.2, 2.1)
    assert fleet["per_million_output_tokens"] == pytest.approx(1.0)


def test_fleet_cost_without_a_speed_has_no_price_per_token():
    nodes = {"a": node(500.0, hourly_price=3.0), "b": node(None, hourly_price=3.0)}
    assert cost.fleet_cost(nodes)["per_million_output_tokens"] is None
    assert cost.fleet_cost({"c": node(1.0)}) is None
