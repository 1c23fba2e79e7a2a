# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the Prometheus metrics with Prometheus' own parser."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.prometheus import report_prometheus
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset], float]


def parse(report: dict) -> Samples:
    families = text_string_to_metric_families(report_prometheus(report))
    return {
        (sample.name.removeprefix("multigpu_validation_"), frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def samples(fleet: dict) -> Samples:
    return parse(fleet)


def value(samples: Samples, name: str, **labels: str) -> list[float]:
    return [
        number
        for (sample_name, sample_labels), number in samples.items()
        if sample_name == name and set(labels.items()) <= sample_labels
    ]


def test_prometheus_node_has_exactly_one_status(fleet: dict, samples: Samples) -> None:
    for node, data in fleet["hosts"].items():
        assert value(samples, "node_status", node=node, status=data["status"]) == [1]
        assert sum(value(samples, "node_status", node=node)) == 1


def test_prometheus_check_has_one_status(samples: Samples) -> None:
    assert value(samples, "check_status", node="idle-gpus", check="memory.idle_gpu", status="fail") == [1]
    assert value(samples, "check_status", node="idle-gpus", check="memory.idle_gpu", status="pass") == []
    assert value(samples, "check_status", node="healthy", area="memory", check="memory.idle_gpu", status="pass") == [1]


def test_prometheus_speeds_are_in_base_units(samples: Samples) -> None:
    step = {"node": "healthy", "step": "sustained", "concurrency": "8", "prompt_tokens": "128"}
    assert value(samples, "output_tokens_per_second", **step) == [612.4]
    assert value(samples, "ttft_seconds", **step, quantile="0.95") == [0.061]
    assert value(samples, "gpu_utilization_ratio", node="healthy", gpu="0") == [0.92]
    assert value(samples, "gpu_memory_total_bytes", node="healthy", gpu="3") == [20 * 2**30]


def test_prometheus_prices_are_in_dollars(samples: Samples) -> None:
    assert value(samples, "hourly_price_dollars", node="healthy") == [3.0]
    assert value(samples, "idle_hourly_price_dollars", node="idle-gpus") == [pytest.approx(2.6775)]
    assert value(samples, "million_output_tokens_dollars", node="healthy") == [pytest.approx(1.3608, rel=1e-4)]
    assert value(samples, "hourly_price_dollars", node="silent") == []


def test_prometheus_unknown_values_are_omitted(fleet: dict, samples: Samples) -> None:
    assert value(samples, "gpus", node="silent") == []
    assert value(samples, "output_tokens_per_second", node="crashed") == []
    fleet["hosts"]["healthy"]["load"][0]["void"] = True
    assert len(value(parse(fleet), "output_tokens_per_second", node="healthy")) == 2


def test_prometheus_timestamp_of_the_run(samples: Samples) -> None:
    assert value(samples, "timestamp_seconds") == [1795453200.0]


def test_prometheus_labels_are_escaped(fleet: dict) -> None:
    fleet["hosts"]['a"b\n\\c'] = fleet["hosts"]["healthy"]
    assert value(parse(fleet), "node_status", node='a"b\n\\c', status="pass") == [1]
