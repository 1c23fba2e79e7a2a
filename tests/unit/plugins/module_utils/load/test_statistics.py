# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import math
import random

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import statistics as subject


def test_histogram_quantiles_are_accurate():
    rng = random.Random(1)
    values = [rng.lognormvariate(-4, 1) for _index in range(20_000)]
    histogram = subject.LogHistogram()
    histogram.add(values)
    exact = subject.summarise(values)
    for key, value in histogram.summary().items():
        assert value == pytest.approx(exact[key], rel=0.002)


def test_histogram_weights_count_like_repeated_values():
    one, other = subject.LogHistogram(), subject.LogHistogram()
    one.add([0.01] * 3 + [0.02] * 5)
    other.add_weighted(0.01, 3)
    other.add_weighted(0.02, 5)
    assert one.summary() == pytest.approx(other.summary())


def test_histogram_merge_equals_one_of_all_values():
    one, other, both = (subject.LogHistogram() for _index in range(3))
    one.add([0.01, 0.02])
    other.add([0.5])
    both.add([0.01, 0.02, 0.5])
    one.merge(other)
    assert one.summary() == both.summary()


def test_histogram_of_nothing_has_no_quantile_and_zero_is_a_nanosecond():
    histogram = subject.LogHistogram()
    assert (histogram.summary(), histogram.quantile(0.5)) == (None, None)
    histogram.add([0.0])
    assert histogram.quantile(0.5) == pytest.approx(1e-9, rel=0.01)


def test_histogram_size_is_independent_of_the_number_of_values():
    histogram = subject.LogHistogram()
    for _index in range(50):
        histogram.add([0.001 + n * 1e-6 for n in range(1000)])
    assert len(histogram._buckets) < 1000 * math.log(2) + 2


def test_quantile_is_interpolated():
    assert subject.quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.5
    assert subject.quantile([1.0], 0.99) == 1.0
    assert subject.summarise([]) is None


@pytest.mark.parametrize(
    ("values", "expected"), [([], None), ([1.0], None), ([0.0, 0.0], None), ([2.0, 2.0], 0.0), ([1.0, 3.0], 2**0.5 / 2)]
)
def test_variation_is_standard_deviation_over_mean(values, expected):
    result = subject.variation(values)
    assert result == (pytest.approx(expected) if expected is not None else None)


def test_latencies_match_their_formulas():
    latencies = subject.Latencies()
    latencies.add(10.0, [10.5, 10.6, 10.8], [1, 1, 1], 3, None)
    summary = latencies.summary()
    assert summary["ttft"]["p50"] == pytest.approx(0.5)
    assert summary["e2e"]["p50"] == pytest.approx(0.8)
    assert summary["tpot"]["p50"] == pytest.approx((0.8 - 0.5) / 2)
    assert summary["itl"]["mean"] == pytest.approx(0.15)


def test_latencies_gap_is_divided_by_its_tokens():
    latencies = subject.Latencies()
    latencies.add(0.0, [1.0, 1.4], [1, 4], 5, None)
    assert latencies.itl.count == 4
    assert latencies.itl.quantile(0.5) == pytest.approx(0.1, rel=0.001)


def test_latencies_without_counts_assume_the_mean_per_chunk():
    latencies = subject.Latencies()
    latencies.add(0.0, [1.0, 1.2, 1.4], [1, 1, 1], 6, None)
    assert latencies.itl.count == 4
    assert latencies.itl.quantile(0.5) == pytest.approx(0.1, rel=0.001)


@pytest.mark.parametrize(
    ("arrivals", "counts", "tokens"), [([1.0, 2.0], [1, 1], None), ([1.0], [1], 1), ([1.0], [3], 3)]
)
def test_latencies_without_inter_token_latency(arrivals, counts, tokens):
    latencies = subject.Latencies()
    latencies.add(0.0, arrivals, counts, tokens, None)
    assert latencies.summary()["itl"] is None
    assert latencies.summary()["ttft"]["p50"] == 1.0


def test_latencies_merge_adds_the_requests():
    one, other = subject.Latencies(), subject.Latencies()
    one.add(0.0, [1.0, 1.1], [1, 1], 2, None)
    other.add(0.0, [3.0, 3.1], [1, 1], 2, None)
    one.merge(other)
    assert one.summary()["ttft"]["mean"] == pytest.approx(2.0)
    assert one.itl.count == 2


def test_timeline_counts_tokens_by_time():
    timeline = subject.TokenTimeline(100.0)
    timeline.add([100.05, 100.95, 101.5], [1, 1, 1])
    timeline.add([101.6], [4], 2.0)
    assert timeline.tokens(0.0, 1.0) == 2
    assert timeline.per_second(0.0, 1.7) == [{"time": 0.0, "tokens": 2}, {"time": 1.0, "tokens": 9}]
