# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the statuses and figures of the last run as Prometheus metrics for node_exporter's textfile collector.

Needs prometheus-client, which is imported only if this format is requested. Names and units follow
https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status, worst

Document = Mapping[str, t.Any]

_PREFIX: t.Final = "multigpu_validation_"
_QUANTILES: t.Final = {"p50": "0.5", "p95": "0.95", "p99": "0.99"}
_LATENCIES: t.Final = {
    "ttft": "Time to first token in a load step",
    "itl": "Time between two tokens in a load step",
    "e2e": "Time from request to last token in a load step",
}


class _Metrics:
    """Gauges by name, created on first use."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry

        self.registry = CollectorRegistry()
        self._gauges: dict[str, t.Any] = {}

    def set(self, name: str, help_text: str, value: float | None, **labels: str) -> None:
        """Set a value; an unknown value is omitted instead of reported as zero."""
        from prometheus_client import Gauge

        if value is None:
            return
        if name not in self._gauges:
            self._gauges[name] = Gauge(_PREFIX + name, help_text, list(labels), registry=self.registry)
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)


def report_prometheus(document: Document) -> str:
    """Return metrics in the text format; labels are node, area, check, status, step, gpu and quantile."""
    from prometheus_client import generate_latest

    metrics = _Metrics()
    moment = datetime.datetime.fromisoformat(document["run"]["time"]).timestamp()
    metrics.set("timestamp_seconds", "Unix time of the validation run", moment)
    for name, node in document["hosts"].items():
        _verdicts(metrics, name, node)
        _speeds(metrics, name, node)
        _gpus(metrics, name, node)
        _costs(metrics, name, node)
    return str(generate_latest(metrics.registry).decode())


def _verdicts(metrics: _Metrics, name: str, node: Document) -> None:
    for status in Status:
        value = float(node["status"] == status.value)
        metrics.set(
            "node_status",
            "1 for the status of the node, 0 for every other status",
            value,
            node=name,
            status=status.value,
        )
    by_check: dict[str, list[str]] = {}
    for section in node["sections"]:
        for finding in section["findings"]:
            by_check.setdefault(finding["check"], []).append(finding["status"])
    for check, statuses in by_check.items():
        labels = {"node": name, "area": check.partition(".")[0], "check": check, "status": worst(statuses).value}
        metrics.set("check_status", "Always 1; the label status has the status of the check", 1.0, **labels)


def _speeds(metrics: _Metrics, name: str, node: Document) -> None:
    for step in node["load"]:
        if step["skipped"] or step["void"]:
            continue
        labels = {
            "node": name,
            "step": str(step["name"]),
            "prompt_tokens": str(step["prompt_tokens"]),
            "concurrency": str(step["concurrency"]),
        }
        value = step["output_throughput"]
        metrics.set("output_tokens_per_second", "Output tokens of all streams per second", value, **labels)
        for key, help_text in _LATENCIES.items():
            for percentile, quantile in _QUANTILES.items():
                value = (step[key] or {}).get(percentile)
                metrics.set(f"{key}_seconds", help_text, value, **labels, quantile=quantile)


def _costs(metrics: _Metrics, name: str, node: Document) -> None:
    price = node["facts"]["cost"] or dict.fromkeys(("hourly_price", "per_million_output_tokens", "idle_hourly"))
    metrics.set("hourly_price_dollars", "Price of the node per hour", price["hourly_price"], node=name)
    metrics.set(
        "idle_hourly_price_dollars", "Price of the idle GPUs of the node per hour", price["idle_hourly"], node=name
    )
    token_price = price["per_million_output_tokens"]
    metrics.set(
        "million_output_tokens_dollars", "Price of one million output tokens under load", token_price, node=name
    )


def _gpus(metrics: _Metrics, name: str, node: Document) -> None:
    gpus = node["facts"]["gpus"]
    metrics.set("gpus", "GPUs that the driver reports", gpus["count"], node=name)
    metrics.set("expected_gpus", "GPUs that the plan promises", gpus["expected_count"], node=name)
    for gpu in node["memory"]:
        labels = {"node": name, "gpu": str(gpu["index"])}
        metrics.set("gpu_memory_used_bytes", "GPU memory in use under load", gpu["used"], **labels)
        metrics.set("gpu_memory_total_bytes", "GPU memory in total", gpu["total"], **labels)
    utilisation = node["utilisation"] or {"gpus": (), "mean": ()}
    for index, mean in zip(utilisation["gpus"], utilisation["mean"], strict=True):
        share = None if mean is None else mean / 100
        metrics.set("gpu_utilization_ratio", "Mean GPU utilisation under load", share, node=name, gpu=str(index))
