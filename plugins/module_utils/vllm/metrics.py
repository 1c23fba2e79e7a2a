# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus text format as vLLM's ``/metrics`` writes it, and the names that vLLM has changed.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
"""

from __future__ import annotations

import math
import re
import typing as t
from dataclasses import dataclass

#: Present name -> names of older releases, newest first. "vllm:gpu_cache_usage_perc" was replaced in 0.9.2 and
#: removed in 0.12; "vllm:time_per_output_token_seconds" was replaced in 0.10.2 and removed by 0.16;
#: "vllm:gpu_prefix_cache_*" belongs to the first V1 releases (0.8).
RENAMED: t.Final[dict[str, tuple[str, ...]]] = {
    "vllm:kv_cache_usage_perc": ("vllm:gpu_cache_usage_perc",),
    "vllm:inter_token_latency_seconds": ("vllm:time_per_output_token_seconds",),
    "vllm:prefix_cache_queries_total": ("vllm:gpu_prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries"),
    "vllm:prefix_cache_hits_total": ("vllm:gpu_prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits"),
}

_SAMPLE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?")
_LABEL = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPES: t.Final = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Labels = dict[str, str]


@dataclass(frozen=True)
class Histogram:
    """A histogram summed over its label sets. ``buckets``: (upper bound, count up to it), ascending, last one +Inf."""

    buckets: tuple[tuple[float, float], ...]
    count: float
    sum: float

    @property
    def mean(self) -> float | None:
        """In the metric's unit; ``None`` without observations."""
        return self.sum / self.count if self.count > 0 else None

    def minus(self, earlier: Histogram) -> Histogram:
        """What was observed since ``earlier``."""
        before = dict(earlier.buckets)
        buckets = tuple((bound, count - before.get(bound, 0.0)) for bound, count in self.buckets)
        return Histogram(buckets, self.count - earlier.count, self.sum - earlier.sum)

    def quantile(self, fraction: float) -> float | None:
        """Estimate by linear interpolation within the bucket, as PromQL's ``histogram_quantile`` does.

        :param fraction: 0 to 1.
        :returns: the metric's unit; ``None`` without observations.
        """
        if self.count <= 0 or not self.buckets:
            return None
        rank = fraction * self.count
        lower, below = 0.0, 0.0
        for bound, count in self.buckets:
            if count >= rank:
                if math.isinf(bound):
                    return lower
                return lower + (bound - lower) * (rank - below) / (count - below) if count > below else bound
            lower, below = bound, count
        return lower


class MetricSet:
    """Samples of one scrape. Names are looked up under their present name and under those of older releases."""

    def __init__(self, samples: dict[str, list[tuple[Labels, float]]]) -> None:
        self._samples = samples

    def names(self) -> list[str]:
        """Names as the server wrote them, sorted."""
        return sorted(self._samples)

    def samples(self, name: str, **labels: str) -> list[tuple[Labels, float]]:
        """Samples of ``name`` that carry all of ``labels``; several engines (DP) write one each."""
        for candidate in (name, *RENAMED.get(name, ())):
            if candidate in self._samples:
                return [item for item in self._samples[candidate] if labels.items() <= item[0].items()]
        return []

    def value(self, name: str, **labels: str) -> float | None:
        """The first sample of ``name`` with ``labels``; ``None`` where there is none."""
        return next((value for _labels, value in self.samples(name, **labels)), None)

    def sum(self, name: str, **labels: str) -> float | None:
        """Sum over all samples of ``name`` with ``labels``; ``None`` where there are none."""
        values = [value for _labels, value in self.samples(name, **labels)]
        return math.fsum(values) if values else None

    def labels(self, name: str) -> list[Labels]:
        """Labels of every sample of ``name``, for ``_info`` metrics whose content is in the labels."""
        return [dict(labels) for labels, _value in self.samples(name)]

    def histogram(self, name: str, **labels: str) -> Histogram | None:
        """The histogram ``name`` (without ``_bucket``), summed over engines and models; ``None`` where absent."""
        base = next((old for old in (name, *RENAMED.get(name, ())) if f"{old}_count" in self._samples), None)
        if base is None:
            return None
        buckets: dict[float, float] = {}
        for found, value in self.samples(f"{base}_bucket", **labels):
            bound = float(found.get("le", "inf"))
            buckets[bound] = buckets.get(bound, 0.0) + value
        count = self.sum(f"{base}_count", **labels)
        if count is None:
            return None
        return Histogram(tuple(sorted(buckets.items())), count, self.sum(f"{base}_sum", **labels) or 0.0)


def parse(text: str) -> MetricSet:
    """Metrics from Prometheus text; lines that are no sample are skipped.

    :raises ValueError: where nothing in a non-empty ``text`` is a sample, as in a web page.
    """
    samples: dict[str, list[tuple[Labels, float]]] = {}
    for raw in text.splitlines():
        line = raw.strip()
        match = None if line.startswith("#") else _SAMPLE.fullmatch(line)
        if match is None:
            continue
        try:
            value = float(match.group(3))
        except ValueError:
            continue
        samples.setdefault(match.group(1), []).append((_labels(match.group(2) or ""), value))
    if text.strip() and not samples and not text.lstrip().startswith("#"):
        raise ValueError("no Prometheus samples")
    return MetricSet(samples)


def _labels(text: str) -> Labels:
    return {name: re.sub(r'\\[\\"n]', lambda hit: _ESCAPES[hit[0]], value) for name, value in _LABEL.findall(text)}
