# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import PATIENCE, GaveUp, Transient
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.retry import LONGEST_PAUSE, Clock, Patience


def made(world, budget=1000.0):
    return Patience(budget, world.clock, jitter=lambda: 0.0)


def fault(kind="unavailable", retry_after=None):
    return Transient(kind, "trouble", retry_after=retry_after)


def test_pauses_grow_up_to_the_longest(world):
    attempts, pauses = made(world).attempts(), []
    for _number in range(7):
        before = world.clock.now()
        attempts.pause(fault())
        pauses.append(world.clock.now() - before)

    assert pauses == [1, 2, 4, 8, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_the_api_decides_where_it_names_a_pause(world):
    made(world).attempts().pause(fault(retry_after=42))

    assert world.clock.now() == 42


def test_budget_is_never_overdrawn(world):
    patience = made(world, 10.0)
    attempts = patience.attempts()
    with pytest.raises(GaveUp, match=r"Gave up after 7 s of 10 s: trouble"):
        for _number in range(9):
            attempts.pause(fault())

    assert patience.elapsed == 7
    assert patience.remaining == 3


def test_pause_beyond_the_budget_is_told_at_once(world):
    with pytest.raises(GaveUp, match="asks to wait another 3600 s"):
        made(world, 600.0).attempts().pause(fault(retry_after=3600))
    assert world.clock.now() == 0


@pytest.mark.parametrize(("kind", "most"), [(kind, most) for kind, most in PATIENCE.items() if most])
def test_lasting_mistakes_end_early(world, kind, most):
    attempts, tried = made(world).attempts(), 0
    with pytest.raises(GaveUp, match=f"after {most} attempts"):
        while True:
            tried += 1
            attempts.pause(fault(kind))

    assert tried == most


def test_each_request_has_its_own_count(world):
    patience = made(world)
    for _request in range(4):
        patience.attempts().pause(fault("unreadable"))

    assert patience.elapsed == 4


def test_real_clock_goes_forward():
    clock = Clock()
    before = clock.now()
    clock.sleep(0.001)

    assert clock.now() > before
