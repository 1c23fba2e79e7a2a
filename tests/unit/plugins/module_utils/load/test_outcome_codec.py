# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load steps from prompt sizes."""

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


def travelled(outcome: LoadOutcome, shift: float = 0.0, back: float = 0.0) -> LoadOutcome:
    step = Step("s", 8, 20, 4, duration=4.0, targets=Targets(ttft=0.5))
    packed = json.loads(json.dumps(subject.pack(step, [outcome], COUNTERS, "the server offers no /metrics", shift)))
    again, (unpacked,), before, after = subject.unpack(packed, back)
    assert (again, before, after) == (step, COUNTERS, "the server offers no /metrics")
    return unpacked


def test_what_travelled_says_the_same():
    outcome = measured()
    unpacked = travelled(outcome)
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
        assert getattr(unpacked, name) == getattr(outcome, name)
    assert unpacked.details == {"unavailable": "HTTP 503"}
    assert unpacked.timeline.per_second(0.0, 4.0) == outcome.timeline.per_second(0.0, 4.0)
    for figure, summary in outcome.latencies.summary().items():
        assert unpacked.latencies.summary()[figure] == pytest.approx(summary, rel=0.0011)
    assert len(unpacked.schedule_lag) == 50


def test_times_become_those_of_another_clock():
    unpacked = travelled(measured(), shift=1_795_000_000.0, back=-1_795_000_000.0 + 7.0)
    assert (unpacked.started, unpacked.ended, unpacked.deadline) == (107.0, 111.0, 111.0)
    assert unpacked.timeline.origin == 107.0
    assert travelled(LoadOutcome(), shift=5.0).deadline is None


def test_loads_that_travelled_add_up():
    one, other = measured(1), measured(2)
    whole = travelled(one)
    whole.merge(travelled(other))
    one.merge(other)
    assert whole.completed == one.completed == 100
    assert whole.latencies.summary()["itl"] == pytest.approx(one.latencies.summary()["itl"], rel=1e-9)


def test_bins_are_where_they_are_documented():
    packed = subject.pack(Step("s", 8, 20, 4, 4), [measured()], COUNTERS, COUNTERS, 0.0)
    itl = packed["outcomes"][0]["itl"]
    assert sum(count for _number, count in itl["bins"]) == itl["count"] == 50 * 19
    edges = [
        (math.exp((number - 70000) / 1000), math.exp((number + 1 - 70000) / 1000)) for number, _count in itl["bins"]
    ]
    assert edges[0][0] >= 0.02 * 0.4 * 0.999
    assert edges[-1][1] <= 0.02 * 1.6 * 1.001
    low = sum(low * count for (low, _high), (_number, count) in zip(edges, itl["bins"], strict=True))
    high = sum(high * count for (_low, high), (_number, count) in zip(edges, itl["bins"], strict=True))
    assert low <= itl["total"] <= high
