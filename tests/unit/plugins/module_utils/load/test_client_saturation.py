# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import client_saturation as subject


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


class Stream:
    def __init__(self, waits: int) -> None:
        self.waits = waits

    def waiting(self) -> int:
        return self.waits


def test_what_waits_to_be_read_is_taken_a_stream():
    watch = subject.SelfWatch()
    watch.look([])
    assert watch.stop()["backlog"] is None
    watch.look([Stream(100), Stream(300)])
    assert watch.stop()["backlog"] == 200.0


def test_of_many_streams_each_is_looked_at_in_turn():
    watch = subject.SelfWatch()
    streams = [Stream(0)] * 64 + [Stream(64_000)] + [Stream(0)] * 63
    for _round in range(2):
        watch.look(streams)
    assert watch.stop()["backlog"] == pytest.approx(1000.0, rel=0.02)


def test_idle_time_of_the_host(tmp_path):
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 100 5000 7 0 0 0 0 0\ncpu0 1 2 3 4\n")
    assert subject.idle_seconds(str(stat)) == 5000 / subject.os.sysconf("SC_CLK_TCK")
    assert subject.idle_seconds(str(tmp_path / "none")) is None
    stat.write_text("")
    assert subject.idle_seconds(str(stat)) is None


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


def test_what_waits_to_be_read_voids_too():
    assert subject.limits(0.3, 0.002, 0.02, 10.0, subject.BACKLOG_LIMIT) is None
    assert "5000 bytes a stream waited" in subject.limits(0.3, 0.002, 0.02, 10.0, 5000.0)
