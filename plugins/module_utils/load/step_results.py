# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a load step as the module returns it."""

from __future__ import annotations

import typing as t
from collections import Counter
from collections.abc import Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.load.client_saturation import limits
from ansible_collections.multigpu.vllm.plugins.module_utils.load.counters import SHARED
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.statistics import Latencies, summarise, variation
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step

#: Fewest whole seconds whose rates say something about steadiness.
_MIN_SECONDS: t.Final = 3
#: Why a load host did not run a step that others run.
NO_SHARE: t.Final = "no part of this step is this load host's"
#: Failed requests whose text is returned, one for each reason.
_MAX_DETAILS: t.Final = 5


def skipped_result(step: Step, reason: str) -> dict[str, t.Any]:
    """A step that was not run; every other figure is ``None``."""
    return _blank(step) | {"skipped": reason}


def step_result(
    step: Step,
    outcomes: Sequence[LoadOutcome],
    origin: float,
    ratio: tuple[float | None, str | None],
    cache: float | None,
) -> dict[str, t.Any]:
    """``results[]`` for ``outcomes``, the repeats of ``step``; ``origin`` is time 0 of ``started`` and ``ended``."""
    latencies = Latencies()
    failures: Counter[str] = Counter()
    details: dict[str, str] = {}
    for outcome in outcomes:
        latencies.merge(outcome.latencies)
        failures.update(outcome.failures)
        details = outcome.details | details
    duration = sum(outcome.duration for outcome in outcomes)
    rates = [rate for rate in map(output_rate, outcomes) if rate is not None]
    in_time = sum(outcome.completed_in_time for outcome in outcomes)
    within = within_targets(outcomes)
    client = _client(outcomes, latencies)
    return _blank(step) | {
        "prompt_tokens": _mean([(o.prompt_tokens, o.prompts_counted) for o in outcomes], step.prompt_tokens),
        "output_tokens": _mean(
            [(o.completed_tokens, o.completed - o.completed_uncounted) for o in outcomes], step.output_tokens
        ),
        "requests": {
            "completed": sum(outcome.completed for outcome in outcomes),
            "failed": sum(outcome.failed for outcome in outcomes),
            "cancelled": sum(outcome.cancelled for outcome in outcomes),
        },
        "failures": dict(failures.most_common()),
        "failure_details": dict(list(details.items())[:_MAX_DETAILS]),
        "held": None if step.rate is None else sum(outcome.held for outcome in outcomes),
        "unsent": None if step.rate is None else sum(outcome.unsent for outcome in outcomes),
        "schedule_lag": summarise([lag for outcome in outcomes for lag in outcome.schedule_lag]),
        "gave_up": next((outcome.gave_up for outcome in outcomes if outcome.gave_up), None),
        "tokens": sum(outcome.tokens for outcome in outcomes),
        "started": outcomes[0].started - origin,
        "ended": outcomes[-1].ended - origin,
        "duration": duration,
        "output_throughput": _pooled_rate(outcomes, rates),
        "steady_throughput": _steady_rate(outcomes),
        "request_throughput": in_time / duration if duration else None,
        "within_targets": within,
        "goodput": within / duration if duration and within is not None else None,
        "tokens_per_arrival": _tokens_per_arrival(outcomes),
        **latencies.summary(),
        "token_ratio": ratio[0],
        "token_ratio_reason": ratio[1],
        "shared": (ratio[1] or "").startswith(SHARED),
        "prefix_cache_hits": cache,
        "client": client,
        "void": client["limited"],
        "repeats": len(outcomes),
        "variation": variation(rates) if len(outcomes) > 1 else second_variation(outcomes[0]),
        "timeline": [
            {"time": outcome.started - origin + point["time"], "tokens": round(point["tokens"])}
            for outcome in outcomes
            for point in outcome.timeline.per_second(0.0, outcome.duration)
        ],
    }


def output_rate(outcome: LoadOutcome) -> float | None:
    """Output tokens a second; ``None`` where the server does not count them or none came.

    A step of ``requests``: tokens of completed requests over the time from the first request to the last token. A step
    of ``duration``: tokens that arrived within it over it, also those of requests that ended after it.
    """
    if outcome.duration <= 0 or outcome.completed_uncounted:
        return None
    if outcome.deadline is None:
        return outcome.completed_tokens / outcome.duration if outcome.completed_tokens else None
    return outcome.timeline.tokens(0.0, outcome.duration) / outcome.duration or None


def within_targets(outcomes: Sequence[LoadOutcome]) -> int | None:
    """Requests that met the targets; ``None`` without targets, or where a token count that they need is missing."""
    if any(o.targets is None or (o.targets.itl is not None and o.completed_uncounted) for o in outcomes):
        return None
    return sum(outcome.within_targets for outcome in outcomes)


def second_variation(outcome: LoadOutcome) -> float | None:
    """Coefficient of variation over the tokens of each whole second of the steady window; needs three seconds."""
    window = outcome.steady_window
    if window is None or outcome.completed_uncounted or window[1] - window[0] < _MIN_SECONDS:
        return None
    seconds = int(window[1] - window[0])
    return variation([outcome.timeline.tokens(window[0] + n, window[0] + n + 1) for n in range(seconds)])


def _pooled_rate(outcomes: Sequence[LoadOutcome], rates: Sequence[float]) -> float | None:
    if len(rates) < len(outcomes):
        return None
    duration = sum(outcome.duration for outcome in outcomes)
    return sum(rate * outcome.duration for rate, outcome in zip(rates, outcomes, strict=True)) / duration


def _steady_rate(outcomes: Sequence[LoadOutcome]) -> float | None:
    tokens = seconds = 0.0
    for outcome in outcomes:
        window = outcome.steady_window
        if window is None or outcome.completed_uncounted:
            return None
        tokens += outcome.timeline.tokens(*window)
        seconds += window[1] - window[0]
    return tokens / seconds


def _client(outcomes: Sequence[LoadOutcome], latencies: Latencies) -> dict[str, t.Any]:
    busiest = max((outcome.busiest for outcome in outcomes if outcome.busiest is not None), default=None)
    lag = max((outcome.lag_p99 for outcome in outcomes if outcome.lag_p99 is not None), default=None)
    backlog = max((outcome.backlog for outcome in outcomes if outcome.backlog is not None), default=None)
    duration = sum(outcome.duration for outcome in outcomes)
    reason = limits(busiest, lag, latencies.itl.quantile(0.5), duration, backlog)
    return {
        "cpu": max(outcome.cpu for outcome in outcomes),
        "lag_p99": lag,
        "backlog": backlog,
        "processes": max(outcome.processes for outcome in outcomes),
        "free_cores": min((o.free_cores for o in outcomes if o.free_cores is not None), default=None),
        "limited": reason is not None,
        "reason": reason,
    }


def _tokens_per_arrival(outcomes: Sequence[LoadOutcome]) -> float | None:
    arrivals = sum(outcome.completed_arrivals for outcome in outcomes)
    return sum(outcome.completed_tokens for outcome in outcomes) / arrivals if arrivals else None


def _mean(sums: Sequence[tuple[int, int]], otherwise: int) -> int:
    """Mean of what the usage of completed requests said, as a whole number; what was asked for where there is none."""
    count = sum(item[1] for item in sums)
    return round(sum(item[0] for item in sums) / count) if count else otherwise


def _blank(step: Step) -> dict[str, t.Any]:
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
        "repeats": 0,
        "variation": None,
        "timeline": [],
        "mergeable": None,
    }
