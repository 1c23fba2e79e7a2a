# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests for the hosts that serve one model together."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.groups import (
    Group,
    address_faults,
    batch_sizes,
    group_of,
    members,
)

INTERFACES: t.Final = [
    {"name": "lo", "addresses": ["127.0.0.1"]},
    {"name": "eth0", "addresses": ["203.0.113.7"]},
    {"name": "eth1", "addresses": ["10.0.0.2"]},
    {"name": "docker0", "addresses": []},
]


def host(address: str, refused: list[str] | None = None, **shared: t.Any) -> dict[str, t.Any]:
    plan = {"plan": {"refused": refused or [], "group": {"shared": shared}}} if shared else {}
    return {"vllm_group": "big", "vllm_private_address": address, "__vllm_plan": plan}


def group(hostvars: dict[str, dict[str, t.Any]], name: str = "a", active: list[str] | None = None) -> Group:
    return group_of(name, "big", hostvars, hostvars, list(hostvars) if active is None else active)


def test_members_mixed_inventory_returns_the_groups_in_inventory_order() -> None:
    hostvars = {
        "b1": {"vllm_group": "b"},
        "alone": {},
        "a1": {"vllm_group": "a"},
        "b0": {"vllm_group": "b"},
        "empty": {"vllm_group": ""},
        "seven": {"vllm_group": 7},
    }
    groups = members(hostvars, ["b0", "alone", "a1", "b1", "empty", "seven"])
    assert groups == {"b": ["b0", "b1"], "a": ["a1"], "7": ["seven"]}
    assert list(groups) == ["b", "a", "7"]


def test_group_of_second_host_has_rank_1_and_all_addresses() -> None:
    hostvars = {"a": host("10.0.0.1"), "other": {}, "b": host("10.0.0.2")}
    assert group(hostvars, "b") == Group("big", ("a", "b"), 1, ("10.0.0.1", "10.0.0.2"))


@pytest.mark.parametrize(
    ("changes", "active", "text"),
    [
        ({"b": {}}, None, "vllm_group big has one host"),
        ({}, ["a"], "must be deployed together, and b is not in this batch"),
        ({"b": host("10.0.0.1")}, None, "a and b have the same vllm_private_address 10.0.0.1"),
        ({"a": host("10.0.0.1", x=1), "b": host("10.0.0.2", x=2)}, None, "the same x: a has 1, b has 2"),
        ({"a": host("10.0.0.1", x=1), "b": host("10.0.0.2", ["no GPU"], x=1)}, None, "b: no GPU"),
        ({"a": {}}, None, "must be a variable of the inventory"),
    ],
)
def test_group_of_unusable_hosts_has_the_fault(
    changes: dict[str, dict[str, t.Any]], active: list[str] | None, text: str
) -> None:
    faults = group({"a": host("10.0.0.1"), "b": host("10.0.0.2"), **changes}, active=active).faults
    assert len(faults) == 1
    assert text in faults[0]


def test_group_of_reports_a_reason_of_both_hosts_once() -> None:
    both = ["the image is too old"]
    assert group({"a": host("10.0.0.1", both, x=1), "b": host("10.0.0.2", both, x=1)}).faults == ()


@pytest.mark.parametrize(
    ("address", "interface", "text"),
    [
        ("10.0.0.2", None, ""),
        ("10.0.0.2", "eth0", ""),
        ("", None, "vllm_private_address is required"),
        ("127.0.0.1", None, "loopback"),
        ("10.0.0.9", None, "not an address of the node, which has lo 127.0.0.1, eth0 203.0.113.7, eth1 10.0.0.2"),
        ("10.0.0.2", "eth7", "unknown interface eth7"),
    ],
)
def test_address_faults_name_the_addresses_of_the_node(address: str, interface: str | None, text: str) -> None:
    faults = address_faults(address, interface, INTERFACES)
    assert bool(faults) is bool(text)
    assert text in "".join(faults)


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [([1], [2, 1, 3, 1]), ([2], [3, 4]), (["50%"], [3, 4]), (["10%"], [2, 1, 3, 1]), (["100%"], [7]), ([0], [7]),
     ([1, "75%"], [2, 5])],
)  # fmt: skip
def test_batch_sizes_count_groups_as_one_server(limits: list[t.Any], sizes: list[int]) -> None:
    assert batch_sizes([["a", "b"], ["c"], ["d", "e", "f"], ["g"]], limits) == sizes


def test_batch_sizes_unknown_limit_raises() -> None:
    with pytest.raises(ValueError, match="many"):
        batch_sizes([["a"]], ["many"])
