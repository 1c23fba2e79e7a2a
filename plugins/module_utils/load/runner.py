# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a load step in this process or in several worker processes."""

from __future__ import annotations

import asyncio
import functools
import gc
import random
import resource
import select
import time
import typing as t
from collections.abc import Callable
from dataclasses import replace

from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import StampingSelector
from ansible_collections.multigpu.vllm.plugins.module_utils.load.engine import ProgressReport, StepRun, StepSetup
from ansible_collections.multigpu.vllm.plugins.module_utils.load.epoll_reader import EpollReader
from ansible_collections.multigpu.vllm.plugins.module_utils.load.open_loop import OpenLoop
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.worker_pool import run_workers

#: File descriptors that a process needs in addition to its connections.
_SPARE_FILES: t.Final = 64


def max_concurrency() -> int:
    """Return the maximum number of connections that this process may open."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (65536 if hard == resource.RLIM_INFINITY else hard) - _SPARE_FILES


def _allow_files(connections: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    required = connections + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < required:
        resource.setrlimit(resource.RLIMIT_NOFILE, (required, hard))


def run_step(setup: StepSetup) -> LoadOutcome:
    """Run a step once in this process, in a new event loop."""
    step = setup.step
    _allow_files(step.concurrency)
    selector = StampingSelector(precise=step.rate is not None)
    loop = asyncio.SelectorEventLoop(selector)
    # Disable the garbage collector, because its pauses would look like pauses of the server.
    gc.collect()
    gc.disable()
    # On systems without epoll, the event loop itself reads from the connections.
    reader = EpollReader(loop) if hasattr(select, "epoll") else None
    try:
        run = (StepRun if step.rate is None else OpenLoop)(setup, lambda: selector.stamp, reader)
        return loop.run_until_complete(run.run())
    finally:
        gc.enable()
        if reader is not None:
            reader.close()
        loop.close()


def run_load(setup: StepSetup, seed: int, processes: int = 1, start_at: float = 0.0) -> LoadOutcome:
    """Run a step once, with its streams, requests and rate divided among up to ``processes`` processes.

    :param seed: replaces ``setup.rng``; ``setup.start`` is replaced too.
    :param start_at: earliest start (``time.monotonic`` seconds).
    """
    shares = [share for index in range(processes) if (share := setup.step.share(index, processes)) is not None]
    if len(shares) == 1:
        return run_step(replace(setup, start=lambda: max(start_at, time.monotonic()), rng=random.Random(seed)))

    def worker(number: int, start: Callable[[], float], report_progress: ProgressReport) -> LoadOutcome:
        rng = random.Random(f"{seed}/{number}")
        setup.bodies.prompts.rng = rng
        return run_step(replace(setup, step=shares[number], report_progress=report_progress, start=start, rng=rng))

    workers = [functools.partial(worker, number) for number in range(len(shares))]
    return run_workers(workers, setup.report_progress, start_at)
