# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several load hosts against one server: what each is to do, and one result of what all of them measured."""

from __future__ import annotations

import itertools
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status, as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.load import load_findings
from ansible_collections.multigpu.vllm.plugins.module_utils.load.counters import (
    Counters,
    Reading,
    cache_hit_ratio,
    token_ratio,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome_codec import decode
from ansible_collections.multigpu.vllm.plugins.module_utils.load.step_results import NO_SHARE, step_result
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import ssh_message

#: Seconds from now to the common start: to start the probe on each host, and to size and warm up.
LEAD: t.Final = 15.0
LEAD_EACH: t.Final = 3.0
#: Part of a step's time by which its load hosts may have begun apart before its figures are void.
APART: t.Final = 0.02
#: Seconds that are always allowed: two clocks compared over SSH agree no better.
APART_LEAST: t.Final = 0.25
#: Reasons why a request failed on its way to the server.
_WAY: t.Final = frozenset({"connection_refused", "connect_timeout", "name_not_resolved", "unreachable", "tls"})

Result = dict[str, t.Any]


def shares(
    hosts: Sequence[str], clocks: Sequence[Mapping[str, t.Any]], watcher: str | None = None, lead: float | None = None
) -> list[Result]:
    """What each of ``hosts`` is to do: ``host``, ``share``, ``start_at`` by its own clock, ``sample_gpus``, ``offset``.

    :param clocks: results of ``clock_offset`` for ``hosts`` and ``watcher``, in that order.
    :param watcher: the host of the GPUs; it makes load only where it is one of ``hosts``.
    :param lead: seconds from the last look at a clock to the start.
    :raises ValueError: where clocks are missing.
    """
    everyone = [*hosts, *([watcher] if watcher is not None and watcher not in hosts else [])]
    if len(clocks) != len(everyone):
        raise ValueError(f"give the clock_offset of each of {', '.join(everyone)}")
    if missing := clock_errors(everyone, clocks):
        raise ValueError("; ".join(missing))
    start = max(clock["time"] for clock in clocks) + (LEAD + LEAD_EACH * len(everyone) if lead is None else lead)
    return [
        {
            "host": host,
            "share": {"index": index, "count": len(hosts)},
            "start_at": start + clock["offset"],
            "sample_gpus": host == watcher,
            "offset": clock["offset"],
            "uncertainty": clock["uncertainty"],
        }
        for index, (host, clock) in enumerate(zip(everyone, clocks, strict=True))
    ]


def clock_errors(hosts: Sequence[str], clocks: Sequence[Mapping[str, t.Any]]) -> list[str]:
    """Why ``hosts`` cannot begin together, in words for each whose clock is not known; empty where all are."""
    unknown = ((host, clock) for host, clock in zip(hosts, clocks, strict=True) if clock.get("offset") is None)
    return [_why(host, clock, "its clock is not known") for host, clock in unknown]


def _why(host: str, result: Mapping[str, t.Any], otherwise: str) -> str:
    """Why ``host`` gave no usable result."""
    if result.get("unreachable"):
        return f"{host} cannot be reached: {ssh_message(result.get('msg'))}"
    return f"{host}: {result.get('msg') or otherwise}"


def merge(
    parts: Sequence[Mapping[str, t.Any]],
    plan: Sequence[Mapping[str, t.Any]] | None = None,
    max_ttft: float | None = None,
    max_itl: float | None = None,
) -> Result:
    """One result in the shape of ``throughput_probe`` of what it returned on each load host, in the order of ``plan``.

    :param plan: what ``shares`` gave; without it all clocks are taken to agree.
    :raises ValueError: for results that were made without ``mergeable``.
    """
    clocks = plan or [{"host": f"number {number}", "offset": 0.0} for number in range(1, len(parts) + 1)]
    if len(parts) != len(clocks):
        raise ValueError(f"{len(parts)} results of {len(clocks)} load hosts")
    pairs = list(zip(parts, clocks, strict=True))
    lost = [_why(clock["host"], part, "it gave no result") for part, clock in pairs if "results" not in part]
    if lost:
        return {"changed": False, "failed": True, "msg": f"load hosts: {'; '.join(lost)}"}
    barred = [(part, clock["host"]) for part, clock in pairs if not part["results"]]
    if barred and _is_theirs(parts):
        reasons = (f"{host} cannot use the server: {_refusal(part)['problem']}" for part, host in barred)
        return {"changed": False, "failed": True, "msg": f"load hosts: {'; '.join(reasons)}"}
    if barred:
        return {"changed": False, **_frame(barred[0][0])}
    watched = next((pair for pair in pairs if pair[0]["gpu_samples"]), None)
    first, clock = watched or (parts[0], clocks[0])
    origin = first["origin"] - clock["offset"]
    unsure = 2 * max(clock.get("uncertainty") or 0.0 for clock in clocks)
    columns = zip(*(part["results"] for part in parts), strict=True)
    results = [_merge_step(column, clocks, origin, unsure) for column in columns]
    findings = as_dicts(load_findings.judge(results, max_ttft, max_itl))
    return {"changed": False, **_frame(first), "origin": origin, "results": results, "findings": findings}


def _frame(part: Mapping[str, t.Any]) -> Result:
    keys = ("server", "results", "gpu_samples", "gpu_samples_reason", "seed", "origin", "findings")
    return {key: part[key] for key in keys}


def _is_theirs(parts: Sequence[Mapping[str, t.Any]]) -> bool:
    """Whether it is the fault of load hosts, and not of the server, that they cannot use it.

    So it is where another one makes load, or where nothing but the way to the server fails and another host, that only
    watches the GPUs, finds it answering. One that accepts requests and does not serve them is at fault itself.
    """
    others = [part["results"] for part in parts if part["results"]]
    if any(step["skipped"] != NO_SHARE for results in others for step in results):
        return True
    return bool(others) and all(_refusal(part)["measured"] in _WAY for part in parts if not part["results"])


def _refusal(part: Mapping[str, t.Any]) -> Result:
    """Return why a probe made no load: the ``problem``, and the id of the reason as ``measured``."""
    failures = (item for item in part["findings"] if item["status"] == Status.FAIL)
    failure: Result = next(failures, {"evidence": {}, "measured": None})
    return {"problem": failure["evidence"].get("problem", "no load was made"), "measured": failure["measured"]}


def _merge_step(
    column: Sequence[Mapping[str, t.Any]], clocks: Sequence[Mapping[str, t.Any]], origin: float, unsure: float
) -> Result:
    """One step: what each load host has of it, by the controller's clock."""
    parts = [(result, clock) for result, clock in zip(column, clocks, strict=True) if result.get("mergeable")]
    made = [decode(result["mergeable"], -clock["offset"]) for result, clock in parts]
    if not made:
        if any(not result["skipped"] for result in column):
            raise ValueError(f"step {column[0]['name']} was measured without mergeable: true")
        return dict(next((result for result in column if result["skipped"] != NO_SHARE), column[0]))
    steps, outcomes, befores, afters = zip(*made, strict=True)
    step = steps[0]
    begins = [runs[0].started for runs in outcomes]
    repeats = [_join(repeat) for repeat in itertools.zip_longest(*outcomes)]
    before, after = _closest(befores), _last(afters)
    ratio = token_ratio(
        before,
        after,
        sum(outcome.tokens for outcome in repeats),
        sum(outcome.sent for outcome in repeats),
        sum(outcome.uncounted for outcome in repeats),
    )
    result = step_result(step, repeats, origin, ratio, cache_hit_ratio(before, after))
    result["load_hosts"] = [_part(clock["host"], part) for part, clock in parts]
    slow = [f"{clock['host']}: {why}" for part, clock in parts if (why := part["client"]["reason"])]
    if slow:
        result["client"] |= {"limited": True, "reason": "; ".join(slow)}
    late = _apart(step, begins, result["duration"], unsure)
    if late is not None:
        result["client"] |= {"limited": True, "reason": late, "apart": True}
    result["void"] = result["client"]["limited"]
    return result


def _part(host: str, result: Mapping[str, t.Any]) -> Result:
    """What one load host made of a step."""
    return {
        "host": host,
        "concurrency": result["concurrency"],
        "completed": result["requests"]["completed"],
        "tokens": result["tokens"],
    }


def _join(outcomes: Sequence[LoadOutcome | None]) -> LoadOutcome:
    first, *others = (outcome for outcome in outcomes if outcome is not None)
    for other in others:
        first.merge(other)
    return first


def _apart(step: Step, begins: Sequence[float], duration: float, unsure: float) -> str | None:
    """Why the load was not one load; ``None`` where all began together."""
    apart = max(begins) - min(begins)
    allowed = max(APART_LEAST, APART * duration)
    if len(begins) < 2 or apart + unsure <= allowed:
        return None
    if apart > allowed:
        return f"the load hosts began {step.name} {apart:.1f} s apart, more than {allowed:.2f} s"
    return f"the clocks of the load hosts are known to {unsure:.2f} s only, so they may have begun {step.name} apart"


def _closest(readings: Sequence[Reading]) -> Reading:
    """Of the server's counters before the step those nearest to its start, when no one's warming up counts any more."""
    calm = [reading for reading in readings if isinstance(reading, Counters) and not reading.active_requests]
    return max(calm, key=_generated, default=readings[0])


def _last(readings: Sequence[Reading]) -> Reading:
    counted = [reading for reading in readings if isinstance(reading, Counters)]
    return max(counted, key=_generated, default=readings[0])


def _generated(reading: Counters) -> float:
    return reading.generation_tokens or 0.0
