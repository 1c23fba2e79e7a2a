# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Summarise a benchmark, and find the best number of streams for each prompt size."""

from __future__ import annotations

import itertools
import math
import statistics
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.load.statistics import variation
from ansible_collections.multigpu.vllm.plugins.module_utils.units import counted

Json = dict[str, t.Any]
#: Keys of a cell that identify the combination of prompt size, output size and number of streams.
COMBINATION: t.Final = ("prompt_tokens", "output_tokens", "concurrency")

#: Latencies that can have a target, and the percentile that must meet the target at the knee.
TARGETS: t.Final = ("ttft", "itl")
KNEE_PERCENTILE: t.Final = "p95"

#: Percentiles that are kept for every round.
_PERCENTILES: t.Final = ("p50", "p95", "p99")


def cells(results: Iterable[Mapping[str, t.Any]]) -> list[Json]:
    """Summarise the load test's ``results`` for each combination of prompt size, output size and number of streams.

    Rates are per second and times are in seconds. A rate is the mean over the valid rounds, and a latency percentile is
    the median of the rounds' percentiles. If no round is valid, these values are None and ``reason`` is set.
    """
    grouped: dict[tuple[int, ...], list[Mapping[str, t.Any]]] = {}
    for result in results:
        grouped.setdefault(combination(result), []).append(result)
    return [_cell(key, grouped[key]) for key in sorted(grouped)]


def combination(result: Mapping[str, t.Any]) -> tuple[int, ...]:
    """Return the values of the keys in ``COMBINATION``, which identify a cell or a load step's result.

    A result has the sizes that were requested under ``requested``; its other sizes are means over its requests.
    """
    sizes = {**result, **result.get("requested", {})}
    return tuple(sizes[name] for name in COMBINATION)


def _cell(key: tuple[int, ...], results: Sequence[Mapping[str, t.Any]]) -> Json:
    rounds = [_round(result) for result in results]
    valid = [entry for entry in rounds if entry["invalid"] is None]
    speeds = [entry["output_throughput"] for entry in valid]
    finished = sum(entry["completed"] + entry["failed"] for entry in valid)
    within = [entry["within_targets"] for entry in valid if entry["within_targets"] is not None]
    return {
        **dict(zip(COMBINATION, key, strict=True)),
        "reason": None if valid else rounds[0]["invalid"],
        "output_throughput": _mean(speeds),
        "variation": variation(speeds),
        "request_throughput": _mean([entry["request_throughput"] for entry in valid]),
        "goodput": _mean([entry["goodput"] for entry in valid]),
        "within_targets": sum(within) / finished if within and finished else None,
        **{key: _medians(valid, key) for key in TARGETS},
        "requests": {key: sum(entry[key] for entry in rounds) for key in ("completed", "failed")},
        "rounds": rounds,
    }


def _round(result: Mapping[str, t.Any]) -> Json:
    invalid = _invalid_reason(result)
    completed = result["request_throughput"] * result["duration"] if result["request_throughput"] is not None else 0
    return {
        "invalid": invalid,
        "duration": result["duration"],
        # If the server returns no tokens during a round, the throughput is 0, not unknown.
        "output_throughput": result["output_throughput"] if invalid else result["output_throughput"] or 0.0,
        "request_throughput": result["request_throughput"],
        "goodput": result.get("goodput"),
        "within_targets": result.get("within_targets"),
        "completed": round(completed),
        "failed": result["requests"]["failed"],
        **{key: _percentiles(result.get(key)) for key in TARGETS},
    }


def _invalid_reason(result: Mapping[str, t.Any]) -> str | None:
    if result["skipped"]:
        return str(result["skipped"])
    if result["void"]:
        return str((result.get("client") or {}).get("reason") or "the load generator was too slow")
    if result.get("gave_up"):
        return f"ended early: {result['gave_up']}"
    if result["output_throughput"] is None and result["tokens"]:
        return "the server reports no token usage, so its tokens cannot be counted"
    return None


def _percentiles(summary: Mapping[str, float] | None) -> Json | None:
    return {name: summary[name] for name in _PERCENTILES} if summary else None


def _medians(rounds: Sequence[Json], key: str) -> Json | None:
    summaries = [entry[key] for entry in rounds if entry[key] is not None]
    if not summaries:
        return None
    return {name: statistics.median(summary[name] for summary in summaries) for name in _PERCENTILES}


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return statistics.fmean(numbers) if numbers else None


def knees(measured: Sequence[Json], targets: Mapping[str, float | None]) -> list[Json]:
    """For each prompt size, find the number of streams that gives the highest throughput and meets the latency targets.

    :param targets: upper limits for the 95th percentiles of ``ttft`` and ``itl``, in seconds; None means no limit.
    :returns: one entry for each prompt size with the number of streams (the knee) as ``concurrency``. If no number of
        streams meets the targets, ``concurrency`` is None and ``reason`` is set. If no request ended within a round,
        ``goodput`` is None and ``reason`` is set. ``at_limit`` means that no larger number of streams was tried, so the
        knee may be higher.
    """
    result = []
    for size, group in itertools.groupby(measured, key=lambda cell: cell["prompt_tokens"]):
        tried = list(group)
        usable = [cell for cell in tried if cell["output_throughput"] is not None]
        within = [cell for cell in usable if meets(cell, targets)]
        best = max(within, key=lambda cell: cell["output_throughput"], default=None)
        too_short = _too_short(best) if best else None
        result.append(
            {
                "prompt_tokens": size,
                **{key: best and best[key] for key in ("concurrency", "output_throughput")},
                "goodput": None if too_short else best and best["goodput"],
                "at_limit": best is not None and best is tried[-1],
                "reason": too_short if best else _no_knee(tried, usable, targets),
            }
        )
    return result


def meets(cell: Mapping[str, t.Any], targets: Mapping[str, float | None]) -> bool:
    """Return whether the p95 latencies of one benchmark result (``cell``) are known and meet all targets.

    ``cell`` holds the results for one combination of prompt size, output size and number of streams.
    """
    return all(
        cell[key] is not None and cell[key][KNEE_PERCENTILE] <= limit
        for key, limit in targets.items()
        if limit is not None
    )


def _no_knee(tried: Sequence[Json], usable: Sequence[Json], targets: Mapping[str, float | None]) -> str:
    if not usable:
        return str(tried[0]["reason"])
    least = usable[0]
    missed = [
        f"{key.upper()} {KNEE_PERCENTILE} {_seconds(least[key])} instead of {limit:g} s"
        for key, limit in targets.items()
        if limit is not None and not meets(least, {key: limit})
    ]
    return f"no number of streams meets the targets; at {counted(least['concurrency'], 'stream')}: {', '.join(missed)}"


def _too_short(cell: Json) -> str | None:
    """Return the reason why the goodput is unknown if no request ended within a round, otherwise None."""
    if cell["requests"]["completed"] or not cell["ttft"] or not cell["itl"]:
        return None
    request = cell["ttft"]["p50"] + (cell["output_tokens"] - 1) * cell["itl"]["p50"]
    longest = max(entry["duration"] for entry in cell["rounds"])
    return (
        f"no request ended within a round of {longest:.3g} s, so the goodput is unknown; a request takes about"
        f" {request:.3g} s, set benchmark_duration to at least {math.ceil(2 * request)}"
    )


def _seconds(summary: Mapping[str, float] | None) -> str:
    return "unknown" if summary is None else f"{summary[KNEE_PERCENTILE]:.3g} s"
