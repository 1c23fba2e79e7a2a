# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the Prometheus metrics of vLLM's ``/metrics``, including metrics that vLLM has renamed.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
"""

from __future__ import annotations

import math
import re
import typing as t

#: Current name -> names in older releases, newest first. "vllm:gpu_cache_usage_perc" was replaced in 0.9.2 and
#: removed in 0.12; "vllm:gpu_prefix_cache_*" are names of the first V1 releases (0.8).
RENAMED: t.Final[dict[str, tuple[str, ...]]] = {
    "vllm:kv_cache_usage_perc": ("vllm:gpu_cache_usage_perc",),
    "vllm:prefix_cache_queries_total": ("vllm:gpu_prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries"),
    "vllm:prefix_cache_hits_total": ("vllm:gpu_prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits"),
}

_SAMPLE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?")
_LABEL = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPES: t.Final = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Labels = dict[str, str]


class MetricSet:
    """The samples of one scrape. A current name also finds the metric under its names in older releases."""

    def __init__(self, samples: dict[str, list[tuple[Labels, float]]]) -> None:
        self._samples = samples

    def names(self) -> list[str]:
        """Return the names that the server wrote, sorted."""
        return sorted(self._samples)

    def samples(self, name: str, **labels: str) -> list[tuple[Labels, float]]:
        """Return the samples of ``name`` with all of ``labels``; with data parallelism there is one per engine."""
        for candidate in (name, *RENAMED.get(name, ())):
            if candidate in self._samples:
                return [item for item in self._samples[candidate] if labels.items() <= item[0].items()]
        return []

    def value(self, name: str, **labels: str) -> float | None:
        """Return the first sample of ``name`` with ``labels``, or None if there is none."""
        return next((value for _labels, value in self.samples(name, **labels)), None)

    def sum(self, name: str, **labels: str) -> float | None:
        """Return the sum of all samples of ``name`` with ``labels``, or None if there are none."""
        values = [value for _labels, value in self.samples(name, **labels)]
        return math.fsum(values) if values else None

    def labels(self, name: str) -> list[Labels]:
        """Return the labels of every sample of ``name``; the content of an ``_info`` metric is in its labels."""
        return [dict(labels) for labels, _value in self.samples(name)]


def parse(text: str) -> MetricSet:
    """Parse Prometheus text; lines that are not samples are skipped.

    :raises ValueError: if a non-empty ``text``, such as a web page, contains no sample.
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
    return {name: re.sub(r'\\[\\"n]', lambda match: _ESCAPES[match[0]], value) for name, value in _LABEL.findall(text)}
