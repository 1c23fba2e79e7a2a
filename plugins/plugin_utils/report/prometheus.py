# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render statuses and measurements of a validation run as Prometheus metrics for node_exporter's textfile collector.

Requires prometheus-client, which is imported only if this format is requested. Names and units follow
https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Iterator, Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status, worst

Document = Mapping[str, t.Any]
#: Name of a metric, its value, and its labels in addition to the node.
Sample = tuple[str, float | None, dict[str, str]]

_PREFIX: t.Final = "multigpu_validation_"
_QUANTILES: t.Final = {"p50": "0.5", "p95": "0.95", "p99": "0.99"}

#: Help text of each metric.
_HELP: t.Final = {
    "timestamp_seconds": "Unix time of the validation run",
    "node_status": "1 for the status of the node, 0 for every other status",
    "check_status": "Always 1; the status label contains the status of the check",
    "output_tokens_per_second": "Output tokens per second over all streams",
    "ttft_seconds": "Time to first token in a load step",
    "itl_seconds": "Time between two tokens in a load step",
    "e2e_seconds": "Time from request to last token in a load step",
    "gpus": "GPUs that the driver reports",
    "expected_gpus": "GPUs that the plan promises",
    "gpu_memory_used_bytes": "GPU memory in use under load",
    "gpu_memory_total_bytes": "Total GPU memory",
    "gpu_utilization_ratio": "Mean GPU utilisation under load",
    "hourly_price_dollars": "Price of the node per hour",
    "idle_hourly_price_dollars": "Price of the idle GPUs of the node per hour",
    "wasted_hourly_price_dollars": "Part of the price of the node per hour that buys no speed, by reason",
    "million_output_tokens_dollars": "Price of one million output tokens under load",
}


def report_prometheus(document: Document) -> str:
    """Return the metrics in the Prometheus text format.

    The labels are node, area, check, status, step, prompt_tokens, concurrency, gpu and quantile. An unknown value is
    omitted instead of being reported as zero.
    """
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry, gauges = CollectorRegistry(), {}
    for name, value, labels in _samples(document):
        if value is None:
            continue
        if name not in gauges:
            gauges[name] = Gauge(_PREFIX + name, _HELP[name], list(labels), registry=registry)
        (gauges[name].labels(**labels) if labels else gauges[name]).set(value)
    return str(generate_latest(registry).decode())


def _samples(document: Document) -> Iterator[Sample]:
    yield "timestamp_seconds", datetime.datetime.fromisoformat(document["run"]["time"]).timestamp(), {}
    for node, entry in document["hosts"].items():
        for samples in (_verdicts, _speeds, _gpus, _costs):
            for name, value, labels in samples(entry):
                yield name, value, {"node": node, **labels}


def _verdicts(node: Document) -> Iterator[Sample]:
    for status in Status:
        yield "node_status", float(node["status"] == status.value), {"status": status.value}
    by_check: dict[str, list[str]] = {}
    for section in node["sections"]:
        for finding in section["findings"]:
            by_check.setdefault(finding["check"], []).append(finding["status"])
    for check, statuses in by_check.items():
        labels = {"area": check.partition(".")[0], "check": check, "status": worst(statuses).value}
        yield "check_status", 1.0, labels


def _speeds(node: Document) -> Iterator[Sample]:
    for step in node["load"]:
        if step["skipped"] or step["void"]:
            continue
        labels = {"step": str(step["name"]), **{key: str(step[key]) for key in ("prompt_tokens", "concurrency")}}
        yield "output_tokens_per_second", step["output_throughput"], labels
        for key in ("ttft", "itl", "e2e"):
            for percentile, quantile in _QUANTILES.items():
                yield f"{key}_seconds", (step[key] or {}).get(percentile), {**labels, "quantile": quantile}


def _gpus(node: Document) -> Iterator[Sample]:
    gpus = node["facts"]["gpus"]
    yield "gpus", gpus["count"], {}
    yield "expected_gpus", gpus["expected_count"], {}
    for gpu in node["memory"]:
        for key in ("used", "total"):
            yield f"gpu_memory_{key}_bytes", gpu[key], {"gpu": str(gpu["index"])}
    utilisation = node["utilisation"] or {"gpus": (), "mean": ()}
    for index, mean in zip(utilisation["gpus"], utilisation["mean"], strict=True):
        yield "gpu_utilization_ratio", None if mean is None else mean / 100, {"gpu": str(index)}


def _costs(node: Document) -> Iterator[Sample]:
    price = node["facts"]["cost"] or {}
    yield "hourly_price_dollars", price.get("hourly_price"), {}
    yield "idle_hourly_price_dollars", price.get("idle_hourly"), {}
    for reason, amount in (price.get("wasted") or {}).items():
        yield "wasted_hourly_price_dollars", amount, {"reason": reason}
    yield "million_output_tokens_dollars", price.get("per_million_output_tokens"), {}
