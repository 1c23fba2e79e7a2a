# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how busy the load client is, to avoid mistaking a slow client for a slow server."""

from __future__ import annotations

import asyncio
import os
import time
import typing as t
from array import array
from collections.abc import Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import Connection
from ansible_collections.multigpu.vllm.plugins.module_utils.load.statistics import quantile

#: Seconds between two heartbeats of the event loop.
HEARTBEAT_INTERVAL: t.Final = 0.02
#: Fraction of one core above which the single-threaded client counts as saturated.
CPU_LIMIT: t.Final = 0.9
#: Minimum step duration, in seconds, for which the client's processor time is meaningful.
CPU_WINDOW: t.Final = 0.5
#: Lag of the event loop (p99, seconds) above which the results of a load step are unusable. Measurements with a server
#: that sends tokens at a fixed rate showed that with a lag of up to 40 ms, medians and throughput are accurate to
#: within 1 %, and only the 99th percentiles are inaccurate.
LAG_LIMIT: t.Final = 0.05
#: Minimum number of heartbeats for which the 99th percentile does not depend on the largest lag.
_MIN_HEARTBEATS: t.Final = 101
#: Fraction of a short step above which a single stall counts as the lag of the step.
_MAX_STALL: t.Final = 0.1
#: Bytes waiting in the receive buffer of a stream (mean over streams, p99 over time) above which results are unusable.
#: This is about ten vLLM events that have arrived but do not have a timestamp yet.
BACKLOG_LIMIT: t.Final = 4096
#: Connections sampled per tick; sampling all of them is too expensive at 1,000 streams.
_SAMPLE_SIZE: t.Final = 64


class ClientSaturation:
    """Measure the processor time of this process, its unread bytes, and the delays of its timer calls (heartbeats).

    The heartbeats are calls by the running event loop. Measuring starts when an object of this class is created, and
    ends with ``stop``.
    """

    def __init__(self) -> None:
        self._lags = array("d")
        self._backlogs = array("d")
        self._offset = 0
        self._cpu = time.process_time()
        self._started = time.monotonic()
        self._idle = idle_seconds()
        self._free: float | None = None
        self._loop = asyncio.get_running_loop()
        self._schedule()

    def sample(self, connections: Sequence[Connection]) -> None:
        """Record the mean number of unread bytes per connection for a sample of ``connections``.

        Each call uses the next ``_SAMPLE_SIZE`` connections, because it would be too slow to query all of them.
        """
        if not connections:
            return
        self._offset = (self._offset + _SAMPLE_SIZE) % len(connections)
        sampled = [*connections[self._offset :], *connections[: self._offset]][:_SAMPLE_SIZE]
        self._backlogs.append(sum(connection.waiting() for connection in sampled) / len(sampled))

    def mark_load_end(self) -> None:
        """Record the mean number of idle cores since measuring started. Call this after sending the last request."""
        if self._free is not None:
            return
        idle, wall = idle_seconds(), time.monotonic() - self._started
        if idle is not None and self._idle is not None and wall > 0:
            # A container may be restricted to fewer cores than its host has.
            self._free = min((idle - self._idle) / wall, len(os.sched_getaffinity(0)))

    def stop(self) -> dict[str, float | None]:
        """Stop measuring and return the results.

        :returns: ``cpu`` in processor seconds per second (1.0 is one core), ``lag_p99`` in seconds, ``backlog`` in
            unread bytes per stream (99th percentile over time), ``free_cores`` of this host during the load.
        """
        self.mark_load_end()
        self._timer.cancel()
        wall = time.monotonic() - self._started
        cpu = (time.process_time() - self._cpu) / wall if wall > 0 else None
        backlog = quantile(sorted(self._backlogs), 0.99) if self._backlogs else None
        return {"cpu": cpu, "lag_p99": lag_p99(self._lags, wall), "backlog": backlog, "free_cores": self._free}

    def _schedule(self) -> None:
        due = self._loop.time() + HEARTBEAT_INTERVAL
        self._timer = self._loop.call_at(due, self._beat, due)

    def _beat(self, due: float) -> None:
        self._lags.append(max(0.0, self._loop.time() - due))
        self._schedule()


def lag_p99(lags: Sequence[float], duration: float) -> float | None:
    """Return the 99th percentile of ``lags``, or None if ``lags`` is empty.

    ``lags`` are the delays of the event loop's heartbeats, in seconds.

    In a short step the interpolated percentile is close to the maximum, so a single scheduling hiccup would determine
    it. For a short step the function therefore returns the second-largest lag, unless the largest lag is a stall of
    more than ``_MAX_STALL`` of ``duration``.
    """
    if not lags:
        return None
    ordered = sorted(lags)
    if 1 < len(ordered) < _MIN_HEARTBEATS and ordered[-1] <= _MAX_STALL * duration:
        return ordered[-2]
    return quantile(ordered, 0.99)


def idle_seconds(path: str = "/proc/stat") -> float | None:
    """Return the total idle time of this host's cores since boot, in seconds, or None if it is unknown.

    The number of free cores is the difference between two readings divided by the time between them. See proc_stat(5).
    """
    try:
        with open(path, encoding="ascii") as stat:
            return int(stat.readline().split()[4]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def limits(
    cpu: float | None, lag: float | None, itl_p50: float | None, duration: float, backlog: float | None = None
) -> str | None:
    """Return a message that explains why the load client was too slow, or None if the client kept up.

    :param cpu: processor use of the busiest process, in cores.
    :param lag: 99th percentile of the event loop's lag, in seconds.
    :param duration: duration of the measurement, in seconds.
    """
    if cpu is not None and cpu >= CPU_LIMIT and duration >= CPU_WINDOW:
        return f"the load client used {100 * cpu:.0f} % of one core"
    if backlog is not None and backlog > BACKLOG_LIMIT:
        return f"{backlog:.0f} bytes per stream waited to be read (p99), more than {BACKLOG_LIMIT}"
    # A lag of the event loop distorts the results only if it is longer than the gap between two tokens.
    allowed = max(LAG_LIMIT, itl_p50 or 0.0)
    if lag is not None and lag > allowed:
        return f"the load client was up to {lag * 1000:.0f} ms late (p99), more than {allowed * 1000:.0f} ms"
    return None
