# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import random
import resource
import time

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import client_saturation
from ansible_collections.multigpu.vllm.plugins.module_utils.load import runner as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import open_target
from ansible_collections.multigpu.vllm.plugins.module_utils.load.engine import StepSetup
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Bodies, Step, TokenPrompts
from ansible_collections.multigpu.vllm.tests.support.scripted_server import ScriptedServer, good_stream

TOKENS = 4


def load(
    server: ScriptedServer, processes: int, start_at: float = 0.0, drain: float = 5.0, **step: object
) -> LoadOutcome:
    target = open_target(server.url, "completions", 20.0)
    bodies = Bodies(TokenPrompts(range(100), 8, random.Random(3)), b'{"prompt":', b"}")
    return subject.run_load(StepSetup(target, Step("test", 8, TOKENS, **step), bodies, drain), 7, processes, start_at)


@pytest.mark.parametrize(("processes", "used"), [(1, 1), (2, 2), (3, 3), (9, 4)])
def test_run_load_is_the_same_with_any_number_of_processes(processes, used):
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        outcome = load(server, processes, concurrency=4, requests=10)
    assert (outcome.completed, outcome.tokens, outcome.processes) == (10, 10 * TOKENS, used)
    assert server.connections == 4
    assert len({tuple(request["prompt"]) for request in server.requests}) == 10, "no prompt is sent twice"


def test_run_load_splits_an_open_loop():
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        outcome = load(server, 2, concurrency=8, requests=11, rate=200.0, arrivals="constant")
    assert (outcome.completed, len(outcome.schedule_lag)) == (11, 11)


def test_run_load_returns_free_cores(monkeypatch):
    readings = iter([100.0, 100.0 + 10**6])
    monkeypatch.setattr(client_saturation, "idle_seconds", lambda: next(readings))
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        outcome = load(server, 1, concurrency=1, requests=1)
    assert outcome.free_cores == len(os.sched_getaffinity(0))


def test_run_load_free_cores_exclude_the_wait_and_the_drain(monkeypatch):
    read: list[float] = []

    def idle() -> float:
        read.append(time.monotonic())
        return 0.0

    monkeypatch.setattr(client_saturation, "idle_seconds", idle)
    start_at = time.monotonic() + 0.2
    # The server never answers, so the drain takes its full time.
    with ScriptedServer(lambda _body, _number: [60.0]) as server:
        outcome = load(server, 1, start_at=start_at, drain=0.5, concurrency=1, duration=0.1)
    started, ended = read
    assert start_at <= outcome.started <= started
    assert outcome.deadline <= ended < time.monotonic() - 0.5, "the idle time is read before the drain"
    assert outcome.free_cores == 0.0


def test_run_load_returns_free_cores_of_every_process():
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        outcome = load(server, 2, concurrency=2, requests=4)
    assert outcome.processes == 2
    assert outcome.free_cores is not None


def test_allow_files_raises_the_limit_if_needed(monkeypatch):
    limits = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, values: limits.append(values))
    subject._allow_files(100)
    assert limits == []
    subject._allow_files(1000)
    assert limits == [(1064, 4096)]
    assert subject.max_concurrency() == 4032


def test_allow_files_without_a_hard_limit_accepts_any_number(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    subject._allow_files(10**6)
    assert subject.max_concurrency() > 1024
