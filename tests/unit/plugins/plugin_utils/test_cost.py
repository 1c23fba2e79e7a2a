# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prices: who names them, and what they come to per token and per idle GPU."""

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
def test_the_own_price_goes_before_the_list(price, instance_type, expected):
    assert cost.hourly_price(price, instance_type) == expected


@pytest.mark.parametrize(("price", "wrong"), [(None, 0), (0.01, 0), (0, 1), (-1, 1), (float("inf"), 1)])
def test_a_price_is_more_than_nothing(price, wrong):
    found = cost.price_errors(price, "hourly_price")
    assert len(found) == wrong
    assert all("hourly_price" in words for words in found)


def test_per_million():
    # 1,000 tokens a second are 3.6 million an hour.
    assert cost.per_million(3.6, 1000.0) == pytest.approx(1.0)
    assert cost.per_million(3.6, None) is None
    assert cost.per_million(3.6, 0.0) is None


def test_idle_gpus_cost_their_share():
    known = cost.node_cost(4.0, None, 100.0, 4, [1, 2, 3])
    assert known is not None
    assert known["idle_hourly"] == 3.0
    assert cost.node_cost(4.0, None, 100.0, None, [1])["idle_hourly"] == 0.0
    assert cost.node_cost(None, None, 100.0, 4, [1]) is None


def node(throughput, **known):
    return {"facts": {"output_throughput": throughput, "cost": known or None}}


def test_fleet():
    nodes = {
        "a": node(500.0, hourly_price=3.0, idle_hourly=0.0),
        "b": node(1500.0, hourly_price=4.2, idle_hourly=2.1),
        "c": node(900.0),
    }
    found = cost.fleet_cost(nodes)
    assert (found["nodes"], found["hourly_price"], found["idle_hourly"]) == (2, 7.2, 2.1)
    assert found["per_million_output_tokens"] == pytest.approx(1.0)


def test_a_node_that_serves_nothing_leaves_the_fleet_without_a_price_per_token():
    nodes = {"a": node(500.0, hourly_price=3.0, idle_hourly=0.0), "b": node(None, hourly_price=3.0, idle_hourly=0.0)}
    assert cost.fleet_cost(nodes)["per_million_output_tokens"] is None
    assert cost.fleet_cost({"c": node(1.0)}) is None
