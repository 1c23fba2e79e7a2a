# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import step_results as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import Exchange
from ansible_collections.multigpu.vllm.plugins.module_utils.load.counters import Counters
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step, Targets
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed

STEP = Step("s", 100, 5, 2, 4)
#: The server's counters before and after a step of eight tokens.
COUNTERS = (Counters(100.0, 1.0, 0.0, None, None), Counters(108.0, 3.0, 0.0, None, None))


def exchange(sent: float, arrivals: list[float], tokens: int | None = None, **outcome: object) -> Exchange:
    result = Exchange(sent, 5)
    result.answer.arrivals.extend(arrivals)
    result.answer.counts = [1] * len(arrivals)
    result.answer.tokens = len(arrivals) if tokens is None else tokens
    result.answer.prompt_tokens = 101
    for key, value in outcome.items():
        setattr(result, key, value)
    return result


def outcome(*exchanges: Exchange, ended: float = 14.0, deadline: float | None = None, **fields: object) -> LoadOutcome:
    result = LoadOutcome(started=10.0, ended=ended, deadline=deadline, cpu=0.2, busiest=0.2, lag_p99=0.001, **fields)
    result.timeline.origin = 10.0
    for item in exchanges:
        result.add(item)
    return result


def test_step_result_of_requests_has_every_measurement():
    run = outcome(exchange(10.0, [11, 12, 13, 14]), exchange(10.0, [11, 12, 13, 14]))
    result = subject.step_result(STEP, [run], 8.0, *COUNTERS)
    assert result["requests"] == {"completed": 2, "failed": 0, "cancelled": 0}
    assert result["output_throughput"] == 2.0
    assert result["request_throughput"] == 0.5
    assert (result["started"], result["ended"], result["duration"]) == (2.0, 6.0, 4.0)
    assert (result["prompt_tokens"], result["output_tokens"]) == (101, 4)
    assert result["requested"] == {"prompt_tokens": 100, "output_tokens": 5}
    assert result["ttft"]["p50"] == 1.0
    assert result["timeline"][1] == {"time": 3.0, "tokens": 2}
    assert (result["token_ratio"], result["void"], result["repeats"]) == (1.0, False, 1)
    assert (result["attempts"], result["discarded"], result["shared"]) == (1, [], False)


def test_step_result_has_preemptions_and_corrupted_requests():
    before, after = (replace(item, preemptions=1.0 + n, corrupted_requests=n) for n, item in enumerate(COUNTERS))
    result = subject.step_result(STEP, [outcome(exchange(10.0, [11]))], 8.0, before, after)
    assert (result["preemptions"], result["corrupted_requests"]) == (1, 1)
    result = subject.step_result(STEP, [outcome(exchange(10.0, [11]))], 8.0, *COUNTERS)
    assert (result["preemptions"], result["corrupted_requests"]) == (None, None)


def test_step_result_of_duration_counts_arrivals_within_it():
    run = outcome(exchange(10.0, [11, 12, 13]), exchange(10.0, [11, 12, 15]), ended=14.0, deadline=14.0)
    result = subject.step_result(STEP, [run], 10.0, *COUNTERS)
    assert result["output_throughput"] == 5 / 4
    assert result["request_throughput"] == 1 / 4
    assert result["requests"]["completed"] == 2


def test_step_result_counts_failed_and_cancelled_separately():
    run = outcome(
        exchange(10.0, [11, 12]),
        exchange(10.0, [11], failure=RequestFailed("closed_early", "the connection closed")),
        exchange(10.0, [], failure=RequestFailed("unavailable", "HTTP 503")),
        exchange(10.0, [11], cancelled=True),
        gave_up="unavailable",
    )
    result = subject.step_result(STEP, [run], 10.0, *COUNTERS)
    assert result["requests"] == {"completed": 1, "failed": 2, "cancelled": 1}
    assert result["failures"] == {"closed_early": 1, "unavailable": 1}
    assert result["failure_details"] == {"closed_early": "the connection closed", "unavailable": "HTTP 503"}
    assert (result["tokens"], result["gave_up"]) == (4, "unavailable")


def test_step_result_tokens_per_arrival_is_the_mean_of_all_requests():
    alone, together = exchange(10.0, [11, 12, 13, 14]), exchange(10.0, [11, 12])
    together.answer.counts, together.answer.tokens = [6, 6], 12
    assert subject.step_result(STEP, [outcome(alone)], 10.0, *COUNTERS)["tokens_per_arrival"] == pytest.approx(
        alone.answer.tokens / 4
    )
    both = subject.step_result(STEP, [outcome(alone), outcome(together)], 10.0, *COUNTERS)
    assert both["tokens_per_arrival"] == pytest.approx((alone.answer.tokens + 12) / 6)


def test_step_result_without_usage_has_no_rate():
    unknown = exchange(10.0, [11, 12])
    unknown.answer.tokens = None
    result = subject.step_result(STEP, [outcome(unknown)], 10.0, *COUNTERS)
    assert result["output_throughput"] is None
    assert result["steady_throughput"] is None
    assert result["itl"] is None
    assert result["ttft"]["p50"] == 1.0
    assert result["output_tokens"] == 5


def test_step_result_pools_repeats():
    one = outcome(exchange(10.0, [11, 12]), ended=12.0)
    other = outcome(exchange(10.0, [11, 12, 13, 14]), ended=14.0)
    result = subject.step_result(STEP, [one, other], 10.0, *COUNTERS)
    assert result["output_throughput"] == 1.0
    assert (result["repeats"], result["variation"]) == (2, 0.0)
    assert result["requests"]["completed"] == 2
    assert result["duration"] == 6.0


def test_step_result_steady_throughput_is_that_of_the_steady_window():
    arrivals = [10.0 + n / 10 for n in range(1, 60)]
    run = outcome(exchange(10.0, arrivals), ended=16.0, full_from=11.0, full_until=15.0)
    result = subject.step_result(STEP, [run], 10.0, *COUNTERS)
    assert result["steady_throughput"] == pytest.approx(10.0, rel=0.03)
    assert result["variation"] == pytest.approx(0.0, abs=0.06)


def test_step_result_variation_needs_three_seconds():
    run = outcome(exchange(10.0, [11, 12]), full_from=10.0, full_until=12.5)
    assert subject.step_result(STEP, [run], 10.0, *COUNTERS)["variation"] is None


def test_step_result_busy_client_voids_the_step():
    run = outcome(exchange(10.0, [11, 12]))
    run.busiest = 0.97
    result = subject.step_result(STEP, [run], 10.0, *COUNTERS)
    assert result["void"]
    assert result["client"]["limited"]
    assert "97 % of one core" in result["client"]["reason"]


def test_skipped_result_has_every_key():
    run = subject.step_result(STEP, [outcome(exchange(10.0, [11, 12]))], 10.0, *COUNTERS)
    skipped = subject.skipped_result(STEP, "too long")
    assert skipped.keys() == run.keys()
    assert skipped["skipped"] == "too long"
    assert skipped["output_throughput"] is None


@pytest.mark.parametrize(
    ("targets", "within"),
    [
        (Targets(), 3),
        (Targets(ttft=1.5), 2),
        (Targets(itl=1.5), 2),
        (Targets(ttft=1.0, itl=1.0), 1),
    ],
)
def test_step_result_goodput_counts_requests_that_meet_all_targets(targets, within):
    run = outcome(
        exchange(10.0, [11, 12, 13]),
        exchange(10.0, [11, 13, 15]),
        exchange(10.0, [12, 13, 14]),
        exchange(10.0, [11, 12], failure=RequestFailed("closed_early", "the connection closed")),
        targets=targets,
    )
    result = subject.step_result(STEP, [run], 10.0, *COUNTERS)
    assert (result["within_targets"], result["goodput"]) == (within, within / 4)


def test_step_result_goodput_excludes_requests_after_the_duration():
    exchanges = exchange(10.0, [11, 12, 13]), exchange(10.0, [11, 12, 15])
    run = outcome(*exchanges, deadline=14.0, targets=Targets(ttft=2.0))
    assert subject.step_result(STEP, [run], 10.0, *COUNTERS)["within_targets"] == 1


def test_step_result_goodput_without_targets_or_tokens_is_none():
    assert subject.step_result(STEP, [outcome(exchange(10.0, [11]))], 10.0, *COUNTERS)["goodput"] is None
    unknown = exchange(10.0, [11, 12])
    unknown.answer.tokens = None
    run = outcome(unknown, targets=Targets(itl=1.0))
    assert subject.step_result(STEP, [run], 10.0, *COUNTERS)["within_targets"] is None
