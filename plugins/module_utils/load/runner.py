# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a load step, in this process or in several."""

from __future__ import annotations

import asyncio
import functools
import gc
import random
import resource
import time
import typing as t
from collections.abc import Callable

from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import LoadTarget, StampingSelector
from ansible_collections.multigpu.vllm.plugins.module_utils.load.engine import StepRun
from ansible_collections.multigpu.vllm.plugins.module_utils.load.epoll_reader import Intake
from ansible_collections.multigpu.vllm.plugins.module_utils.load.open_loop import OpenLoop
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.worker_pool import run_crew
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Bodies, Step

#: Files that a process needs beside its connections.
_SPARE_FILES: t.Final = 64


def max_concurrency() -> int:
    """How many connections this process may open."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (65536 if hard == resource.RLIM_INFINITY else hard) - _SPARE_FILES


def _allow_files(connections: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run_step(
    target: LoadTarget,
    step: Step,
    body: Callable[[], bytes],
    drain: float = 5.0,
    reuse_connections: bool = True,
    watch: Callable[[int, int], None] | None = None,
    start: Callable[[], float] = time.monotonic,
    rng: random.Random | None = None,
) -> LoadOutcome:
    """Run ``step`` once, in an event loop of its own; ``body`` gives the next request body.

    :param drain: seconds that requests under way get after a ``duration`` step's end, before they are cancelled.
    :param watch: is told every half second how many output tokens came, and how many requests have ended.
    :param start: is called once all connections are open; says when to start (``time.monotonic`` seconds).
    :param rng: draws the times of an open loop's requests.
    """
    _allow_files(step.concurrency)
    selector = StampingSelector(precise=step.rate is not None)
    loop = asyncio.SelectorEventLoop(selector)
    # A pause of the garbage collector would look like a pause of the server.
    gc.collect()
    gc.disable()
    intake = Intake() if Intake.available() else None
    if intake is not None:
        intake.attach(loop)
    try:
        arguments = (target, lambda: selector.stamp, intake, step, body, drain, reuse_connections, watch, start)
        run = StepRun(*arguments) if step.rate is None else OpenLoop(*arguments, rng=rng or random.Random())
        return loop.run_until_complete(run.run())
    finally:
        gc.enable()
        if intake is not None:
            intake.close()
        loop.close()


def run_load(
    target: LoadTarget,
    step: Step,
    bodies: Bodies,
    seed: int,
    processes: int = 1,
    drain: float = 5.0,
    reuse_connections: bool = True,
    watch: Callable[[int, int], None] | None = None,
    start_at: float = 0.0,
) -> LoadOutcome:
    """Run ``step`` once with up to ``processes`` processes, each with its share of streams, requests and rate.

    :param seed: decides what is random here; the other parameters are those of ``run_step``.
    :param start_at: do not start before this time (``time.monotonic`` seconds).
    """
    shares = [share for index in range(processes) if (share := step.share(index, processes)) is not None]
    if len(shares) == 1:

        def start() -> float:
            return max(start_at, time.monotonic())

        return run_step(target, step, bodies, drain, reuse_connections, watch, start, random.Random(seed))

    def member(number: int, start: Callable[[], float], watch: Callable[[int, int], None]) -> LoadOutcome:
        rng = random.Random(f"{seed}/{number}")
        bodies.draw_from(rng)
        return run_step(target, shares[number], bodies, drain, reuse_connections, watch, start, rng)

    return run_crew([functools.partial(member, number) for number in range(len(shares))], watch, start_at)
