# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests for the hosts that serve one model together."""

from __future__ import annotations

from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.groups import members


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
