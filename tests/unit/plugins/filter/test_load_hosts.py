# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shares of load hosts, and one load of them."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.filter import load_hosts as subject

FILTERS = subject.FilterModule().filters()
CLOCK = {"offset": 2.0, "uncertainty": 0.0, "time": 100.0}


def test_shares():
    (share,) = FILTERS["load_shares"](["a"], [CLOCK], lead=5.0)
    assert (share["host"], share["start_at"]) == ("a", 107.0)


def test_a_part_that_failed():
    assert FILTERS["merge_loads"]([{"msg": "gone"}])["msg"] == "load hosts: number 1: gone"


def test_hosts_that_cannot_begin():
    lost = {
        "item": "b",
        "unreachable": True,
        "msg": "Task failed: Failed to connect to the host via ssh: ssh: no route",
    }
    assert FILTERS["load_host_errors"]([CLOCK | {"item": "a"}, lost]) == ["b cannot be reached: no route"]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("load_shares", (["a"], []), "load_shares: give the clock_offset of each of a"),
        ("merge_loads", ([], [CLOCK]), "merge_loads: 0 results of 1 load hosts"),
        ("merge_loads", ([{"results": [{"name": "x"}]}],), "merge_loads: 'gpu_samples'"),
    ],
)
def test_what_is_not_possible(name, arguments, words):
    with pytest.raises(AnsibleFilterError) as problem:
        FILTERS[name](*arguments)
    assert words in str(problem.value)
