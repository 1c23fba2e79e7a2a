# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import counters as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import metrics
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.tests.support.recorded import CAPTURES


def captured(version: str, moment: str) -> metrics.MetricSet:
    return metrics.parse([(CAPTURES / f"vllm-{version}-tp2-http" / f"metrics-{moment}.prom").read_bytes()])


class Source:
    """A source that returns one reading after the other, and the last one from then on."""

    def __init__(self, *readings: metrics.MetricSet | RequestFailed | None) -> None:
        self.readings = list(readings)

    def metrics(self) -> metrics.MetricSet | None:
        reading = self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]
        if isinstance(reading, RequestFailed):
            raise reading
        return reading


def scrape(tokens: float, running: float = 0.0) -> metrics.MetricSet:
    return metrics.parse([f"vllm:generation_tokens_total {tokens}\nvllm:num_requests_running {running}\n".encode()])


class FakeClock:
    """A clock that only ``sleep`` advances."""

    def __init__(self) -> None:
        self.time, self.pauses = 0.0, 0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.pauses += 1


BEFORE = subject.Counters(1000.0, 10.0, 0.0, 5000.0, 0.0)
AFTER = subject.Counters(1400.0, 14.0, 0.0, 9000.0, 1000.0)


@pytest.mark.parametrize("version", ["0.27", "0.32"])
def test_read_counters_of_captured_metrics(version):
    counters = subject.read_counters(captured(version, "after"))
    assert counters.generation_tokens > 0
    assert counters.finished_requests > 0
    assert counters.active_requests == 0
    assert counters.cache_queries > 0
    before = subject.read_counters(captured(version, "before"))
    assert counters.generation_tokens > before.generation_tokens


def test_read_counters_of_preemptions_and_corrupted_requests():
    # The capture has no vllm:corrupted_requests_total, because VLLM_COMPUTE_NANS_IN_LOGITS was not set.
    counters = subject.read_counters(captured("0.32", "after"))
    assert (counters.preemptions, counters.corrupted_requests) == (0, None)
    added = metrics.parse([b'vllm:corrupted_requests_total{engine="0",model_name="tiny"} 3.0\n'])
    assert subject.read_counters(added).corrupted_requests == 3


def test_speculation_is_computed_as_vllm_does():
    # Names of the counters in vllm/v1/spec_decode/metrics.py, which prometheus_client ends with _total.
    def scraped(drafts: int, drafted: int, accepted: int) -> subject.Counters:
        lines = {"drafts": drafts, "draft_tokens": drafted, "accepted_tokens": accepted}
        text = "".join(f'vllm:spec_decode_num_{name}_total{{engine="0"}} {n}.0\n' for name, n in lines.items())
        return subject.read_counters(metrics.parse([text.encode()]))

    before = scraped(100, 300, 90)
    assert subject.speculation(before, scraped(200, 600, 240)) == {
        "drafts": 100,
        "acceptance_rate": 0.5,
        "mean_acceptance_length": 2.5,
    }
    assert subject.speculation(before, before) == {
        "drafts": 0,
        "acceptance_rate": None,
        "mean_acceptance_length": None,
    }
    assert subject.speculation(BEFORE, subject.read_counters(captured("0.32", "after"))) is None


@pytest.mark.parametrize(
    ("before", "after", "expected"), [(2.0, 5.0, 3), (2.0, 2.0, 0), (2.0, 0.0, None), (None, 5.0, None)]
)
def test_increase_of_a_counter(before, after, expected):
    first, second = replace(BEFORE, preemptions=before), replace(AFTER, preemptions=after)
    assert subject.increase(first, second, "preemptions") == expected
    assert subject.increase(first, "no /metrics", "preemptions") is None


def test_settled_counters_wait_for_the_server():
    clock = FakeClock()
    source = Source(scrape(90, running=1), scrape(90), scrape(100))
    assert subject.settled_counters(source, 100, clock.sleep, clock.now).generation_tokens == 100
    assert clock.pauses == 2


def test_settled_counters_wait_is_bounded():
    clock = FakeClock()
    assert subject.settled_counters(Source(scrape(90)), 100, clock.sleep, clock.now).generation_tokens == 90
    assert clock.time == pytest.approx(subject.SETTLE, abs=0.2)


def test_settled_counters_slow_responses_count_as_waiting():
    clock = FakeClock()
    source = Source(scrape(90))
    source.metrics = lambda: clock.sleep(1.0) or scrape(90)
    assert subject.settled_counters(source, 100, clock.sleep, clock.now).generation_tokens == 90
    assert clock.time < 2 * subject.SETTLE


@pytest.mark.parametrize(
    ("reading", "text"),
    [
        (None, "no /metrics"),
        (RequestFailed("unauthorized", "HTTP 401", 401), "could not be read: API key refused"),
        (metrics.parse([b"http_requests_total 5\n"]), "no vllm:generation_tokens_total"),
    ],
)
def test_settled_counters_unavailable_returns_the_reason(reading, text):
    assert text in subject.settled_counters(Source(reading))


def test_token_ratio_is_server_over_client():
    ratio = subject.token_ratio(BEFORE, AFTER, 400, 4, 0)
    assert ratio == {"token_ratio": 1.0, "token_ratio_reason": None, "shared": False}
    assert subject.token_ratio(BEFORE, AFTER, 200, 4, 0)["token_ratio"] == 2.0


@pytest.mark.parametrize(
    ("before", "after", "tokens", "uncounted", "text"),
    [
        ("no metrics", AFTER, 400, 0, "no metrics"),
        (BEFORE, "unreachable", 400, 0, "unreachable"),
        (replace(BEFORE, active_requests=2.0), AFTER, 400, 0, "other clients"),
        (BEFORE, replace(AFTER, active_requests=1.0), 400, 0, "other clients"),
        (BEFORE, replace(AFTER, finished_requests=20.0), 400, 0, "finished 10 requests, 4 of them ours"),
        (BEFORE, AFTER, 400, 3, "3 requests ended without a token count"),
        (BEFORE, replace(AFTER, generation_tokens=5.0), 400, 0, "was reset"),
        (BEFORE, AFTER, 0, 0, "no tokens arrived"),
    ],
)
def test_token_ratio_unknown_returns_the_reason(before, after, tokens, uncounted, text):
    ratio = subject.token_ratio(before, after, tokens, 4, uncounted)
    assert ratio["token_ratio"] is None
    assert text in ratio["token_ratio_reason"]
    assert ratio["shared"] == ("other clients" in ratio["token_ratio_reason"])


def test_token_ratio_without_request_counter():
    before, after = replace(BEFORE, finished_requests=None), replace(AFTER, finished_requests=None)
    assert subject.token_ratio(before, after, 400, 4, 0)["token_ratio"] == 1.0


def test_cache_hit_ratio_is_hits_over_queries():
    assert subject.cache_hit_ratio(BEFORE, AFTER) == 0.25
    assert subject.cache_hit_ratio(BEFORE, BEFORE) is None
    assert subject.cache_hit_ratio(BEFORE, replace(AFTER, cache_hits=None)) is None
    assert subject.cache_hit_ratio("none", AFTER) is None
