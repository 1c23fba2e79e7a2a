# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import math

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import metrics
from ansible_collections.multigpu.vllm.tests.support.recorded import CAPTURES


def scrape(version: str, moment: str = "after") -> metrics.MetricSet:
    return metrics.parse((CAPTURES / f"vllm-{version}-tp2-http" / f"metrics-{moment}.prom").read_text())


@pytest.mark.parametrize("version", ["0.27", "0.32"])
def test_metrics_of_a_real_server(version: str) -> None:
    scraped = scrape(version)
    assert scraped.sum("vllm:num_requests_running") == 0
    assert scraped.sum("vllm:generation_tokens_total") > 0
    assert scraped.labels("vllm:cache_config_info")[0]["kv_cache_size_tokens"] == "2097152"
    assert "vllm:kv_cache_usage_perc" in scraped.names()


def test_metrics_renamed_metric_is_found_by_its_current_name() -> None:
    old = metrics.parse('vllm:gpu_cache_usage_perc{model_name="m"} 0.25\n')
    assert old.sum("vllm:kv_cache_usage_perc") == 0.25


def test_metrics_absent_metric_is_none() -> None:
    scraped = metrics.parse("")
    assert scraped.sum("vllm:num_requests_running") is None
    assert scraped.names() == []


def test_metrics_sum_adds_engines() -> None:
    scraped = metrics.parse('x_total{engine="0"} 1\nx_total{engine="1"} 2\n')
    assert scraped.sum("x_total") == 3


def test_metrics_escapes_timestamps_and_invalid_lines() -> None:
    scraped = metrics.parse('a{path="C:\\\\x\\"y\\n"} 1 1700000000\nb NaN\nc not-a-number\n{broken\n')
    assert scraped.labels("a") == [{"path": 'C:\\x"y\n'}]
    assert math.isnan(scraped.sum("b"))
    assert scraped.names() == ["a", "b"]


def test_metrics_web_page_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no Prometheus samples"):
        metrics.parse("<html><body>Please log in</body></html>")
