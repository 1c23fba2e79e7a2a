# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus text of real servers, and names that changed."""

from __future__ import annotations

import math

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import metrics
from ansible_collections.multigpu.vllm.tests.support.recorded import CAPTURES


def scrape(version: str, moment: str = "after") -> metrics.MetricSet:
    return metrics.parse((CAPTURES / f"vllm-{version}-tp2-http" / f"metrics-{moment}.prom").read_text())


@pytest.mark.parametrize("version", ["0.27", "0.32"])
def test_reads_counters_gauges_and_info_labels_of_a_real_server(version: str) -> None:
    found = scrape(version)
    assert found.value("vllm:num_requests_running", model_name="tiny") == 0
    assert found.sum("vllm:generation_tokens_total") > 0
    assert found.labels("vllm:cache_config_info")[0]["kv_cache_size_tokens"] == "2097152"
    assert "vllm:kv_cache_usage_perc" in found.names()


def test_what_happened_between_two_scrapes() -> None:
    before, after = scrape("0.32", "before"), scrape("0.32")
    name = "vllm:time_to_first_token_seconds"
    delta = after.histogram(name).minus(before.histogram(name))
    assert delta.count == after.value(f"{name}_count") - before.value(f"{name}_count")
    assert delta.buckets[-1] == (math.inf, delta.count)
    assert 0 < delta.quantile(0.5) <= delta.quantile(0.99)
    assert delta.mean == pytest.approx(delta.sum / delta.count)


def test_older_names_are_found_under_the_present_one() -> None:
    old = metrics.parse(
        'vllm:gpu_cache_usage_perc{model_name="m"} 0.25\n'
        'vllm:time_per_output_token_seconds_bucket{le="0.1"} 3\n'
        'vllm:time_per_output_token_seconds_bucket{le="+Inf"} 4\n'
        "vllm:time_per_output_token_seconds_count 4\n"
        "vllm:time_per_output_token_seconds_sum 1.0\n"
    )
    assert old.value("vllm:kv_cache_usage_perc") == 0.25
    assert old.histogram("vllm:inter_token_latency_seconds").mean == 0.25


def test_absent_metrics_are_none_not_zero() -> None:
    found = metrics.parse("")
    assert found.value("vllm:num_requests_running") is None
    assert found.sum("vllm:num_requests_running") is None
    assert found.histogram("vllm:e2e_request_latency_seconds") is None
    assert found.names() == []


def test_several_engines_are_summed() -> None:
    found = metrics.parse(
        'x_total{engine="0"} 1\nx_total{engine="1"} 2\n'
        'h_bucket{engine="0",le="1"} 1\nh_bucket{engine="1",le="1"} 2\n'
        'h_count{engine="0"} 1\nh_count{engine="1"} 2\nh_sum{engine="0"} 0.5\nh_sum{engine="1"} 1\n'
    )
    assert found.sum("x_total") == 3
    assert found.value("x_total", engine="1") == 2
    assert found.histogram("h") == metrics.Histogram(((1.0, 3.0),), 3.0, 1.5)
    assert found.histogram("h", engine="7") is None


def test_escapes_timestamps_and_unreadable_lines() -> None:
    found = metrics.parse('a{path="C:\\\\x\\"y\\n"} 1 1700000000\nb NaN\nc not-a-number\n{broken\n')
    assert found.labels("a") == [{"path": 'C:\\x"y\n'}]
    assert math.isnan(found.value("b"))
    assert found.names() == ["a", "b"]


def test_a_web_page_is_not_metrics() -> None:
    with pytest.raises(ValueError, match="no Prometheus samples"):
        metrics.parse("<html><body>Please log in</body></html>")


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.5, 1.0), (0.75, 1.5), (1.0, 2.0), (0.0, 0.0)],
)
def test_quantile_interpolates_within_its_bucket(fraction: float, expected: float) -> None:
    histogram = metrics.Histogram(((1.0, 2.0), (2.0, 4.0), (math.inf, 4.0)), 4.0, 5.0)
    assert histogram.quantile(fraction) == pytest.approx(expected)


def test_quantile_beyond_the_last_bound_is_that_bound_and_of_nothing_is_none() -> None:
    assert metrics.Histogram(((1.0, 0.0), (math.inf, 3.0)), 3.0, 9.0).quantile(0.5) == 1.0
    empty = metrics.Histogram((), 0.0, 0.0)
    assert empty.quantile(0.5) is None and empty.mean is None
