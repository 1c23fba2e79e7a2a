# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render Prometheus metrics with the names, labels and histogram buckets of the emulated vLLM version."""

from __future__ import annotations

import bisect
import os
import resource
import time
import typing as t

from .sequence import Sequence

Family = dict[str, t.Any]


class Histogram:
    def __init__(self, bounds: list[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * len(bounds)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        place = bisect.bisect_left(self.bounds, value)
        self.counts[min(place, len(self.counts) - 1)] += 1
        self.sum += value


def _label_text(labels: t.Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{labels[name]}"' for name in sorted(labels)) + "}" if labels else ""


class Metrics:
    """Current values of the metrics of one vLLM engine.

    :param families: content of a file ``data/versions/metrics-*.json``, which defines the metrics of a vLLM version.
    :param model: model name that replaces ``$model`` in label values.
    :param cache_config: label values of the metric ``vllm:cache_config_info``.
    :param engine: number of the engine, the value of the label ``engine``.
    """

    def __init__(self, families: list[Family], model: str, cache_config: t.Mapping[str, str], engine: int = 0) -> None:
        self.families = families
        self._model = model
        self._engine = engine
        self._cache_config = cache_config
        self._started = time.time()
        self.histograms = {
            family["name"]: Histogram([float(bound) for bound in family["buckets"]])
            for family in families
            if family["type"] == "histogram"
        }
        #: Metric value by family name and value of the family's ``own_label`` ("" if it has none).
        self.values: dict[tuple[str, str], float] = {
            ("vllm:engine_sleep_state", "awake"): 1.0,
            ("vllm:cache_config_info", ""): 1.0,
        }

    def add(self, name: str, amount: float, label: str = "") -> None:
        self.values[name, label] = self.values.get((name, label), 0.0) + amount

    def observe(self, name: str, value: float) -> None:
        """Add a value to a histogram. Do nothing if the emulated vLLM version does not have this histogram."""
        histogram = self.histograms.get(name)
        if histogram:
            histogram.observe(value)

    def first_token(self, prompt_tokens: int, waited: float) -> None:
        self.add("vllm:prompt_tokens_total", prompt_tokens)
        self.add("vllm:prompt_tokens_by_source_total", prompt_tokens, "local_compute")
        self.add("vllm:prefix_cache_queries_total", prompt_tokens)
        self.add("vllm:generation_tokens_total", 1)
        self.observe("vllm:time_to_first_token_seconds", waited)

    def next_token(self, gap: float) -> None:
        self.add("vllm:generation_tokens_total", 1)
        self.observe("vllm:inter_token_latency_seconds", gap)

    def finished(self, reason: str) -> None:
        self.add("vllm:request_success_total", 1, reason)

    def request_done(self, sequence: Sequence, now: float) -> None:
        self.finished(sequence.finish_reason)
        decode = now - sequence.first_token
        observations = {
            "vllm:request_prompt_tokens": sequence.prompt_tokens,
            "vllm:request_prefill_kv_computed_tokens": sequence.prompt_tokens,
            "vllm:request_generation_tokens": sequence.generated,
            "vllm:request_max_num_generation_tokens": sequence.generated,
            "vllm:request_params_max_tokens": sequence.max_tokens,
            "vllm:request_params_n": 1,
            "vllm:request_time_per_output_token_seconds": decode / max(1, sequence.generated - 1),
            "vllm:e2e_request_latency_seconds": now - sequence.arrived,
            "vllm:request_queue_time_seconds": max(0.0, sequence.scheduled - sequence.arrived),
            "vllm:request_inference_time_seconds": now - sequence.scheduled,
            "vllm:request_prefill_time_seconds": sequence.first_token - sequence.scheduled,
            "vllm:request_decode_time_seconds": decode,
            "vllm:request_num_preemptions": 0,
        }
        for name, value in observations.items():
            self.observe(name, value)

    def sample(self, running: int, waiting: int, kv_usage: float) -> None:
        """Set the metrics that show the engine's current state."""
        self.values["vllm:num_requests_running", ""] = running
        self.values["vllm:num_requests_waiting", ""] = waiting
        self.values["vllm:num_requests_waiting_by_reason", "capacity"] = waiting
        self.values["vllm:kv_cache_usage_perc", ""] = kv_usage
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.values["process_resident_memory_bytes", ""] = usage.ru_maxrss * 1024
        self.values["process_cpu_seconds_total", ""] = usage.ru_utime + usage.ru_stime
        self.values["process_start_time_seconds", ""] = self._started
        self.values["process_open_fds", ""] = len(os.listdir("/proc/self/fd"))
        self.values["process_max_fds", ""] = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.values["python_info", ""] = 1.0

    def lines(self, family: Family) -> t.Iterator[str]:
        """Yield the samples of one family."""
        name, own_label = family["name"], family.get("own_label")
        for labels in self._all_labels(family):
            if family["type"] == "histogram":
                yield from self._render_histogram(name, labels)
            else:
                value = self.values.get((name, labels[own_label] if own_label else ""), 0.0)
                yield f"{name}{_label_text(labels)} {float(value)}"

    def created_lines(self, name: str, family: Family) -> t.Iterator[str]:
        for labels in self._all_labels(family):
            yield f"{name}{_label_text(labels)} {self._started}"

    def _render_histogram(self, name: str, labels: dict[str, str]) -> t.Iterator[str]:
        histogram = self.histograms[name]
        total = 0
        for bound, count in zip(histogram.bounds, histogram.counts, strict=True):
            total += count
            le = "+Inf" if bound == float("inf") else str(bound)
            yield f"{name}_bucket{_label_text({**labels, 'le': le})} {float(total)}"
        yield f"{name}_count{_label_text(labels)} {float(total)}"
        yield f"{name}_sum{_label_text(labels)} {histogram.sum}"

    def _all_labels(self, family: Family) -> list[dict[str, str]]:
        return [self._labels(family["name"], labels) for labels in family["labels"]]

    def _labels(self, name: str, labels: dict[str, str]) -> dict[str, str]:
        values = {key: value.replace("$model", self._model) for key, value in labels.items()}
        if "engine" in values:
            values["engine"] = str(self._engine)
        if name == "vllm:cache_config_info":
            values.update({key: value for key, value in self._cache_config.items() if key in values})
        return values


def page(engines: t.Sequence[Metrics]) -> str:
    """Return the response body of ``/metrics``, in the Prometheus text format, for the metrics of all engines."""
    lines: list[str] = []
    for family in engines[0].families:
        name, kind, own = family["name"], family["type"], family["name"].startswith("vllm:")
        shown = engines if own else engines[:1]
        lines += [f"# HELP {name} {family['help']}", f"# TYPE {name} {kind}"]
        lines += [line for metrics in shown for line in metrics.lines(family)]
        if own and kind in ("counter", "histogram"):
            created = (name.removesuffix("_total") if kind == "counter" else name) + "_created"
            lines += [f"# HELP {created} {family['help']}", f"# TYPE {created} gauge"]
            lines += [line for metrics in shown for line in metrics.created_lines(created, family)]
    return "\n".join(lines) + "\n"
