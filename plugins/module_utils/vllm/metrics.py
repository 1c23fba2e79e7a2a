# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the Prometheus metrics from vLLM's ``/metrics`` endpoint, including metrics that vLLM has renamed.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
"""

from __future__ import annotations

import math
import re
import typing as t

#: Names in older vLLM releases by current name, newest first. "vllm:gpu_cache_usage_perc" was replaced in 0.9.2 and
#: removed in 0.12; "vllm:gpu_prefix_cache_*" are the names in the first V1 releases (0.8).
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
    """The samples in one response from ``/metrics``.

    A metric that vLLM renamed is found by its current name even if the server uses an older name.
    """

    def __init__(self, samples: dict[str, list[tuple[Labels, float]]]) -> None:
        self._samples = samples

    def names(self) -> list[str]:
        """Return the metric names that the server sent, sorted."""
        return sorted(self._samples)

    def sum(self, name: str) -> float | None:
        """Return the sum of all samples of the metric ``name``, or None if there are no samples.

        A server with several engines sends one sample for each engine.
        """
        values = [value for _labels, value in self._samples_of(name)]
        return math.fsum(values) if values else None

    def labels(self, name: str) -> list[Labels]:
        """Return the labels of all samples of the metric ``name``.

        If the metric's name ends with ``_info``, its information is in the labels, not in the value.
        """
        return [labels for labels, _value in self._samples_of(name)]

    def _samples_of(self, name: str) -> list[tuple[Labels, float]]:
        names = (name, *RENAMED.get(name, ()))
        return next((self._samples[candidate] for candidate in names if candidate in self._samples), [])


def parse(text: str) -> MetricSet:
    """Parse text in the Prometheus format; lines that are not samples are skipped.

    :raises ValueError: if a non-empty ``text``, such as a web page, contains no sample.
    """
    samples: dict[str, list[tuple[Labels, float]]] = {}
    for raw in text.splitlines():
        match = _SAMPLE.fullmatch(raw.strip())
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
