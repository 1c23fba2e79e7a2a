# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rounds of a sweep say: speed with its spread for every combination, the knee, the goodput."""

from __future__ import annotations

import itertools
import statistics
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.load.statistics import variation
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.sweep import combination

Json = dict[str, t.Any]

#: Latency targets -> the percentile that has to meet them at the knee.
TARGETS: t.Final = ("ttft", "itl")
KNEE_PERCENTILE: t.Final = "p95"

#: Kept of every round's latencies.
_PERCENTILES: t.Final = ("p50", "p95", "p99")


def cells(results: Iterable[Mapping[str, t.Any]]) -> list[Json]:
    """One entry for each combination, in the order of prompt size and streams, from the probe's ``results``.

    Rates are per second, times are seconds. A figure of a cell is the mean of its valid rounds, a percentile the median
    of the rounds' percentiles; ``None`` where no round is valid, with ``reason``.
    """
    grouped: dict[tuple[int, int, int], list[Mapping[str, t.Any]]] = {}
    for result in results:
        grouped.setdefault(combination(result), []).append(result)
    return [_cell(key, grouped[key]) for key in sorted(grouped)]


def _cell(key: tuple[int, int, int], results: Sequence[Mapping[str, t.Any]]) -> Json:
    rounds = [_round(result) for result in results]
    valid = [entry for entry in rounds if entry["invalid"] is None]
    speeds = [entry["output_throughput"] for entry in valid]
    finished = sum(entry["completed"] + entry["failed"] for entry in valid)
    within = [entry["within_targets"] for entry in valid if entry["within_targets"] is not None]
    return {
        "prompt_tokens": key[0],
        "output_tokens": key[1],
        "concurrency": key[2],
        "reason": None if valid else rounds[0]["invalid"],
        "output_throughput": _mean(speeds),
        "variation": variation(speeds),
        "request_throughput": _mean([entry["request_throughput"] for entry in valid]),
        "goodput": _mean([entry["goodput"] for entry in valid]),
        "within_targets": sum(within) / finished if within and finished else None,
        "ttft": _medians(valid, "ttft"),
        "itl": _medians(valid, "itl"),
        "requests": {"completed": sum(e["completed"] for e in rounds), "failed": sum(e["failed"] for e in rounds)},
        "rounds": rounds,
    }


def _round(result: Mapping[str, t.Any]) -> Json:
    invalid = _why_invalid(result)
    latencies = {key: _percentiles(result.get(key)) for key in TARGETS}
    in_time = result["request_throughput"] * result["duration"] if result["request_throughput"] is not None else 0
    return {
        "invalid": invalid,
        "duration": result["duration"],
        # A server from which nothing came within the round is slow, not unmeasured.
        "output_throughput": result["output_throughput"] if invalid else result["output_throughput"] or 0.0,
        "request_throughput": result["request_throughput"],
        "goodput": result.get("goodput"),
        "within_targets": result.get("within_targets"),
        "completed": round(in_time),
        "failed": result["requests"]["failed"],
        **latencies,
    }


def _why_invalid(result: Mapping[str, t.Any]) -> str | None:
    if result["skipped"]:
        return str(result["skipped"])
    if result["void"]:
        return str((result.get("client") or {}).get("reason") or "the load client was too slow")
    if result.get("gave_up"):
        return f"ended early: {result['gave_up']}"
    if result["output_throughput"] is None and result["tokens"]:
        return "the server sends no usage, so its tokens cannot be counted"
    return None


def _percentiles(summary: Mapping[str, float] | None) -> Json | None:
    return {name: summary[name] for name in _PERCENTILES} if summary else None


def _medians(rounds: Sequence[Json], key: str) -> Json | None:
    known = [entry[key] for entry in rounds if entry[key] is not None]
    return {name: statistics.median(entry[name] for entry in known) for name in _PERCENTILES} if known else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def knees(measured: Sequence[Json], targets: Mapping[str, float | None]) -> list[Json]:
    """For every prompt size the number of streams with the highest throughput within the latency targets.

    :param targets: ``ttft`` and ``itl`` in seconds, for the 95th percentile; ``None`` asks for nothing.
    :returns: entries with ``concurrency`` ``None`` and a ``reason`` where no combination is within the targets.
        ``at_limit`` says that more streams were not tried, so that the true knee may lie higher.
    """
    found = []
    for size, group in itertools.groupby(measured, key=lambda cell: cell["prompt_tokens"]):
        tried = list(group)
        usable = [cell for cell in tried if cell["output_throughput"] is not None]
        within = [cell for cell in usable if meets(cell, targets)]
        best = max(within, key=lambda cell: cell["output_throughput"], default=None)
        found.append(
            {
                "prompt_tokens": size,
                "concurrency": best and best["concurrency"],
                "output_throughput": best and best["output_throughput"],
                "goodput": best and best["goodput"],
                "at_limit": best is not None and best is tried[-1],
                "reason": None if best else _no_knee(tried, usable, targets),
            }
        )
    return found


def meets(cell: Mapping[str, t.Any], targets: Mapping[str, float | None]) -> bool:
    """Whether the cell's 95th percentiles keep every target; a latency that is not known keeps none."""
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
    return f"no load is within the targets; at {streams(least['concurrency'])}: {', '.join(missed)}"


def streams(count: int) -> str:
    return f"{count} stream{'s' if count != 1 else ''}"


def _seconds(summary: Mapping[str, float] | None) -> str:
    return "unknown" if summary is None else f"{summary[KNEE_PERCENTILE]:.3g} s"
