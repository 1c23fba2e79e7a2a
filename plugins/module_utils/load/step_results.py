# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the result of a load step in the form that the module returns."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.load.client_saturation import limits
from ansible_collections.multigpu.vllm.plugins.module_utils.load.counters import (
    Reading,
    cache_hit_ratio,
    increase,
    speculation,
    token_ratio,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.statistics import summarise, variation
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step

#: Minimum number of whole seconds for which the variation of the rate is computed.
_MIN_SECONDS: t.Final = 3
#: Reason for skipping a step on one load host while other hosts run it.
NO_SHARE: t.Final = "no part of this step is assigned to this load host"
#: Maximum number of failure texts returned, one per reason.
_MAX_DETAILS: t.Final = 5

#: Keys of a result that are None until they are measured.
_UNMEASURED: t.Final = (
    "skipped held unsent schedule_lag gave_up started ended duration output_throughput steady_throughput "
    "request_throughput within_targets goodput tokens_per_arrival ttft ttft_sent itl tpot e2e token_ratio "
    "token_ratio_reason prefix_cache_hits preemptions corrupted_requests speculation queue client variation mergeable"
).split()

StepResult = dict[str, t.Any]


def skipped_result(step: Step, reason: str) -> StepResult:
    """Return the result of a step that was not run; every measurement is None."""
    return _blank(step) | {"skipped": reason}


def step_result(
    step: Step, outcomes: Sequence[LoadOutcome], origin: float, before: Reading, after: Reading
) -> StepResult:
    """Return the entry for ``step`` in the module's ``results``, combined from all repeats of the step.

    :param outcomes: the outcome of each repeat, at least one.
    :param origin: time 0 of ``started`` and ``ended`` (``time.monotonic`` seconds).
    :param before: the server's counters before the first repeat; ``after`` those after the last one.
    """
    total = LoadOutcome(targets=outcomes[0].targets)
    for outcome in outcomes:
        total.merge(outcome)
    duration = sum(outcome.duration for outcome in outcomes)
    client = _client(outcomes, total, duration)
    return {
        **_blank(step),
        **_counts(step, total),
        **_rates(outcomes, total, duration),
        **total.latencies.summary(),
        "started": outcomes[0].started - origin,
        "ended": outcomes[-1].ended - origin,
        "duration": duration,
        "timeline": [
            {"time": outcome.started - origin + point["time"], "tokens": round(point["tokens"])}
            for outcome in outcomes
            for point in outcome.timeline.per_second(0.0, outcome.duration)
        ],
        **token_ratio(before, after, total.tokens, total.sent, total.uncounted),
        "prefix_cache_hits": cache_hit_ratio(before, after),
        **{name: increase(before, after, name) for name in ("preemptions", "corrupted_requests")},
        "speculation": speculation(before, after),
        "client": client,
        "void": client["limited"],
        "attempts": 1,
        "repeats": len(outcomes),
    }


def _counts(step: Step, total: LoadOutcome) -> StepResult:
    answers = total.completed - total.completed_uncounted
    return {
        "prompt_tokens": _mean(total.prompt_tokens, total.prompts_counted, step.prompt_tokens),
        "output_tokens": _mean(total.completed_tokens, answers, step.output_tokens),
        "tokens": total.tokens,
        "tokens_per_arrival": total.completed_tokens / total.completed_arrivals if total.completed_arrivals else None,
        "requests": {name: getattr(total, name) for name in ("completed", "failed", "cancelled")},
        "failures": dict(total.failures.most_common()),
        "failure_details": dict(list(total.details.items())[:_MAX_DETAILS]),
        "held": None if step.rate is None else total.held,
        "unsent": None if step.rate is None else total.unsent,
        "schedule_lag": summarise(total.schedule_lag),
        "gave_up": total.gave_up,
    }


def _mean(total: int, count: int, requested: int) -> int:
    """Return ``total / count``, rounded: the mean number of tokens. Return ``requested`` if ``count`` is 0."""
    return round(total / count) if count else requested


def _rates(outcomes: Sequence[LoadOutcome], total: LoadOutcome, duration: float) -> StepResult:
    rates = [rate for rate in map(output_rate, outcomes) if rate is not None]
    pooled = None
    if len(rates) == len(outcomes):
        pooled = sum(rate * outcome.duration for rate, outcome in zip(rates, outcomes, strict=True)) / duration
    within = within_targets(total)
    return {
        "output_throughput": pooled,
        "steady_throughput": _steady_rate(outcomes),
        "request_throughput": total.completed_in_time / duration if duration else None,
        "within_targets": within,
        "goodput": within / duration if duration and within is not None else None,
        "variation": variation(rates) if len(outcomes) > 1 else second_variation(outcomes[0]),
    }


def output_rate(outcome: LoadOutcome) -> float | None:
    """Return the output tokens per second, or None if no tokens arrived or the server does not count tokens.

    In a step with ``requests``, this is the number of tokens of completed requests, divided by the time from the first
    request to the last token. In a step with a ``duration``, it is the number of tokens that arrived within the
    duration, divided by the duration. The latter includes tokens of requests that ended later.
    """
    if outcome.duration <= 0 or outcome.completed_uncounted:
        return None
    if outcome.deadline is None:
        return outcome.completed_tokens / outcome.duration if outcome.completed_tokens else None
    return outcome.timeline.tokens(0.0, outcome.duration) / outcome.duration or None


def within_targets(total: LoadOutcome) -> int | None:
    """Return how many requests met the latency targets, or None if no targets are set or token counts are missing."""
    if total.targets is None or (total.targets.itl is not None and total.completed_uncounted):
        return None
    return total.within_targets


def second_variation(outcome: LoadOutcome) -> float | None:
    """Return the coefficient of variation of the tokens per second in the period in which all streams were active.

    Return None if that period is shorter than three seconds, or if token counts are unknown.
    """
    window = outcome.steady_window
    if window is None or outcome.completed_uncounted or window[1] - window[0] < _MIN_SECONDS:
        return None
    seconds = int(window[1] - window[0])
    return variation([outcome.timeline.tokens(window[0] + n, window[0] + n + 1) for n in range(seconds)])


def _steady_rate(outcomes: Sequence[LoadOutcome]) -> float | None:
    tokens = seconds = 0.0
    for outcome in outcomes:
        window = outcome.steady_window
        if window is None or outcome.completed_uncounted:
            return None
        tokens += outcome.timeline.tokens(*window)
        seconds += window[1] - window[0]
    return tokens / seconds


def _client(outcomes: Sequence[LoadOutcome], total: LoadOutcome, duration: float) -> StepResult:
    reason = limits(total.busiest, total.lag_p99, total.latencies.itl.quantile(0.5), duration, total.backlog)
    return {
        "cpu": max(outcome.cpu for outcome in outcomes),
        "lag_p99": total.lag_p99,
        "backlog": total.backlog,
        "processes": max(outcome.processes for outcome in outcomes),
        "free_cores": min((o.free_cores for o in outcomes if o.free_cores is not None), default=None),
        "limited": reason is not None,
        "reason": reason,
    }


def _blank(step: Step) -> StepResult:
    """Return the initial result of a step, with all keys but without measurements."""
    return {
        "name": step.name,
        "prompt_tokens": step.prompt_tokens,
        "output_tokens": step.output_tokens,
        "requested": {"prompt_tokens": step.prompt_tokens, "output_tokens": step.output_tokens},
        "concurrency": step.concurrency,
        "rate": step.rate,
        "arrivals": None if step.rate is None else step.arrivals,
        **dict.fromkeys(_UNMEASURED),
        "requests": {"completed": 0, "failed": 0, "cancelled": 0},
        "failures": {},
        "failure_details": {},
        "tokens": 0,
        "shared": False,
        "void": False,
        "attempts": 0,
        "discarded": [],
        "repeats": 0,
        "timeline": [],
    }
