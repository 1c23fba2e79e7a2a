# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import selfwatch as subject


def test_a_loop_that_is_held_up_is_seen():
    async def held_up() -> dict:
        watch = subject.SelfWatch()
        watch.start()
        await asyncio.sleep(2 * subject.BEAT)
        subject.time.sleep(0.1)
        await asyncio.sleep(2 * subject.BEAT)
        return watch.stop()

    used = asyncio.run(held_up())
    assert used["lag_p99"] > 0.03
    assert used["cpu"] < 1.0


def test_a_watch_that_saw_no_beat():
    async def nothing() -> dict:
        watch = subject.SelfWatch()
        watch.start()
        return watch.stop()

    assert asyncio.run(nothing())["lag_p99"] is None


@pytest.mark.parametrize(
    ("cpu", "lag", "itl", "duration", "words"),
    [
        (0.3, 0.002, 0.02, 10.0, None),
        (None, None, None, 10.0, None),
        (0.95, 0.002, 0.02, 10.0, "95% of one core"),
        (0.95, 0.002, 0.02, 0.1, None),
        (0.3, 0.06, 0.02, 10.0, "60 ms late (p99), more than 50 ms"),
        (0.3, 0.06, 0.08, 10.0, None),
        (0.3, 0.06, None, 10.0, "more than 50 ms"),
    ],
)
def test_when_the_client_is_the_limit(cpu, lag, itl, duration, words):
    reason = subject.limits(cpu, lag, itl, duration)
    assert reason is None if words is None else words in reason
