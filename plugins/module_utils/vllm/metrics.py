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
from collections.abc import Iterable, Iterator

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed

#: Names in older vLLM releases by current name, newest first. "vllm:gpu_prefix_cache_*" are the names in the first V1
#: releases (0.8).
RENAMED: t.Final[dict[str, tuple[str, ...]]] = {
    "vllm:prefix_cache_queries_total": ("vllm:gpu_prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries"),
    "vllm:prefix_cache_hits_total": ("vllm:gpu_prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits"),
}
#: Metrics whose values are kept. Of metrics whose name ends with ``_info``, the labels are kept.
SUMMED: t.Final = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:generation_tokens_total",
    "vllm:request_success_total",
    "vllm:num_preemptions_total",
    "vllm:iteration_tokens_total_count",
    "vllm:kv_cache_usage_perc",
    "vllm:corrupted_requests_total",
    "vllm:spec_decode_num_drafts_total",
    "vllm:spec_decode_num_draft_tokens_total",
    "vllm:spec_decode_num_accepted_tokens_total",
    *RENAMED,
    *(name for names in RENAMED.values() for name in names),
)
#: Number of waiting requests, with a label ``reason``. Source: vllm/v1/metrics/loggers.py, vLLM 0.26.
WAITING_BY_REASON: t.Final = "vllm:num_requests_waiting_by_reason"
#: Maximum number of reasons that are kept; vLLM 0.26 has two.
MAX_REASONS: t.Final = 10
#: Maximum length of a line in bytes; the longest lines of vLLM have a few thousand bytes.
MAX_LINE: t.Final = 64 * 1024
#: Maximum number of engines whose values are kept separately. Those of all further ones are added up.
MAX_ENGINES: t.Final = 256
#: Maximum number of samples with information that are kept. vLLM sends a few for each engine.
MAX_INFOS: t.Final = 100

_KEPT: t.Final = frozenset(name.encode() for name in (*SUMMED, WAITING_BY_REASON))
_NAME = re.compile(rb"[A-Za-z_:][A-Za-z0-9_:]*")
_SAMPLE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?")
_LABEL = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPES: t.Final = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Labels = dict[str, str]


class MetricSet:
    """The metrics in one response from ``/metrics`` that this collection uses.

    ``infos`` contains the name and the labels of each sample of a metric whose name ends with ``_info``.
    ``waiting_by_reason`` contains the number of waiting requests by reason.

    A metric that vLLM renamed is found by its current name even if the server uses an older name.
    """

    def __init__(
        self,
        sums: dict[str, dict[str, float]],
        infos: list[tuple[str, Labels]],
        waiting_by_reason: dict[str, float],
    ) -> None:
        """:param sums: values by the name of the metric and by the value of its label ``engine``."""
        self._sums = sums
        self.infos = infos
        self.waiting_by_reason = waiting_by_reason

    @property
    def engines(self) -> list[str]:
        """Values of the label ``engine`` in the order of the engines, or an empty list if there is only one engine."""
        names = self._sums.get("vllm:num_requests_running", {})
        return sorted(names, key=lambda engine: (len(engine), engine)) if len(names) > 1 else []

    def sum(self, name: str, engine: str | None = None) -> float | None:
        """Return the sum of all samples of the metric ``name``, or None if there are no samples.

        A server with several engines sends one sample for each engine. If ``engine`` is given, only its samples count.
        """
        names = (name, *RENAMED.get(name, ()))
        values = next((self._sums[candidate] for candidate in names if candidate in self._sums), {})
        counted = [value for key, value in values.items() if engine in (None, key)]
        return sum(counted) if counted else None


def parse(pieces: Iterable[bytes]) -> MetricSet:
    """Parse the content of ``/metrics``, line by line; lines that are not samples are skipped.

    :param pieces: the content, divided at any positions.
    :raises RequestFailed: if the content is not empty and has no sample, or a line is longer than ``MAX_LINE`` bytes.
    """
    sums: dict[str, dict[str, float]] = {}
    infos: list[tuple[str, Labels]] = []
    waiting: dict[str, float] = {}
    recognised: bool | None = None
    for line in _lines(pieces):
        if recognised is None:
            recognised = line.startswith(b"#")
        name = _NAME.match(line)
        is_kept = name is not None and (name[0] in _KEPT or name[0].endswith(b"_info"))
        if recognised and not is_kept:
            continue
        match = _SAMPLE.fullmatch(line.decode("utf-8", "replace"))
        if match is None or (value := _number(match[3])) is None:
            continue
        recognised = True
        if match[1].endswith("_info"):
            infos.append((match[1], _labels(match[2] or "")))
            # Further ones are not needed, and would take up memory.
            del infos[MAX_INFOS:]
        elif match[1] == WAITING_BY_REASON:
            reason = _labels(match[2] or "").get("reason", "")
            if reason in waiting or len(waiting) < MAX_REASONS:
                waiting[reason] = waiting.get(reason, 0.0) + value
        elif is_kept:
            by_engine = sums.setdefault(match[1], {})
            engine = _labels(match[2] or "").get("engine", "")
            if engine not in by_engine and len(by_engine) >= MAX_ENGINES:
                engine = ""
            by_engine[engine] = by_engine.get(engine, 0.0) + value
    if recognised is False:
        raise RequestFailed("not_vllm", "/metrics is not in Prometheus text format")
    return MetricSet(sums, infos, waiting)


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines that are not blank, without the whitespace around them."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from filter(None, map(bytes.strip, lines))
        if len(rest) > MAX_LINE:
            raise RequestFailed("not_vllm", f"/metrics has a line longer than {MAX_LINE} bytes")
    if rest.strip():
        yield rest.strip()


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _labels(text: str) -> Labels:
    return {name: re.sub(r'\\[\\"n]', lambda match: _ESCAPES[match[0]], value) for name, value in _LABEL.findall(text)}
