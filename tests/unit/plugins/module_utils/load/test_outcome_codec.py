# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import math
import random

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import outcome_codec as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import Exchange
from ansible_collections.multigpu.vllm.plugins.module_utils.load.counters import Counters
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step, Targets
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed

COUNTERS = Counters(1000.0, 10.0, 0.0, 500.0, 0.0)


def measured(seed: int = 1) -> LoadOutcome:
    rng = random.Random(seed)
    outcome = LoadOutcome(
        started=100.0,
        ended=104.0,
        deadline=104.0,
        full_from=101.0,
        full_until=103.5,
        targets=Targets(ttft=0.5),
        cpu=0.3,
        busiest=0.3,
        lag_p99=0.002,
        held=2,
        unsent=1,
        processes=2,
    )
    outcome.timeline.origin = 100.0
    for _number in range(50):
        sent = 100.0 + rng.random()
        exchange = Exchange(sent, 20)
        exchange.due = sent - 0.001
        exchange.answer.arrivals.extend(sent + 0.2 + 0.02 * (n + rng.uniform(-0.3, 0.3)) for n in range(20))
        exchange.answer.counts = [1] * 20
        exchange.answer.tokens = 20
        outcome.add(exchange)
    failed = Exchange(103.0, 20)
    failed.failure = RequestFailed("unavailable", "HTTP 503")
    outcome.add(failed)
    return outcome


def round_trip(outcome: LoadOutcome, shift: float = 0.0, back: float = 0.0) -> LoadOutcome:
    step = Step("s", 8, 20, 4, duration=4.0, targets=Targets(ttft=0.5))
    encoded = json.loads(json.dumps(subject.encode(step, [outcome], COUNTERS, "the server offers no /metrics", shift)))
    again, (decoded,), before, after = subject.decode(encoded, back)
    assert (again, before, after) == (step, COUNTERS, "the server offers no /metrics")
    return decoded


def test_codec_round_trip_keeps_the_outcome():
    outcome = measured()
    decoded = round_trip(outcome)
    for name in (
        "completed",
        "failed",
        "tokens",
        "within_targets",
        "held",
        "unsent",
        "cpu",
        "processes",
        "steady_window",
    ):
        assert getattr(decoded, name) == getattr(outcome, name)
    assert decoded.details == {"unavailable": "HTTP 503"}
    assert decoded.timeline.per_second(0.0, 4.0) == outcome.timeline.per_second(0.0, 4.0)
    for figure, summary in outcome.latencies.summary().items():
        assert decoded.latencies.summary()[figure] == pytest.approx(summary, rel=0.0011)
    assert len(decoded.schedule_lag) == 50


def test_codec_shifts_times_to_another_clock():
    decoded = round_trip(measured(), shift=1_795_000_000.0, back=-1_795_000_000.0 + 7.0)
    assert (decoded.started, decoded.ended, decoded.deadline) == (107.0, 111.0, 111.0)
    assert decoded.timeline.origin == 107.0
    assert round_trip(LoadOutcome(), shift=5.0).deadline is None


def test_codec_decoded_outcomes_can_be_merged():
    one, other = measured(1), measured(2)
    whole = round_trip(one)
    whole.merge(round_trip(other))
    one.merge(other)
    assert whole.completed == one.completed == 100
    assert whole.latencies.summary()["itl"] == pytest.approx(one.latencies.summary()["itl"], rel=1e-9)


def test_codec_bins_have_the_documented_edges():
    encoded = subject.encode(Step("s", 8, 20, 4, 4), [measured()], COUNTERS, COUNTERS, 0.0)
    itl = encoded["outcomes"][0]["itl"]
    assert sum(count for _number, count in itl["bins"]) == itl["count"] == 50 * 19
    edges = [
        (math.exp((number - 70000) / 1000), math.exp((number + 1 - 70000) / 1000)) for number, _count in itl["bins"]
    ]
    assert edges[0][0] >= 0.02 * 0.4 * 0.999
    assert edges[-1][1] <= 0.02 * 1.6 * 1.001
    low = sum(low * count for (low, _high), (_number, count) in zip(edges, itl["bins"], strict=True))
    high = sum(high * count for (_low, high), (_number, count) in zip(edges, itl["bins"], strict=True))
    assert low <= itl["total"] <= high
