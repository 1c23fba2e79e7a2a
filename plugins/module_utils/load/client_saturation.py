# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How busy the load client itself is, so that its own limits are not taken for the server's."""

from __future__ import annotations

import asyncio
import os
import time
import typing as t
from array import array
from collections.abc import Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.load.statistics import quantile

#: Seconds between two heartbeats of the event loop.
BEAT: t.Final = 0.02
#: Fraction of one core from which on the single-threaded client counts as full.
CPU_LIMIT: t.Final = 0.9
#: A step shorter than this many seconds says nothing about the client's processor time.
CPU_WINDOW: t.Final = 0.5
#: Lag of the event loop (p99, seconds) from which on figures are void. Measured with a paced server: up to 40 ms the
#: medians and the throughput are right to 1 % and only the 99th percentiles suffer.
LAG_LIMIT: t.Final = 0.05
#: Bytes that wait in the receive buffer of a stream (mean over streams, p99 over time) from which on figures are void:
#: about ten of vLLM's events, which have come and have not been stamped.
BACKLOG_LIMIT: t.Final = 4096
#: Connections looked at in one go; all of them would cost the load of a thousand streams too much.
_LOOKS: t.Final = 64


class Waiting(t.Protocol):
    """A connection that can tell how many bytes have arrived and wait to be read."""

    def waiting(self) -> int: ...


class SelfWatch:
    """Measures the event loop it is started in: processor time of the process, how late heartbeats come, and how much
    has arrived without being read."""

    def __init__(self) -> None:
        self._lags = array("d")
        self._backlogs = array("d")
        self._turn = 0
        self._cpu = 0.0
        self._started = 0.0
        self._idle: float | None = None
        self._free: float | None = None
        self._load_ended = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._cpu = time.process_time()
        self._started = time.monotonic()
        self._idle = idle_seconds()
        self._schedule(asyncio.get_running_loop())

    def look(self, connections: Sequence[Waiting]) -> None:
        """Note what waits in the receive buffers of some of ``connections``, of others each time."""
        if not connections:
            return
        self._turn = (self._turn + _LOOKS) % len(connections)
        seen = (connections[self._turn :] + connections[: self._turn])[:_LOOKS]
        self._backlogs.append(sum(connection.waiting() for connection in seen) / len(seen))

    def load_ends(self) -> None:
        """Note how many cores were free up to now; in a drain after it fewer and fewer streams are at work."""
        if self._load_ended:
            return
        self._load_ended = True
        idle, wall = idle_seconds(), time.monotonic() - self._started
        if idle is not None and self._idle is not None and wall > 0:
            # A container may use fewer cores than its host has.
            self._free = min((idle - self._idle) / wall, len(os.sched_getaffinity(0)))

    def stop(self) -> dict[str, float | None]:
        """``cpu``: processor seconds a second (1.0 is one full core); ``lag_p99``: seconds; ``backlog``: bytes a stream
        that waited to be read, as 99th percentile over time; ``free_cores``: of this host, during the load."""
        self.load_ends()
        if self._timer is not None:
            self._timer.cancel()
        wall = time.monotonic() - self._started
        cpu = (time.process_time() - self._cpu) / wall if wall > 0 else None
        return {"cpu": cpu, "lag_p99": _p99(self._lags), "backlog": _p99(self._backlogs), "free_cores": self._free}

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + BEAT
        self._timer = loop.call_at(due, self._beat, loop, due)

    def _beat(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._lags.append(max(0.0, loop.time() - due))
        self._schedule(loop)


def _p99(values: Sequence[float]) -> float | None:
    return quantile(sorted(values), 0.99) if values else None


def idle_seconds(path: str = "/proc/stat") -> float | None:
    """Seconds that the processor cores of this host have been idle since it started, added up; ``None`` where unknown.

    Of two readings, the difference a second is the number of free cores. See proc_stat(5).
    """
    try:
        with open(path, encoding="ascii") as stat:
            return int(stat.readline().split()[4]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def limits(
    cpu: float | None, lag_p99: float | None, itl_p50: float | None, duration: float, backlog: float | None = None
) -> str | None:
    """Why figures taken with this client for ``duration`` seconds are void; ``None`` where the client kept up.

    :param cpu: of the busiest process.
    """
    if cpu is not None and cpu >= CPU_LIMIT and duration >= CPU_WINDOW:
        return f"the load client used {cpu:.0%} of one core"
    if backlog is not None and backlog > BACKLOG_LIMIT:
        return f"{backlog:.0f} bytes a stream waited to be read (p99), more than {BACKLOG_LIMIT}"
    # Where tokens come slowly, a lag that is short beside their gap does no harm.
    allowed = max(LAG_LIMIT, itl_p50 or 0.0)
    if lag_p99 is not None and lag_p99 > allowed:
        return f"the load client was up to {lag_p99 * 1000:.0f} ms late (p99), more than {allowed * 1000:.0f} ms"
    return None
