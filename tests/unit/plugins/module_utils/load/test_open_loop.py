# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random
import time

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import open_target
from ansible_collections.multigpu.vllm.plugins.module_utils.load.engine import StepSetup
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.runner import run_step
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step
from ansible_collections.multigpu.vllm.tests.support.scripted_server import (
    HANG,
    STREAM_END,
    STREAM_HEAD,
    ScriptedServer,
    error,
    event,
    good_stream,
    last_usage,
    piece,
)

TOKENS = 2


def answer(pause: float) -> list:
    pieces = [item for n in range(1, TOKENS + 1) for item in (pause, event(piece("x", n)))]
    return [STREAM_HEAD, *pieces, event(last_usage(TOKENS)), event("[DONE]"), STREAM_END]


def load(server: ScriptedServer, drain: float = 5.0, timeout: float = 20.0, **step: object) -> LoadOutcome:
    target = open_target(server.url, "completions", timeout)
    rng = random.Random(5)
    return run_step(StepSetup(target, Step("test", 2, TOKENS, **step), lambda: b"{}", drain, rng=rng))


def test_open_loop_sends_on_schedule_to_a_slow_server():
    with ScriptedServer(lambda _body, _number: answer(0.1)) as server:
        outcome = load(server, concurrency=32, requests=20, rate=100.0, arrivals="constant")
    assert (outcome.completed, outcome.held, outcome.unsent) == (20, 0, 0)
    assert len(outcome.schedule_lag) == len(outcome.latencies.ttft_sent) == 20
    assert min(outcome.schedule_lag) > -1e-6
    assert outcome.full_from is not None
    assert outcome.full_until - outcome.started > 0.18


def test_open_loop_request_without_free_stream_is_held():
    with ScriptedServer(lambda _body, _number: answer(0.05)) as server:
        outcome = load(server, concurrency=1, requests=5, rate=1000.0)
    assert (outcome.completed, outcome.unsent, server.connections) == (5, 0, 1)
    assert outcome.held == 4
    # The last request waited for four answers of 0.1 s, which is part of its time to first token.
    assert max(outcome.latencies.ttft) > 0.4
    assert max(outcome.latencies.ttft_sent) < max(outcome.latencies.ttft)
    assert max(outcome.schedule_lag) > 0.35


def test_open_loop_request_held_at_the_end_is_never_sent():
    with ScriptedServer(lambda _body, _number: answer(0.1)) as server:
        outcome = load(server, concurrency=1, duration=0.5, rate=100.0, arrivals="constant")
    assert outcome.unsent > 30
    assert outcome.sent + outcome.unsent == 50
    assert len(server.requests) == outcome.sent
    assert outcome.duration == pytest.approx(0.5)


def test_open_loop_counts_requests_that_a_late_client_did_not_send():
    bodies = iter(range(100))

    def late_body():
        time.sleep(0.6 if next(bodies) == 3 else 0)
        return b"{}"

    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        target = open_target(server.url, "completions", 20.0)
        step = Step("test", 2, TOKENS, 3, duration=0.5, rate=100.0, arrivals="constant")
        outcome = run_step(StepSetup(target, step, late_body, 0.2, rng=random.Random(5)))
    assert outcome.sent < 10
    assert outcome.sent + outcome.unsent == 50


def test_open_loop_reuses_connections():
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        outcome = load(server, concurrency=4, requests=12, rate=40.0, arrivals="constant")
    assert outcome.completed == 12
    assert server.connections == 4


@pytest.mark.parametrize("rate", [0.01, 200.0])
def test_open_loop_gives_up_on_a_server_that_fails_everything(rate):
    with ScriptedServer(lambda _body, _number: [error("503 Service Unavailable", "no")]) as server:
        # The first request is due immediately; at the slow rate the others are due much later.
        target = open_target(server.url, "completions", 20.0)
        step = Step("test", 2, TOKENS, 3, requests=100, rate=rate, arrivals="constant")
        if rate < 1:
            step = Step("test", 2, TOKENS, 3, duration=0.3, rate=rate, arrivals="constant")
        outcome = run_step(StepSetup(target, step, lambda: b"{}", 0.2, rng=random.Random(5)))
    assert outcome.failures["unavailable"] == (1 if rate < 1 else outcome.failed)
    assert outcome.gave_up == (None if rate < 1 else "unavailable")


def test_open_loop_requests_beyond_the_drain_are_cancelled():
    with ScriptedServer(lambda _body, _number: [STREAM_HEAD, event(piece("x", 1)), HANG]) as server:
        outcome = load(server, drain=0.1, concurrency=2, duration=0.3, rate=100.0)
    assert (outcome.completed, outcome.cancelled) == (0, 2)
    assert outcome.unsent > 0


def test_open_loop_raises_an_unexpected_exception():
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server, pytest.raises(ZeroDivisionError):
        target = open_target(server.url, "completions", 1.0)
        run_step(StepSetup(target, Step("test", 2, TOKENS, 1, 1, rate=5.0), lambda: b"%d" % (1 // 0)))
