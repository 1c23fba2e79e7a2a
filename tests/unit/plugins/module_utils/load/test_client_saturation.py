# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import client_saturation as subject


def test_saturation_stalled_loop_has_lag():
    async def stalled() -> dict:
        saturation = subject.ClientSaturation()
        await asyncio.sleep(2 * subject.HEARTBEAT_INTERVAL)
        subject.time.sleep(0.1)
        await asyncio.sleep(2 * subject.HEARTBEAT_INTERVAL)
        return saturation.stop()

    usage = asyncio.run(stalled())
    assert usage["lag_p99"] > 0.03
    assert usage["cpu"] < 1.0


class Stream:
    def __init__(self, waits: int) -> None:
        self.waits = waits

    def waiting(self) -> int:
        return self.waits


def usage_of(*samples: list[Stream]) -> dict:
    """Return the results of a monitor that takes ``samples`` before its first heartbeat."""

    async def take() -> dict:
        saturation = subject.ClientSaturation()
        for streams in samples:
            saturation.sample(streams)
        return saturation.stop()

    return asyncio.run(take())


def test_saturation_backlog_is_per_stream():
    assert usage_of([])["backlog"] is None
    assert usage_of([], [Stream(100), Stream(300)])["backlog"] == 200.0


def test_saturation_samples_many_streams_in_rotation():
    streams = [Stream(0)] * 64 + [Stream(64_000)] + [Stream(0)] * 63
    assert usage_of(streams, streams)["backlog"] == pytest.approx(1000.0, rel=0.02)


def test_idle_seconds_reads_proc_stat(tmp_path):
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 100 5000 7 0 0 0 0 0\ncpu0 1 2 3 4\n")
    assert subject.idle_seconds(str(stat)) == 5000 / subject.os.sysconf("SC_CLK_TCK")
    assert subject.idle_seconds(str(tmp_path / "none")) is None
    stat.write_text("")
    assert subject.idle_seconds(str(stat)) is None


def test_saturation_without_heartbeat_has_no_lag():
    assert usage_of()["lag_p99"] is None


@pytest.mark.parametrize(
    ("cpu", "lag", "itl", "duration", "message"),
    [
        (0.3, 0.002, 0.02, 10.0, None),
        (None, None, None, 10.0, None),
        (0.95, 0.002, 0.02, 10.0, "95 % of one core"),
        (0.95, 0.002, 0.02, 0.1, None),
        (0.3, 0.06, 0.02, 10.0, "60 ms late (p99), more than 50 ms"),
        (0.3, 0.06, 0.08, 10.0, None),
        (0.3, 0.06, None, 10.0, "more than 50 ms"),
    ],
)
def test_limits_return_the_reason(cpu, lag, itl, duration, message):
    reason = subject.limits(cpu, lag, itl, duration)
    assert reason is None if message is None else message in reason


def test_limits_backlog_is_a_reason():
    assert subject.limits(0.3, 0.002, 0.02, 10.0, subject.BACKLOG_LIMIT) is None
    assert "5000 bytes per stream waited" in subject.limits(0.3, 0.002, 0.02, 10.0, 5000.0)


@pytest.mark.parametrize(
    ("lags", "duration", "p99"),
    [
        ([], 1.0, None),
        ([0.062], 1.0, 0.062),
        # One hiccup in a second of 20 ms heartbeats; two; and a stall of a quarter of the step.
        ([0.001] * 46 + [0.062], 1.0, 0.001),
        ([0.001] * 44 + [0.062] * 2, 1.0, 0.062),
        ([0.001] * 37 + [0.25], 1.0, 0.25 - 0.37 * 0.249),
        # From 101 heartbeats on, the percentile itself does not depend on the largest lag.
        ([0.001] * 100 + [5.0], 7.0, 0.001),
        ([0.001] * 99 + [0.062] * 2, 2.1, 0.062),
    ],
)
def test_lag_p99_of_few_heartbeats_ignores_one_hiccup(lags, duration, p99):
    assert subject.lag_p99(lags, duration) == pytest.approx(p99)
