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
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Bodies, Step, TokenPrompts
from ansible_collections.multigpu.vllm.tests.support.scripted_server import ScriptedServer, good_stream

TOKENS = 4


def load(
    server: ScriptedServer, processes: int, start_at: float = 0.0, drain: float = 5.0, **step: object
) -> subject.Outcome:
    target = open_target(server.url, "completions", 20.0)
    bodies = Bodies(TokenPrompts(range(100), 8, random.Random(3)), b'{"prompt":', b"}")
    return subject.run_load(target, Step("test", 8, TOKENS, **step), bodies, 7, processes, drain, start_at=start_at)


@pytest.mark.parametrize(("processes", "used"), [(1, 1), (2, 2), (3, 3), (9, 4)])
def test_a_step_is_the_same_whoever_makes_it(processes, used):
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        outcome = load(server, processes, concurrency=4, requests=10)
    assert (outcome.completed, outcome.tokens, outcome.processes) == (10, 10 * TOKENS, used)
    assert server.connections == 4
    assert len({tuple(request["prompt"]) for request in server.requests}) == 10, "no prompt is sent twice"


def test_open_loops_are_shared_out_too():
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        outcome = load(server, 2, concurrency=8, requests=11, rate=200.0, arrivals="constant")
    assert (outcome.completed, len(outcome.schedule_lag)) == (11, 11)


def test_the_cores_that_were_free_are_told(monkeypatch):
    readings = iter([100.0, 100.0 + 10**6])
    monkeypatch.setattr(client_saturation, "idle_seconds", lambda: next(readings))
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        outcome = load(server, 1, concurrency=1, requests=1)
    assert outcome.free_cores == len(os.sched_getaffinity(0))


def test_the_wait_before_the_load_and_the_drain_after_it_are_not_counted_as_free(monkeypatch):
    read: list[float] = []

    def idle() -> float:
        read.append(time.monotonic())
        return 0.0

    monkeypatch.setattr(client_saturation, "idle_seconds", idle)
    start_at = time.monotonic() + 0.2
    # The server never answers, so that the drain lasts as long as it may.
    with ScriptedServer(lambda _body, _number: [60.0]) as server:
        outcome = load(server, 1, start_at=start_at, drain=0.5, concurrency=1, duration=0.1)
    begun, ended = read
    assert start_at <= outcome.started <= begun
    assert outcome.deadline <= ended < time.monotonic() - 0.5, "it was read before the drain"
    assert outcome.free_cores == 0.0


def test_every_process_tells_of_the_cores_that_were_free():
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        outcome = load(server, 2, concurrency=2, requests=4)
    assert outcome.processes == 2
    assert outcome.free_cores is not None


def test_the_limit_of_open_files_is_raised_where_it_must(monkeypatch):
    limits = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, values: limits.append(values))
    subject._allow_files(100)
    assert limits == []
    subject._allow_files(1000)
    assert limits == [(1064, 4096)]
    assert subject.max_concurrency() == 4032


def test_no_limit_of_open_files(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    subject._allow_files(10**6)
    assert subject.max_concurrency() > 1024
