# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.link.tournament import opponents


@pytest.mark.parametrize("members", range(1, 18))
def test_opponents_meet_once_and_one_at_a_time(members: int) -> None:
    schedule = [opponents(members, member) for member in range(members)]
    assert {len(row) for row in schedule} == {members - 1 + members % 2}
    for member, row in enumerate(schedule):
        assert all(partner is None or schedule[partner][number] == member for number, partner in enumerate(row))
    met = [{member, partner} for member, row in enumerate(schedule) for partner in row if partner is not None]
    pairs = [set(pair) for pair in itertools.combinations(range(members), 2)]
    assert sorted(map(sorted, met)) == sorted([*map(sorted, pairs), *map(sorted, pairs)])
    assert sum(row.count(None) for row in schedule) == members * (members % 2)
