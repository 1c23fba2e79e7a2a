# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random
from array import array

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import outcome as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import Exchange
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed


def exchange(sent: float, arrivals: list[float], due: float | None = None, failure: str | None = None) -> Exchange:
    result = Exchange(sent, len(arrivals) or 1)
    result.answer.arrivals.extend(arrivals)
    result.answer.counts = [1] * len(arrivals)
    result.answer.tokens = len(arrivals)
    result.due = due
    result.failure = RequestFailed(failure, "the detail") if failure else None
    return result


def outcome(*exchanges: Exchange, **fields: object) -> subject.LoadOutcome:
    result = subject.LoadOutcome(started=10.0, **fields)
    result.timeline.origin = 10.0
    for item in exchanges:
        result.add(item)
    return result


def test_outcome_steady_window_needs_one_second():
    outcome = subject.LoadOutcome(started=10.0, full_from=10.5, full_until=13.0)
    assert outcome.steady_window == (0.5, 3.0)
    outcome.full_until = 11.0
    assert outcome.steady_window is None
    assert subject.LoadOutcome().steady_window is None


def random_exchanges(rng: random.Random) -> list[Exchange]:
    starts = [10.0 + rng.random() for _number in range(20)]
    return [
        exchange(start, [start + 0.2 + 0.02 * number * rng.uniform(0.9, 1.1) for number in range(30)], start - 0.01)
        for start in starts
    ]


def test_outcome_merge_equals_one_outcome_of_all_requests():
    rng = random.Random(1)
    one, other = random_exchanges(rng), random_exchanges(rng)
    joined, whole = outcome(*one), outcome(*one, *other)
    joined.merge(outcome(*other))
    for figure, summary in whole.latencies.summary().items():
        assert joined.latencies.summary()[figure] == pytest.approx(summary, rel=1e-12)
    assert joined.timeline.per_second(0.0, 3.0) == whole.timeline.per_second(0.0, 3.0)
    assert sorted(joined.schedule_lag) == sorted(whole.schedule_lag)
    for name in ("completed", "tokens", "completed_tokens", "sent"):
        assert getattr(joined, name) == getattr(whole, name) > 0


def test_outcome_merge_of_times_and_client_load():
    joined = outcome(ended=14.0, full_from=10.5, full_until=13.0, cpu=0.5, busiest=0.5, lag_p99=0.001, free_cores=1.0)
    joined.merge(
        outcome(ended=14.5, full_from=10.7, full_until=12.5, cpu=0.75, busiest=0.75, lag_p99=None, free_cores=0.5)
    )
    assert (joined.started, joined.ended) == (10.0, 14.5)
    assert (joined.full_from, joined.full_until) == (10.7, 12.5)
    assert (joined.cpu, joined.busiest, joined.lag_p99, joined.backlog) == (1.25, 0.75, 0.001, None)
    assert (joined.processes, joined.free_cores) == (2, 0.5)


def test_outcome_merge_without_full_part_has_no_steady_window():
    joined = outcome(full_from=10.5, full_until=13.0)
    joined.merge(outcome())
    assert joined.steady_window is None


def test_outcome_merge_adds_failures():
    joined = outcome(exchange(10.0, [], failure="unavailable"))
    joined.merge(outcome(exchange(10.0, [], failure="unavailable"), exchange(10.0, [], failure="closed_early")))
    joined.merge(outcome(gave_up="unavailable"))
    assert joined.failures == {"unavailable": 2, "closed_early": 1}
    assert joined.gave_up == "unavailable"


def test_outcome_of_open_loop_counts_from_the_due_time():
    late = outcome(exchange(12.0, [12.5, 12.6], due=10.0))
    assert late.latencies.summary()["ttft"]["p50"] == pytest.approx(2.5)
    assert late.latencies.summary()["ttft_sent"]["p50"] == pytest.approx(0.5)
    assert late.latencies.summary()["e2e"]["p50"] == pytest.approx(2.6)
    assert late.schedule_lag == array("d", [2.0])
