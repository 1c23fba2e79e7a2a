# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare all metrics of a run with the stored baseline, and report the result as a finding."""

from __future__ import annotations

import math
import statistics
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.units import counted
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.analysis import COMBINATION, combination
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.permutation_test import (
    MINIMUM_EFFECT,
    SIGNIFICANCE,
    RoundSeries,
    TooFewRepeats,
    compare_together,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.store import Baseline, Identity
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.figures import three_digits

Json = dict[str, t.Any]

CHECK: t.Final = "baseline.regression"
SOURCE: t.Final = (
    f"permutation test over rounds, adjusted for the number of metrics in the run: p <= {SIGNIFICANCE:g}, and at least"
    f" {100 * MINIMUM_EFFECT:g} % slower (ITL and TTFT: see smallest_change)"
)


@dataclass(frozen=True)
class ComparedMetric:
    """A metric that is compared with the baseline: the throughput, the median ITL or the median TTFT."""

    title: str
    lower_is_worse: bool = False
    #: Smallest relevant relative change.
    smallest_change: float = MINIMUM_EFFECT
    #: Smallest noticeable absolute change, in the metric's unit.
    smallest_step: float = 0.0


_SPEED: t.Final = "output_throughput"

#: TTFT varies more than ITL, because a first token waits for the batch step in progress, and each request has only one
#: TTFT but hundreds of inter-token latencies.
METRICS: t.Final[dict[str, ComparedMetric]] = {
    _SPEED: ComparedMetric("tok/s", lower_is_worse=True),
    "itl": ComparedMetric("ITL p50", smallest_step=0.0005),
    "ttft": ComparedMetric("TTFT p50", smallest_change=0.2, smallest_step=0.02),
}

#: Key of the geometric mean over all combinations, the best indicator of a general slowdown.
_ALL: t.Final = (None, None, None)
Key = tuple[str, tuple[t.Any, t.Any, t.Any]]


def compare_runs(measured: Sequence[Json], baseline: Baseline) -> Json:
    """Compare the measurements of a run with the baseline.

    :returns: ``rows``: first the geometric mean of the throughput over all combinations (with None for the sizes), then
        one row for each metric of each combination that both runs have; ``left_out``: the combinations that could not
        be compared, each with the reason; ``reason``: why nothing could be compared, or None.
    """
    before, now = _by_combination(baseline.cells), _by_combination(measured)
    reasons = {key: _mismatch(before.get(key), cell) for key, cell in now.items()}
    left_out = [{**_sizes(key), "reason": reason} for key, reason in reasons.items() if reason is not None]
    pairs = {key: (before[key], now[key]) for key, reason in reasons.items() if reason is None}
    rows: list[Json] = []
    reason = None if pairs else left_out[0]["reason"]
    try:
        rows = _rows(pairs) if pairs else []
    except TooFewRepeats as error:
        reason = str(error)
    head = {
        "time": baseline.time,
        "path": str(baseline.path),
        "vllm_version": baseline.identity.vllm_version,
        "tensor_parallel_size": baseline.tensor_parallel_size,
    }
    return {"baseline": head, "rows": rows, "left_out": left_out, "reason": reason}


def _rows(pairs: Mapping[t.Any, tuple[Json, Json]]) -> list[Json]:
    """Compare each metric of this run with the same metric of the baseline.

    ``pairs`` maps each combination of prompt size, output size and number of streams to its two results.
    """
    comparisons = compare_together(_family(pairs))
    return [{"metric": metric, **_sizes(key), **row} for (metric, key), row in comparisons.items()]


def _by_combination(cells: Sequence[Json]) -> dict[t.Any, Json]:
    return {combination(cell): cell for cell in cells}


def _sizes(key: Sequence[int | None]) -> Json:
    return dict(zip(COMBINATION, key, strict=True))


def _mismatch(before: Json | None, now: Json) -> str | None:
    if before is None:
        return "not in the baseline"
    invalid = [entry["invalid"] for cell in (now, before) for entry in cell["rounds"] if entry["invalid"] is not None]
    if invalid:
        return str(invalid[0])
    durations = {round(entry["duration"], 1) for cell in (now, before) for entry in cell["rounds"]}
    # Rounds of different durations are not comparable: ramp-up and ramp-down take a larger share of a short round.
    if max(durations) > 1.1 * min(durations):
        return f"rounds of {min(durations):g} s and {max(durations):g} s are not comparable"
    return None


def _family(pairs: Mapping[t.Any, tuple[Json, Json]]) -> dict[Key, RoundSeries]:
    family: dict[Key, RoundSeries] = {}
    for name, metric in METRICS.items():
        for key, (before, now) in pairs.items():
            old, new = _values(before, name), _values(now, name)
            if old is not None and new is not None and any(old):
                effect = max(metric.smallest_change, metric.smallest_step / statistics.fmean(old))
                family[(name, key)] = RoundSeries(old, new, metric.lower_is_worse, effect)
    speeds = [series for (name, _key), series in family.items() if name == _SPEED]
    overall = RoundSeries(
        [_geometric_mean(values) for values in zip(*(series.before for series in speeds), strict=True)],
        [_geometric_mean(values) for values in zip(*(series.now for series in speeds), strict=True)],
    )
    return {(_SPEED, _ALL): overall} | family


def _geometric_mean(speeds: Sequence[float]) -> float:
    """Return the geometric mean of ``speeds``, in tokens/s. A speed of 0 has no logarithm, so 0.001 is used instead."""
    return math.exp(statistics.fmean(math.log(max(speed, 0.001)) for speed in speeds))


def _values(cell: Json, name: str) -> list[float] | None:
    """Return a metric's value in each round, or None if the metric is missing from at least one round."""
    values = [entry[name] for entry in cell["rounds"]]
    if None in values:
        return None
    return [float(value["p50"] if isinstance(value, dict) else value) for value in values]


def judge(comparison: Json | None, identity: Identity, tensor_parallel_size: int | None, *, accept: bool) -> Finding:
    """Return the ``baseline.regression`` finding for one node.

    :param comparison: result of ``compare_runs``, or None if there is no baseline.
    :param accept: whether this run becomes the baseline. If so, a slowdown is a warning instead of a failure.
    """
    if comparison is None:
        return not_tested(CHECK, "there is no baseline for this node, GPU model and model")
    stored, rows = comparison["baseline"], comparison["rows"]
    if comparison["reason"] is not None:
        return not_tested(CHECK, f"not comparable with the baseline of {stored['time']}: {comparison['reason']}")
    slower = [row for row in rows if row["verdict"] == "slower"]
    other_version = stored["vllm_version"] != identity.vllm_version
    than = f"the baseline of {stored['time'][:10]}" + (f" (vLLM {stored['vllm_version']})" if other_version else "")
    evidence = {"baseline": stored, "slower": slower, "left_out": comparison["left_out"]}
    details: Json = {"evidence": evidence, "source": SOURCE}
    overall = rows[0]
    if not slower:
        summary = f"not slower than {than}: {describe(overall)}; {counted(len(rows), 'metric')} within noise or faster"
        return passed(CHECK, summary, **_figures(overall), **details)
    worst = min(slower, key=_rank)
    return (warned if other_version or accept else failed)(
        CHECK,
        f"slower than {than}: {describe(worst)}" + _others(worst, slower),
        cause=_cause(stored, identity, tensor_parallel_size),
        remedy="Run playbooks/validate.yml on this node to find the cause. If the change is intended, make this run the"
        " baseline with -e benchmark_update_baseline=true.",
        **_figures(worst),
        **details,
    )


def _figures(row: Json) -> Json:
    return {"expected": row["before"], "measured": row["now"], "unit": "tokens/s" if row["metric"] == _SPEED else "s"}


def _cause(stored: Json, identity: Identity, tensor_parallel_size: int | None) -> str:
    if stored["vllm_version"] != identity.vllm_version:
        return f"vLLM changed from {stored['vllm_version']} to {identity.vllm_version} between the two runs."
    if stored["tensor_parallel_size"] != tensor_parallel_size:
        return (
            f"The tensor-parallel size changed from {stored['tensor_parallel_size']} to {tensor_parallel_size}"
            " between the two runs."
        )
    return "The node, its settings or its workload changed; GPU model, model, vLLM version and TP size did not."


def _others(worst: Json, slower: Sequence[Json]) -> str:
    others = [row for row in slower if row is not worst]
    if not others:
        return ""
    if worst["concurrency"] is not None:
        return f" (+{len(others)} more metrics)"
    return f"; most of all {describe(min(others, key=_rank))}"


def _rank(row: Json) -> tuple[bool, int, float]:
    """Return a sort key for ``row``.

    The key puts the overall mean first, throughput before latencies, and large changes before small ones.
    """
    return row["concurrency"] is not None, list(METRICS).index(row["metric"]), -abs(row["change"])


def describe(row: Json) -> str:
    """Describe a comparison row, for example ``90.7 instead of 95.5 tok/s (-5.0 %) at 8 streams, 16-token prompts``."""
    where = "over all combinations"
    if row["concurrency"] is not None:
        where = f"at {counted(row['concurrency'], 'stream')}, {row['prompt_tokens']}-token prompts"
    title, change = METRICS[row["metric"]].title, f"{100 * row['change']:+.1f} %"
    return f"{figure(row, 'now')} instead of {figure(row, 'before')} {title} ({change}) {where}"


def figure(row: Json, key: str) -> str:
    """Format a value of a comparison row.

    Use the baseline's value if ``key`` is ``before``, or this run's value if ``key`` is ``now``.
    """
    return three_digits(row[key]) if row["metric"] == _SPEED else f"{1000 * row[key]:.1f} ms"
