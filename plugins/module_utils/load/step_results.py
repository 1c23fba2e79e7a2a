# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the result of a load step as the module returns it."""

from __future__ import annotations

import typing as t
from collections import Counter
from collections.abc import Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.load.client_saturation import limits
from ansible_collections.multigpu.vllm.plugins.module_utils.load.counters import TokenRatio
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.statistics import Latencies, summarise, variation
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step

#: Fewest whole seconds over which a variation of the rate is computed.
_MIN_SECONDS: t.Final = 3
#: Why a load host did not run a step that others run.
NO_SHARE: t.Final = "no part of this step is assigned to this load host"
#: Maximum number of failure texts returned, one per reason.
_MAX_DETAILS: t.Final = 5

StepResult = dict[str, t.Any]


def skipped_result(step: Step, reason: str) -> StepResult:
    """Return the result of a step that was not run; every figure is None."""
    return _blank(step) | {"skipped": reason}


def step_result(
    step: Step, outcomes: Sequence[LoadOutcome], origin: float, ratio: TokenRatio, cache: float | None
) -> StepResult:
    """Return the entry of ``results[]`` for the repeats of ``step``.

    :param origin: time 0 of ``started`` and ``ended`` (``time.monotonic`` seconds).
    :param cache: fraction of prompt tokens found in the prefix cache.
    """
    latencies = Latencies()
    for outcome in outcomes:
        latencies.merge(outcome.latencies)
    client = _client(outcomes, latencies)
    return {
        **_blank(step),
        **_sizes(step, outcomes),
        **_requests(step, outcomes),
        **_times(outcomes, origin),
        **_rates(outcomes),
        **latencies.summary(),
        "token_ratio": ratio.value,
        "token_ratio_reason": ratio.reason,
        "shared": ratio.other_clients,
        "prefix_cache_hits": cache,
        "client": client,
        "void": client["limited"],
        "attempts": 1,
        "repeats": len(outcomes),
    }


def _sizes(step: Step, outcomes: Sequence[LoadOutcome]) -> StepResult:
    prompts = [(outcome.prompt_tokens, outcome.prompts_counted) for outcome in outcomes]
    outputs = [(outcome.completed_tokens, outcome.completed - outcome.completed_uncounted) for outcome in outcomes]
    arrivals = sum(outcome.completed_arrivals for outcome in outcomes)
    completed_tokens = sum(outcome.completed_tokens for outcome in outcomes)
    return {
        "prompt_tokens": _mean(prompts, step.prompt_tokens),
        "output_tokens": _mean(outputs, step.output_tokens),
        "tokens": sum(outcome.tokens for outcome in outcomes),
        "tokens_per_arrival": completed_tokens / arrivals if arrivals else None,
    }


def _requests(step: Step, outcomes: Sequence[LoadOutcome]) -> StepResult:
    failures: Counter[str] = Counter()
    details: dict[str, str] = {}
    for outcome in outcomes:
        failures.update(outcome.failures)
        details = outcome.details | details
    counts = ("completed", "failed", "cancelled")
    return {
        "requests": {name: sum(getattr(outcome, name) for outcome in outcomes) for name in counts},
        "failures": dict(failures.most_common()),
        "failure_details": dict(list(details.items())[:_MAX_DETAILS]),
        "held": None if step.rate is None else sum(outcome.held for outcome in outcomes),
        "unsent": None if step.rate is None else sum(outcome.unsent for outcome in outcomes),
        "schedule_lag": summarise([lag for outcome in outcomes for lag in outcome.schedule_lag]),
        "gave_up": next((outcome.gave_up for outcome in outcomes if outcome.gave_up), None),
    }


def _times(outcomes: Sequence[LoadOutcome], origin: float) -> StepResult:
    return {
        "started": outcomes[0].started - origin,
        "ended": outcomes[-1].ended - origin,
        "duration": _duration(outcomes),
        "timeline": [
            {"time": outcome.started - origin + point["time"], "tokens": round(point["tokens"])}
            for outcome in outcomes
            for point in outcome.timeline.per_second(0.0, outcome.duration)
        ],
    }


def _rates(outcomes: Sequence[LoadOutcome]) -> StepResult:
    duration = _duration(outcomes)
    rates = [rate for rate in map(output_rate, outcomes) if rate is not None]
    in_time = sum(outcome.completed_in_time for outcome in outcomes)
    within = within_targets(outcomes)
    return {
        "output_throughput": _pooled_rate(outcomes, rates),
        "steady_throughput": _steady_rate(outcomes),
        "request_throughput": in_time / duration if duration else None,
        "within_targets": within,
        "goodput": within / duration if duration and within is not None else None,
        "variation": variation(rates) if len(outcomes) > 1 else second_variation(outcomes[0]),
    }


def output_rate(outcome: LoadOutcome) -> float | None:
    """Return output tokens per second, or None if the server does not count them or none arrived.

    For a step of ``requests``: tokens of completed requests divided by the time from the first request to the last
    token. For a step of ``duration``: tokens that arrived within it divided by it, including those of requests that
    ended later.
    """
    if outcome.duration <= 0 or outcome.completed_uncounted:
        return None
    if outcome.deadline is None:
        return outcome.completed_tokens / outcome.duration if outcome.completed_tokens else None
    return outcome.timeline.tokens(0.0, outcome.duration) / outcome.duration or None


def within_targets(outcomes: Sequence[LoadOutcome]) -> int | None:
    """Return the number of requests that met the targets; None without targets or without a required token count."""
    if any(o.targets is None or (o.targets.itl is not None and o.completed_uncounted) for o in outcomes):
        return None
    return sum(outcome.within_targets for outcome in outcomes)


def second_variation(outcome: LoadOutcome) -> float | None:
    """Return the coefficient of variation of tokens per second over the steady window; needs three whole seconds."""
    window = outcome.steady_window
    if window is None or outcome.completed_uncounted or window[1] - window[0] < _MIN_SECONDS:
        return None
    seconds = int(window[1] - window[0])
    return variation([outcome.timeline.tokens(window[0] + n, window[0] + n + 1) for n in range(seconds)])


def _duration(outcomes: Sequence[LoadOutcome]) -> float:
    return sum(outcome.duration for outcome in outcomes)


def _pooled_rate(outcomes: Sequence[LoadOutcome], rates: Sequence[float]) -> float | None:
    if len(rates) < len(outcomes):
        return None
    return sum(rate * outcome.duration for rate, outcome in zip(rates, outcomes, strict=True)) / _duration(outcomes)


def _steady_rate(outcomes: Sequence[LoadOutcome]) -> float | None:
    tokens = seconds = 0.0
    for outcome in outcomes:
        window = outcome.steady_window
        if window is None or outcome.completed_uncounted:
            return None
        tokens += outcome.timeline.tokens(*window)
        seconds += window[1] - window[0]
    return tokens / seconds


def _client(outcomes: Sequence[LoadOutcome], latencies: Latencies) -> StepResult:
    busiest = max((outcome.busiest for outcome in outcomes if outcome.busiest is not None), default=None)
    lag = max((outcome.lag_p99 for outcome in outcomes if outcome.lag_p99 is not None), default=None)
    backlog = max((outcome.backlog for outcome in outcomes if outcome.backlog is not None), default=None)
    reason = limits(busiest, lag, latencies.itl.quantile(0.5), _duration(outcomes), backlog)
    return {
        "cpu": max(outcome.cpu for outcome in outcomes),
        "lag_p99": lag,
        "backlog": backlog,
        "processes": max(outcome.processes for outcome in outcomes),
        "free_cores": min((o.free_cores for o in outcomes if o.free_cores is not None), default=None),
        "limited": reason is not None,
        "reason": reason,
    }


def _mean(sums: Sequence[tuple[int, int]], requested: int) -> int:
    """Return the rounded mean of ``(sum, count)`` pairs, or ``requested`` if nothing was counted."""
    count = sum(item[1] for item in sums)
    return round(sum(item[0] for item in sums) / count) if count else requested


def _blank(step: Step) -> StepResult:
    return {
        "name": step.name,
        "prompt_tokens": step.prompt_tokens,
        "output_tokens": step.output_tokens,
        "requested": {"prompt_tokens": step.prompt_tokens, "output_tokens": step.output_tokens},
        "concurrency": step.concurrency,
        "rate": step.rate,
        "arrivals": None if step.rate is None else step.arrivals,
        "skipped": None,
        "requests": {"completed": 0, "failed": 0, "cancelled": 0},
        "failures": {},
        "failure_details": {},
        "held": None,
        "unsent": None,
        "schedule_lag": None,
        "gave_up": None,
        "tokens": 0,
        "started": None,
        "ended": None,
        "duration": None,
        "output_throughput": None,
        "steady_throughput": None,
        "request_throughput": None,
        "within_targets": None,
        "goodput": None,
        "tokens_per_arrival": None,
        "ttft": None,
        "ttft_sent": None,
        "itl": None,
        "tpot": None,
        "e2e": None,
        "token_ratio": None,
        "token_ratio_reason": None,
        "shared": False,
        "prefix_cache_hits": None,
        "client": None,
        "void": False,
        "attempts": 0,
        "discarded": [],
        "repeats": 0,
        "variation": None,
        "timeline": [],
        "mergeable": None,
    }
