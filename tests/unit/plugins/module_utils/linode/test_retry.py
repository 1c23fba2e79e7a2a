# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import RetriesExhausted, Transient
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.retry import (
    LONGEST_PAUSE,
    MAX_ATTEMPTS,
    Clock,
    RetryBudget,
    RetryPolicy,
)


def retry_budget(world, seconds=1000.0):
    return RetryBudget(seconds, world.clock, jitter=lambda: 0.0)


def fault(kind="unavailable", retry_after=None):
    return Transient(kind, "trouble", retry_after=retry_after)


def test_pause_doubles_up_to_the_longest(world):
    policy, pauses = RetryPolicy(retry_budget(world)), []
    for _number in range(7):
        before = world.clock.now()
        policy.pause(fault())
        pauses.append(world.clock.now() - before)

    assert pauses == [1, 2, 4, 8, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_pause_follows_retry_after(world):
    RetryPolicy(retry_budget(world)).pause(fault(retry_after=42))

    assert world.clock.now() == 42


def test_pause_never_exceeds_the_budget(world):
    budget = retry_budget(world, 10.0)
    policy = RetryPolicy(budget)
    with pytest.raises(RetriesExhausted, match=r"Gave up after 7 s of 10 s: trouble"):
        for _number in range(9):
            policy.pause(fault())

    assert budget.elapsed == 7
    assert budget.remaining == 3


def test_pause_beyond_the_budget_fails_at_once(world):
    with pytest.raises(RetriesExhausted, match="requests a pause of another 3600 s"):
        RetryPolicy(retry_budget(world, 600.0)).pause(fault(retry_after=3600))
    assert world.clock.now() == 0


@pytest.mark.parametrize(("kind", "limit"), [(kind, limit) for kind, limit in MAX_ATTEMPTS.items() if limit])
def test_pause_stops_after_max_attempts(world, kind, limit):
    policy, attempts = RetryPolicy(retry_budget(world)), 0
    with pytest.raises(RetriesExhausted, match=f"after {limit} attempts"):
        while True:
            attempts += 1
            policy.pause(fault(kind))

    assert attempts == limit


def test_policy_counts_per_request(world):
    budget = retry_budget(world)
    for _request in range(4):
        RetryPolicy(budget).pause(fault("unreadable"))

    assert budget.elapsed == 4


def test_clock_is_monotonic():
    clock = Clock()
    before = clock.now()
    clock.sleep(0.001)

    assert clock.now() > before
