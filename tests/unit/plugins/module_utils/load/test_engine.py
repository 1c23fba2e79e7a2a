# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import time

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import engine as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import open_target
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

TOKENS = 4


def load(
    server: ScriptedServer, timeout: float = 20.0, drain: float = 0.2, reuse: bool = True, **step: object
) -> LoadOutcome:
    target = open_target(server.url, "completions", timeout)
    step = Step("test", 2, TOKENS, **step)
    return run_step(subject.StepSetup(target, step, lambda: b"{}", drain, reuse))


def slow_stream(pause: float = 0.03) -> list:
    pieces = itertools.chain.from_iterable((pause, event(piece("x", n))) for n in range(1, TOKENS + 1))
    return [STREAM_HEAD, *pieces, event(last_usage(TOKENS)), event("[DONE]"), STREAM_END]


def test_step_of_requests_sends_exactly_these():
    with ScriptedServer(lambda _body, _number: slow_stream(0.005)) as server:
        outcome = load(server, concurrency=3, requests=10)
    assert (outcome.completed, outcome.sent, len(server.requests)) == (10, 10, 10)
    assert server.connections == 3
    assert outcome.tokens == outcome.completed_tokens == 10 * TOKENS
    assert outcome.timeline.tokens(0.0, outcome.duration + 1) == 10 * TOKENS
    assert outcome.lag_p99 is not None
    assert outcome.busiest == outcome.cpu
    assert outcome.full_from > outcome.started


def test_step_with_fewer_requests_than_streams_opens_no_idle_connection():
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        outcome = load(server, concurrency=8, requests=2)
    assert (outcome.completed, server.connections) == (2, 2)


def test_step_without_reuse_opens_a_connection_per_request():
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        outcome = load(server, concurrency=1, requests=3, reuse=False)
    assert outcome.completed == 3
    assert server.connections >= 3


def test_step_of_duration_measures_that_time_and_drains():
    with ScriptedServer(lambda _body, _number: slow_stream()) as server:
        outcome = load(server, concurrency=2, duration=0.3, drain=5.0)
    assert outcome.duration == pytest.approx(0.3)
    assert outcome.cancelled == outcome.failed == 0
    assert outcome.completed == len(server.requests)
    assert outcome.completed_in_time < outcome.completed


def test_step_requests_beyond_the_drain_are_cancelled():
    with ScriptedServer(lambda _body, _number: [STREAM_HEAD, event(piece("x", 1)), HANG]) as server:
        outcome = load(server, concurrency=2, duration=1.0, drain=0.1)
    assert (outcome.completed, outcome.failed, outcome.cancelled) == (0, 0, 2)
    assert outcome.tokens == 2


def test_step_end_does_not_wait_for_a_connecting_stream(monkeypatch):
    opened = subject.Connection.open
    opens = itertools.count()

    async def first_only(*arguments: object) -> subject.Connection:
        if next(opens):
            await subject.asyncio.sleep(60)
        return await opened(*arguments)

    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        monkeypatch.setattr(subject.Connection, "open", first_only)
        outcome = load(server, concurrency=1, duration=0.2, drain=0.1, reuse=False)
    assert outcome.failed == 0


@pytest.mark.parametrize(("concurrency", "sent"), [(1, 3), (8, 8)])
def test_step_gives_up_on_a_server_that_fails_everything(concurrency, sent):
    with ScriptedServer(lambda _body, _number: [error("429 Too Many Requests", "no")]) as server:
        outcome = load(server, concurrency=concurrency, duration=30.0)
    assert outcome.gave_up == "rate_limited"
    assert sent <= outcome.failed <= 2 * sent
    assert len(server.requests) <= 2 * sent


def test_step_hanging_server_costs_one_timeout():
    with ScriptedServer(lambda _body, _number: [HANG]) as server:
        outcome = load(server, concurrency=4, requests=400, timeout=0.3)
    assert set(outcome.failures) == {"first_byte_timeout"}
    assert outcome.failed + outcome.cancelled <= 2 * 4


def test_step_single_failures_do_not_end_it():
    with ScriptedServer(lambda _body, n: [error("500 Oops", "once") if n % 3 == 0 else good_stream(TOKENS)]) as server:
        outcome = load(server, concurrency=1, requests=9)
    assert (outcome.completed, outcome.failed, outcome.gave_up) == (6, 3, None)
    assert outcome.details == {"server_error": "HTTP 500: once"}


def test_step_raises_an_unexpected_exception():
    target_server = ScriptedServer(lambda _body, _number: [good_stream(TOKENS)])
    with target_server as server, pytest.raises(ZeroDivisionError):
        target = open_target(server.url, "completions", 1.0)
        run_step(subject.StepSetup(target, Step("test", 2, TOKENS, 1, 1), lambda: b"%d" % (1 // 0)))


def test_step_reports_progress_while_it_runs(monkeypatch):
    monkeypatch.setattr(subject, "_WATCHDOG_INTERVAL", 0.005)
    monkeypatch.setattr(subject, "INTERVAL", 0.005)
    reports = []
    with ScriptedServer(lambda _body, _number: slow_stream(0.03)) as server:
        target = open_target(server.url, "completions", 20.0)
        step = Step("test", 2, TOKENS, 2, requests=4)
        setup = subject.StepSetup(target, step, lambda: b"{}", report_progress=lambda *counts: reports.append(counts))
        run_step(setup)
    assert reports == sorted(reports), "neither tokens nor requests ever decrease"
    assert any(tokens % TOKENS > 0 for tokens, _finished in reports), "tokens of running requests count"
    assert all(finished * TOKENS <= tokens <= 4 * TOKENS for tokens, finished in reports)


def test_step_samples_the_backlog_while_it_runs(monkeypatch):
    monkeypatch.setattr(subject, "_WATCHDOG_INTERVAL", 0.005)
    with ScriptedServer(lambda _body, _number: slow_stream(0.03)) as server:
        outcome = load(server, concurrency=2, requests=2)
    assert outcome.backlog is not None
    assert outcome.backlog >= 0.0


@pytest.mark.parametrize("limit", [{"requests": 1000}, {"duration": 1000.0}])
def test_step_is_cancelled_at_its_end(limit):
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS), 0.05]) as server:
        target = open_target(server.url, "completions", 20.0)
        step = Step("test", 2, TOKENS, 2, **limit)
        outcome = run_step(subject.StepSetup(target, step, lambda: b"{}", end=time.monotonic() + 0.5))
    assert 0 < outcome.sent < 1000
    assert outcome.gave_up is None


def test_step_starts_at_the_given_time():
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        target = open_target(server.url, "completions", 20.0)
        start = subject.time.monotonic() + 0.2
        step = Step("test", 2, TOKENS, 2, requests=2)
        outcome = run_step(subject.StepSetup(target, step, lambda: b"{}", start=lambda: start))
    assert outcome.started == outcome.timeline.origin == start
    assert min(outcome.latencies.ttft) > 0
    assert outcome.ended > start
