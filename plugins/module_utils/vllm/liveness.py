# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide from samples of a vLLM server whether its engine works.

The API process answers ``/health`` with 200 for minutes after a worker has died or hangs: vLLM notices this only if the
worker is its own child process, or if a step takes longer than ``VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS``. An engine that
works completes steps, each of which changes the metrics in ``PROGRESS``. If no step has been completed for
``CANARY_INTERVAL`` seconds, a request for one token (the canary) causes one. The engine is stalled if the canary is not
answered and no step is completed for ``LivenessLimits.stall`` seconds. An engine that completes steps is never stalled,
however long a request waits in the queue, computes its prompt, or waits for a KV cache from another server.

Role vllm copies this file to nodes, so it uses only the standard library and files that the role copies as well.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.metrics import MetricSet

#: Metrics that a step of the engine changes. The first one counts steps with output. A step that computes a part of a
#: long prompt has no output, but it uses more of the KV cache. Source: vllm/v1/engine/async_llm.py (output_handler) and
#: vllm/v1/metrics/loggers.py, vLLM 0.32.
PROGRESS: t.Final = (
    "vllm:iteration_tokens_total_count",
    "vllm:generation_tokens_total",
    "vllm:kv_cache_usage_perc",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:num_preemptions_total",
)

ALIVE: t.Final = "alive"
IDLE_ALIVE: t.Final = "idle-alive"
STALLED: t.Final = "stalled"
DEAD: t.Final = "dead"
NOT_TESTED: t.Final = "not_tested"
STATES: t.Final = (ALIVE, IDLE_ALIVE, STALLED, DEAD, NOT_TESTED)

#: Seconds without a completed step after which a canary is sent.
CANARY_INTERVAL: t.Final = 8.0
#: Header with the number of the engine that must compute a request, from 0, among those of the API server. Source:
#: vllm/entrypoints/openai/serving_engine.py, vLLM 0.11 to 0.32.
ENGINE_HEADER: t.Final = "X-data-parallel-rank"
#: HTTP status of a request whose connection was refused.
REFUSED: t.Final = 0


@dataclass(frozen=True)
class LivenessLimits:
    """Limits in seconds.

    ``stall``: time without a completed step. A healthy step is far shorter. It has at most
    ``max_num_batched_tokens`` tokens, by default 2,048 on GPUs below 70 GiB and 8,192 above (vllm/engine/arg_utils.py,
    vLLM 0.32). With 2 FLOP for each parameter and token, and 40 % of the tensor cores' peak, the slowest plan, 4 x RTX
    4000 Ada (4 x 77 TFLOP/s in 16 bit), takes 2.3 s for 2,048 tokens of a model with 70e9 parameters, and 19 s for
    16,384. Attention to 131,072 earlier tokens (80 layers of width 8,192) adds 5.7 s and 46 s. The limit must be raised
    for the last of these loads. vLLM itself warns of a hang after 60 s (``VLLM_RINGBUFFER_WARNING_INTERVAL``).
    ``first_step``: the same before the first step since the start, which may compile kernels. It is the time after
    which vLLM itself gives up (``VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS``).
    ``down``: time for which a server that was ready refuses connections or reports a dead engine (503). Docker restarts
    a container whose server exits within this time.
    ``start``: time from the start of the server until it must be ready.
    """

    stall: float = 45.0
    first_step: float = 300.0
    down: float = 15.0
    start: float = 1800.0


@dataclass(frozen=True)
class Canary:
    """A request for one token.

    ``sent``: time at which it was sent. ``status``: HTTP status of the response, or ``REFUSED`` if it failed without
    one. ``ended``: time of the response. Both are None while the request is pending.
    """

    sent: float
    status: int | None = None
    ended: float | None = None


@dataclass(frozen=True)
class LivenessSample:
    """The state of a server as seen at one time.

    ``time``: seconds of a monotonic clock. ``server`` identifies the start of the server, or is None if its container
    does not run. ``health``: HTTP status of ``/health``, ``REFUSED``, or None without a response in time. ``progress``:
    values of ``PROGRESS``; empty if the server does not report the number of steps. ``canary``: the newest canary.
    """

    time: float
    server: str | None = ""
    health: int | None = 200
    progress: tuple[float, ...] = ()
    canary: Canary | None = None

    @property
    def running(self) -> float:
        """Number of requests that the engine works on."""
        return self.progress[PROGRESS.index("vllm:num_requests_running")] if self.progress else 0.0


@dataclass(frozen=True)
class LivenessMemory:
    """Knowledge from earlier samples of one start of the server. All times are times of samples.

    ``worked``: time of the last sign that the engine works: a completed step or an answered canary.
    """

    server: str | None = None
    since: float = 0.0
    ready: bool = False
    progress: tuple[float, ...] = ()
    worked: float | None = None
    down_since: float | None = None
    silent_since: float | None = None


@dataclass(frozen=True)
class Liveness:
    """The ``state`` of a server, one of ``STATES``, and the reason for it."""

    state: str
    reason: str

    @property
    def needs_restart(self) -> bool:
        return self.state in (STALLED, DEAD)

    def of(self, engine: str | None) -> Liveness:
        """Return the state with the name of the ``engine`` in its reason. None means all engines."""
        return self if engine is None else replace(self, reason=f"engine {engine}: {self.reason}")


def decide(memory: LivenessMemory, sample: LivenessSample, limits: LivenessLimits) -> tuple[LivenessMemory, Liveness]:
    """Return the state of the server after one more sample, and what to remember of it.

    This is a pure function. A server that starts, or whose container does not run, is ``not_tested``.
    """
    if sample.server is None:
        return LivenessMemory(), Liveness(NOT_TESTED, "the container is not running")
    if memory.server != sample.server:
        memory = LivenessMemory(sample.server, since=sample.time)
    memory = _with_health(memory, sample)
    if not memory.ready:
        waited = sample.time - memory.since
        state = DEAD if waited >= limits.start else NOT_TESTED
        return memory, Liveness(state, f"not ready {waited:.0f} s after the start")
    if memory.down_since is not None:
        down = sample.time - memory.down_since
        text = "/health reports a dead engine" if sample.health else "the API refuses connections"
        return memory, Liveness(DEAD if down >= limits.down else NOT_TESTED, f"{text} for {down:.0f} s")
    if memory.silent_since is not None:
        silent = sample.time - memory.silent_since
        state = STALLED if silent >= limits.stall else NOT_TESTED
        return memory, Liveness(state, f"the API sends no response for {silent:.0f} s")
    worked = [memory.worked]
    if memory.progress and sample.progress and memory.progress != sample.progress:
        worked.append(sample.time)
    if sample.canary is not None and sample.canary.status == 200:
        worked.append(sample.canary.ended)
    memory = replace(
        memory,
        progress=sample.progress or memory.progress,
        worked=max((time for time in worked if time is not None), default=None),
    )
    return memory, _engine(memory, sample, limits)


def wants_canary(memory: LivenessMemory, sample: LivenessSample) -> bool:
    """Return whether to send a canary after a sample: the server is ready, and no step was completed lately."""
    canary = sample.canary
    if not memory.ready or sample.health != 200 or (canary is not None and canary.status is None):
        return False
    recent = [time for time in (memory.worked, canary.sent if canary else None) if time is not None]
    return not recent or sample.time - max(recent) >= CANARY_INTERVAL


def _with_health(memory: LivenessMemory, sample: LivenessSample) -> LivenessMemory:
    down = sample.health is not None and sample.health != 200
    return replace(
        memory,
        ready=memory.ready or sample.health == 200,
        down_since=(memory.down_since or sample.time) if down else None,
        silent_since=(memory.silent_since or sample.time) if sample.health is None else None,
    )


def _engine(memory: LivenessMemory, sample: LivenessSample, limits: LivenessLimits) -> Liveness:
    """Return the state of a server that is ready and whose API responds."""
    canary, worked = sample.canary, memory.worked
    pending = ""
    if canary is not None and canary.status is None:
        waited = sample.time - max(canary.sent, worked or 0.0)
        limit = limits.stall if sample.progress[:1] > (0.0,) else limits.first_step
        pending = f"; one token was not generated for {waited:.0f} s, and the limit is {limit:.0f} s"
        if waited >= limit:
            if sample.progress:
                return Liveness(STALLED, f"no step was completed and one token not generated for {waited:.0f} s")
            return Liveness(NOT_TESTED, f"one token takes {waited:.0f} s, and the server reports no {PROGRESS[0]}")
    last = (
        "no completed step has been seen yet"
        if worked is None
        else f"the last step ended {sample.time - worked:.0f} s ago"
    )
    if worked is not None and sample.time - worked < limits.stall:
        return Liveness(ALIVE if sample.running else IDLE_ALIVE, last + pending)
    if canary is not None and canary.status not in (None, 200):
        return Liveness(NOT_TESTED, f"a request for one token failed: HTTP status {canary.status or 'unknown'}")
    return Liveness(NOT_TESTED, last + pending)


def progress_of(metrics: MetricSet | None, engine: str | None = None) -> tuple[float, ...]:
    """Return the values of ``PROGRESS``, or an empty tuple if the server does not report the number of steps.

    A server with ``--disable-log-stats`` does not report it. The values of several engines are added, unless one
    ``engine`` is chosen.
    """
    if metrics is None or metrics.sum(PROGRESS[0], engine) is None:
        return ()
    return tuple(metrics.sum(name, engine) or 0.0 for name in PROGRESS)
