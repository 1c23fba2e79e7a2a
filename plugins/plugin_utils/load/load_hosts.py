# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a load test that several hosts run together, and merge the hosts' results into one result."""

from __future__ import annotations

import functools
import itertools
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status, as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.load import load_findings
from ansible_collections.multigpu.vllm.plugins.module_utils.load.counters import Counters, Reading
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome_codec import decode
from ansible_collections.multigpu.vllm.plugins.module_utils.load.step_results import NO_SHARE, step_result
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step
from ansible_collections.multigpu.vllm.plugins.plugin_utils.results import SENSELESS, InvalidResult, checked_result
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import ssh_message

#: Seconds until the common start, which leave time to start the probe on each host, size the prompts and warm up.
LEAD: t.Final = 15.0
LEAD_PER_HOST: t.Final = 3.0
#: Maximum difference between the start times of the load hosts, as a share of the step's duration. The
#: measurements of a step with a larger difference are void.
MAX_SKEW_SHARE: t.Final = 0.02
#: Difference in seconds that is always allowed, because two clocks cannot be compared more precisely over SSH.
MIN_SKEW: t.Final = 0.25
#: Failure reasons of requests that did not reach the server.
_NOT_REACHED: t.Final = frozenset({"connection_refused", "connect_timeout", "name_not_resolved", "unreachable", "tls"})

Result = dict[str, t.Any]
Results = Sequence[Mapping[str, t.Any]]


def plan(load_hosts: Sequence[str], clocks: Results, node: str, lead: float | None = None) -> Result:
    """Return each host's share of the load, or the reasons why the load test cannot start.

    :param clocks: results of ``clock_offset``, registered in a loop over the names of ``load_hosts`` and ``node``.
    :param node: host whose GPUs are sampled; it generates load only if it is one of ``load_hosts``.
    :param lead: seconds from the last clock reading to the start.
    :returns: ``node``; ``hosts``, one entry for each host with ``host``, ``share``, ``start_at`` (by its own clock),
        ``sample_gpus``, ``offset`` and ``uncertainty``, or an empty list if a clock is unknown; ``errors``, one for
        each unknown clock; ``unreachable``, the names of unreachable hosts.
    :raises ValueError: if a host has no entry in ``clocks``.
    """
    hosts = list(dict.fromkeys([*load_hosts, node]))
    clock_of = {str(clock["item"]): clock for clock in clocks}
    if missing := [host for host in hosts if host not in clock_of]:
        raise ValueError(f"clocks must have a result of clock_offset for each host, missing: {', '.join(missing)}")
    unknown = [host for host in hosts if clock_of[host].get("offset") is None]
    result: Result = {
        "node": node,
        "hosts": [],
        "errors": [_failure(host, clock_of[host], "its clock offset is unknown") for host in unknown],
        "unreachable": [host for host in hosts if clock_of[host].get("unreachable")],
    }
    if unknown:
        return result
    start = max(clock_of[host]["time"] for host in hosts) + (
        LEAD + LEAD_PER_HOST * len(hosts) if lead is None else lead
    )
    result["hosts"] = [
        {
            "host": host,
            "share": {"index": index, "count": len(load_hosts)},
            "start_at": start + clock_of[host]["offset"],
            "sample_gpus": host == node,
            "offset": clock_of[host]["offset"],
            "uncertainty": clock_of[host]["uncertainty"],
        }
        for index, host in enumerate(hosts)
    ]
    return result


def _failure(host: str, result: Mapping[str, t.Any], default: str) -> str:
    """Return a message that explains why ``host`` returned no usable result."""
    if result.get("unreachable"):
        return f"{host} cannot be reached: {ssh_message(result.get('msg'))}"
    return f"{host}: {result.get('msg') or default}"


def merge(
    plan: Mapping[str, t.Any],
    jobs: Results,
    loads: Results,
    max_ttft: float | None = None,
    max_itl: float | None = None,
) -> Result:
    """Merge the results of all load hosts into one result in the format of ``throughput_probe``.

    If a load host failed or its result is invalid, ``failed`` is true and ``msg`` contains the reason. If the node
    itself became unreachable, ``unreachable`` is true.

    :param plan: result of :func:`plan`.
    :param jobs: results of starting ``throughput_probe`` in the background, registered in a loop over ``plan.hosts``.
    :param loads: results of waiting for these jobs, registered in a loop over the entries of ``jobs`` that started.
    """
    results = {job["item"]["host"]: job for job in jobs} | {load["item"]["item"]["host"]: load for load in loads}
    unreachable = {*plan["unreachable"], *(host for host, result in results.items() if result.get("unreachable"))}
    lost: Result = {"unreachable": True} if plan["node"] in unreachable else {}
    if plan["errors"]:
        return _failed(plan["errors"]) | lost
    parts = [results.get(entry["host"], {}) for entry in plan["hosts"]]
    try:
        checked = [_checked(part, entry["host"]) for part, entry in zip(parts, plan["hosts"], strict=True)]
        return _merge_parts(checked, plan["hosts"], max_ttft, max_itl) | lost
    except SENSELESS as error:
        return _failed([f"their results cannot be merged ({type(error).__name__}: {error})"]) | lost


def _checked(part: Mapping[str, t.Any], host: str) -> Mapping[str, t.Any]:
    """Return a checked copy of the result of a load host, or a failed result with the reason why it is invalid."""
    if "results" not in part:
        return part
    try:
        return checked_result("throughput_probe", part)
    except InvalidResult as error:
        return {"failed": True, "msg": f"invalid result of throughput_probe: {error}"}


def _failed(reasons: Iterable[str]) -> Result:
    return {"changed": False, "failed": True, "msg": f"load hosts: {'; '.join(reasons)}"}


def _merge_parts(parts: Results, hosts: Results, max_ttft: float | None, max_itl: float | None) -> Result:
    """Merge ``parts``, which contains one result for each load host, in the order of ``hosts``."""
    pairs = list(zip(parts, hosts, strict=True))
    failures = [
        _failure(entry["host"], part, "it returned no result") for part, entry in pairs if "results" not in part
    ]
    if failures:
        return _failed(failures)
    refused = [(part, entry["host"]) for part, entry in pairs if not part["results"]]
    if refused and _load_hosts_at_fault(parts):
        return _failed(f"{host} cannot use the server: {_refusal(part)['problem']}" for part, host in refused)
    if refused:
        return {"changed": False, **_header(refused[0][0])}
    first, clock = next((pair for pair in pairs if pair[0]["gpu_samples"]), pairs[0])
    origin = first["origin"] - clock["offset"]
    uncertainty = 2 * max(entry["uncertainty"] or 0.0 for entry in hosts)
    columns = zip(*(part["results"] for part in parts), strict=True)
    results = [_merge_step(column, hosts, origin, uncertainty) for column in columns]
    findings = as_dicts(load_findings.judge(results, max_ttft, max_itl))
    return {"changed": False, **_header(first), "origin": origin, "results": results, "findings": findings}


def _header(part: Mapping[str, t.Any]) -> Result:
    keys = ("server", "results", "gpu_samples", "gpu_samples_reason", "seed", "origin", "findings")
    return {key: part[key] for key in keys}


def _load_hosts_at_fault(parts: Results) -> bool:
    """Return True if the load hosts that cannot use the server are at fault, or False if the server is at fault.

    They are at fault if another load host generates load, or if their requests do not reach the server while a host
    that only samples the GPUs gets a response. If the server accepts requests but does not respond to them, the server
    is at fault.
    """
    working = [part["results"] for part in parts if part["results"]]
    if any(step["skipped"] != NO_SHARE for results in working for step in results):
        return True
    return bool(working) and all(_refusal(part)["measured"] in _NOT_REACHED for part in parts if not part["results"])


def _refusal(part: Mapping[str, t.Any]) -> Result:
    """Return the reason why a load host generated no load, as a text (``problem``) and as an ID (``measured``)."""
    failures = (item for item in part["findings"] if item["status"] == Status.FAIL)
    failure: Result = next(failures, {"evidence": {}, "measured": None})
    return {"problem": failure["evidence"].get("problem", "no load was generated"), "measured": failure["measured"]}


def _merge_step(column: Results, hosts: Results, origin: float, uncertainty: float) -> Result:
    """Merge all load hosts' results of one load step, and convert all times to the controller's clock."""
    skipped = next((result for result in column if result["skipped"] not in (None, NO_SHARE)), None)
    if skipped is not None:
        # If only some load hosts reached their time limit, the others measured a smaller load.
        return dict(skipped)
    parts = [(result, entry) for result, entry in zip(column, hosts, strict=True) if result.get("mergeable")]
    measured = [decode(result["mergeable"], -entry["offset"]) for result, entry in parts]
    if not measured:
        if any(not result["skipped"] for result in column):
            raise ValueError(f"step {column[0]['name']} was measured without mergeable: true")
        return dict(column[0])
    steps, outcomes, befores, afters = zip(*measured, strict=True)
    step = steps[0]
    starts = [runs[0].started for runs in outcomes]
    # A host that gave up has fewer repeats than the others.
    repeats = [functools.reduce(LoadOutcome.merge, filter(None, repeat)) for repeat in itertools.zip_longest(*outcomes)]
    # Skip counters that were read while another load host was still sending its warm-up requests.
    # Otherwise, the rest of these requests would count as part of this step.
    result = step_result(step, repeats, origin, _latest(befores, idle=True), _latest(afters))
    # All load hosts read the queue of the same server.
    result["queue"] = next((part["queue"] for part, _entry in parts if part.get("queue")), None)
    result["load_hosts"] = [
        {
            "host": entry["host"],
            "concurrency": part["concurrency"],
            "completed": part["requests"]["completed"],
            "tokens": part["tokens"],
        }
        for part, entry in parts
    ]
    slow = [f"{entry['host']}: {reason}" for part, entry in parts if (reason := part["client"]["reason"])]
    if slow:
        result["client"] |= {"limited": True, "reason": "; ".join(slow)}
    skew = _skew_reason(step, starts, result["duration"], uncertainty)
    if skew is not None:
        result["client"] |= {"limited": True, "reason": skew, "apart": True}
    result["void"] = result["client"]["limited"]
    return result


def _skew_reason(step: Step, starts: Sequence[float], duration: float, uncertainty: float) -> str | None:
    """Return an error message if the load hosts may not have started the step at the same time, otherwise None."""
    skew = max(starts) - min(starts)
    allowed = max(MIN_SKEW, MAX_SKEW_SHARE * duration)
    if len(starts) < 2 or skew + uncertainty <= allowed:
        return None
    if skew > allowed:
        return f"the load hosts started {step.name} {skew:.1f} s apart, more than {allowed:.2f} s"
    return (
        f"the clocks of the load hosts are known only to within {uncertainty:.2f} s, so they may not have started"
        f" {step.name} together"
    )


def _latest(readings: Sequence[Reading], *, idle: bool = False) -> Reading:
    """Return the reading of the server's counters that shows the most generated tokens.

    If ``idle`` is true, leave out readings that were taken while requests were active.
    """
    counters = [item for item in readings if isinstance(item, Counters) and not (idle and item.active_requests)]
    return max(counters, key=lambda item: item.generation_tokens or 0.0, default=readings[0])
