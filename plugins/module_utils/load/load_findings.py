# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn the results of load steps into findings about the server.

Whether the speed is what the hardware allows is evaluated on the controller, which knows the hardware.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import (
    Finding,
    Reason,
    Status,
    failed,
    not_tested,
    passed,
    warned,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.units import counted
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import REASONS, RequestFailed

#: Fraction of requests that may fail before the step fails.
FAILED_SHARE: t.Final = 0.05
#: Fraction of an open loop's requests that may wait for a free stream; a few wait by chance.
HELD_SHARE: t.Final = 0.01
#: Allowed relative difference between the server's and the client's token count. The server generates tokens of
#: cancelled requests for a moment longer.
TOKEN_TOLERANCE: t.Final = 0.02

#: Tokens per arrival above which the time of a single token is unknown. Speculative decoding yields two to six.
BATCHED_TOKENS: t.Final = 8.0

#: Beginning of the reason for skipping a step for which no time was left.
TIME_LIMIT: t.Final = "the load test reached its time limit"
THROUGHPUT: t.Final = "performance.throughput"
CLIENT: t.Final = "performance.client_limited"
TOKENS: t.Final = "performance.token_reconciliation"
_OTHERS: t.Final = ("performance.ttft", "performance.itl", CLIENT, TOKENS)
#: Keys of a step's result that are evidence for the throughput.
_EVIDENCE: t.Final = (
    "name concurrency rate requests held failures output_throughput steady_throughput request_throughput void"
).split()

Result = dict[str, t.Any]


def nothing_sent(reason: str) -> list[Finding]:
    """Return ``not_tested`` findings for a probe that generated no load for a reason other than a server failure.

    :param reason: why no load was generated.
    """
    return [not_tested(check, reason) for check in (THROUGHPUT, *_OTHERS)]


def unusable(failure: RequestFailed) -> list[Finding]:
    """Return the findings for a probe that generated no load because the server cannot be used.

    In the evidence of the failed finding, ``problem`` is the text of ``failure``.
    """
    return [
        failed(
            THROUGHPUT,
            f"The server cannot be used: {failure}",
            expected="an answer",
            measured=failure.reason,
            evidence={"status": failure.status, "detail": failure.detail, "problem": str(failure)},
            cause=failure.cause,
            remedy=failure.remedy,
        ),
        *(not_tested(check, f"the server cannot be used: {failure}") for check in _OTHERS),
    ]


def judge(results: Sequence[Result], max_ttft: float | None = None, max_itl: float | None = None) -> list[Finding]:
    """Return the findings for all load steps. If the time limit ended the test early, the throughput never passes.

    :param max_ttft: limit for the 95th percentile of the TTFT, in seconds.
    :param max_itl: limit for the 95th percentile of the ITL, in seconds.
    """
    run = [result for result in results if not result["skipped"]]
    if not run:
        reasons = "; ".join(f"{result['name']}: {result['skipped']}" for result in results)
        return nothing_sent(f"no step was run ({reasons})")
    throughput = judge_throughput(run)
    late = next((result["skipped"] for result in results if (result["skipped"] or "").startswith(TIME_LIMIT)), None)
    if late and throughput.status is Status.PASS:
        throughput = not_tested(THROUGHPUT, late, evidence=throughput.evidence)
    return [
        throughput,
        judge_latency("performance.ttft", "ttft", "Time to first token", run, max_ttft),
        judge_latency("performance.itl", "itl", "Inter-token latency", run, max_itl),
        judge_client(run),
        judge_tokens(run),
    ]


def judge_throughput(run: Sequence[Result]) -> Finding:
    """Evaluate failed, queued and unfinished requests, and report the highest throughput."""
    evidence = {"steps": [{key: result[key] for key in _EVIDENCE} for result in run]}
    bad = [
        result
        for result in run
        if _failed_share(result) > FAILED_SHARE or not (result["requests"]["completed"] or result["tokens"])
    ]
    if bad:
        return _throughput_failed(bad, evidence)
    if corrupted := {result["name"]: n for result in run if (n := result.get("corrupted_requests"))}:
        return _corrupted(corrupted, evidence)
    valid = [result for result in run if not result["void"] and result["output_throughput"] is not None]
    if not valid:
        client_limited = any(result["void"] for result in run)
        unknown = "the server sends no usage, so its tokens cannot be counted"
        reason = f"the load client was too slow; see {CLIENT}" if client_limited else unknown
        return not_tested(THROUGHPUT, reason, evidence=evidence)
    best = max(valid, key=lambda result: result["output_throughput"])
    details = {"measured": round(best["output_throughput"], 1), "unit": "tokens/s", "evidence": evidence}
    load = f"{best['rate']:g} requests/s" if best["rate"] else f"{best['concurrency']} streams"
    speed = f"{best['output_throughput']:,.0f} tokens/s at {load} ({best['name']})"
    warning = _warning_reason(run)
    if warning is None:
        return passed(THROUGHPUT, speed, **details)
    return warned(THROUGHPUT, f"{speed}; {warning.summary}", cause=warning.cause, remedy=warning.remedy, **details)


def _warning_reason(run: Sequence[Result]) -> Reason | None:
    """Return the reason for a throughput warning (failed, queued or unfinished requests), or None if all is well."""
    some_failed = [result for result in run if result["requests"]["failed"]]
    if some_failed:
        reason = REASONS[_main_reason(some_failed)]
        return replace(reason, summary=f"{_count_failed(some_failed)} requests failed: {reason.summary}")
    worst = max(run, key=_held_share)
    if _held_share(worst) > HELD_SHARE:
        late = f", up to {_ms(worst['schedule_lag']['p99'])} (p99)" if worst["schedule_lag"] else ""
        unsent = f", and {worst['unsent']} were never sent" if worst["unsent"] else ""
        return Reason(
            f"in {worst['name']} {worst['held']} requests had to wait for one of {worst['concurrency']} streams{late}"
            + unsent,
            "Requests arrived faster than the server completed them, so all streams were busy.",
            "Lower the rate to what the server can serve, or raise concurrency so that requests wait in the server.",
        )
    unfinished = [result["name"] for result in run if not result["requests"]["completed"]]
    if unfinished:
        return Reason(
            f"no request completed within the duration of {', '.join(unfinished)}",
            "The requests take longer than the step.",
            "Increase the duration of the step, or reduce output_tokens.",
        )
    return None


def judge_latency(check: str, key: str, name: str, run: Sequence[Result], limit: float | None) -> Finding:
    """If ``limit`` is set, check that the 95th percentile of a latency is at most ``limit`` seconds in every step."""
    measured = [result for result in run if result[key] and not result["void"]]
    steps = {result["name"]: result[key] for result in measured if not batched_tokens_reason(result)}
    if measured and not steps:
        return not_tested(check, f"{name} is unknown: {batched_tokens_reason(measured[0])}")
    if not steps:
        void = any(result["void"] for result in run)
        return not_tested(check, f"{name} was not measured" + (": the load client was too slow" if void else ""))
    slowest = max(steps, key=lambda step: steps[step]["p95"])
    value = steps[slowest]
    summary = f"{name} {_ms(value['p50'])} (p50), {_ms(value['p95'])} (p95), {_ms(value['p99'])} (p99) in {slowest}"
    details = {"measured": value["p95"], "unit": "s", "evidence": {"steps": steps}}
    if key == "ttft" and (queue := longest_queue(run)):
        summary += f"; {queue}"
    if limit is not None:
        details |= {"expected": limit, "source": f"option max_{key}, for p95"}
    if limit is None or value["p95"] <= limit:
        return passed(check, summary, **details)
    return failed(
        check,
        f"{summary}, above the limit of {_ms(limit)}",
        cause="The server is too slow at this load, or requests wait in its queue.",
        remedy="Compare the steps: if only the highest concurrency is slow, the server is saturated; lower the load.",
        **details,
    )


def longest_queue(run: Sequence[Result]) -> str | None:
    """Return a text with the longest queue of the server in any step and its reasons, or None if no request waited."""
    worst = max(run, key=_waiting)
    if not _waiting(worst):
        return None
    reasons = [f"{number} for {name}" for name, number in worst["queue"]["reasons"].items() if number]
    shown = f" ({', '.join(reasons)})" if reasons else ""
    return f"up to {counted(_waiting(worst), 'request')} waited in the server's queue in {worst['name']}{shown}"


def _waiting(result: Result) -> int:
    waiting: int = (result.get("queue") or {}).get("waiting", 0)
    return waiting


def batched_tokens_reason(result: Mapping[str, t.Any]) -> str | None:
    """Return a message if so many tokens arrived at once that their individual times are unknown, otherwise None."""
    per_arrival = result.get("tokens_per_arrival") or 1.0
    if per_arrival <= BATCHED_TOKENS:
        return None
    return (
        f"{per_arrival:.0f} tokens arrived at a time, so something between server and client holds them back: a proxy"
        " (nginx: proxy_buffering off), or --stream-interval"
    )


def judge_client(run: Sequence[Result]) -> Finding:
    """Check whether the load client was the bottleneck in any step. Also list the steps that were measured again."""
    worst = {key: max(result["client"].get(key) or 0.0 for result in run) for key in ("cpu", "lag_p99", "backlog")}
    repeated = [result for result in run if result.get("discarded")]
    discarded = [{"name": result["name"], "reasons": result["discarded"]} for result in repeated]
    details = {"measured": round(worst["cpu"], 3), "unit": "cores", "evidence": {**worst, "discarded": discarded}}
    limited = [result for result in run if result["void"]]
    if limited:
        limit = _client_limit(limited)
        summary = f"{limit.summary}; these measurements are void"
        return warned(CLIENT, summary, cause=limit.cause, remedy=limit.remedy, **details)
    summary = f"The load client kept up: {100 * worst['cpu']:.0f} % of one core, lag {_ms(worst['lag_p99'])} (p99)"
    if repeated:
        repetitions = [
            f"{item['name']} ({counted(item['attempts'], 'attempt')}; {', '.join(dict.fromkeys(item['discarded']))})"
            for item in repeated
        ]
        summary += f". Measured again: {'; '.join(repetitions)}"
    return passed(CLIENT, summary, **details)


def _client_limit(limited: Sequence[Result]) -> Reason:
    """Return a summary, cause and remedy for ``limited``, the steps in which the load client was the bottleneck.

    The cause and remedy are those of the first of these steps.
    """
    client = limited[0]["client"]
    if client.get("apart"):
        names = ", ".join(result["name"] for result in limited)
        return Reason(
            f"The load hosts did not start {names} together: {client['reason']}",
            "A load host was not ready at the common start, or the connection to one is too slow to read its clock.",
            "Run again when the load hosts are otherwise idle, run Ansible closer to them, or use a longer step"
            " (validate_load_duration in the validate role).",
        )
    names = ", ".join(f"{result['name']} ({counted(result['attempts'], 'attempt')})" for result in limited)
    summary = f"The load client was the bottleneck in {names}: {client['reason']}"
    hosts = len(limited[0].get("load_hosts") or ()) or 1
    processes, free = -(-(client.get("processes") or 1) // hosts), client.get("free_cores")
    if free is not None and free >= 1.0:
        return Reason(
            summary,
            f"{processes} process{'es' if processes != 1 else ''} of the load client cannot generate this load;"
            f" {free:.1f} processor cores of the load host are free.",
            f"Set processes to {processes + int(free)} (validate_load_processes in the validate role), or generate"
            " the load from several hosts (validate_load_hosts).",
        )
    return Reason(
        summary,
        "The host that generates the load has too little free processor time.",
        "Generate the load from one or more other hosts (validate_load_hosts in the validate role), stop other work on"
        " this host, or lower concurrency.",
    )


def judge_tokens(run: Sequence[Result]) -> Finding:
    """Check that the server and the client counted the same number of output tokens."""
    ratios = {result["name"]: result["token_ratio"] for result in run if result["token_ratio"] is not None}
    if not ratios:
        reasons = dict.fromkeys(result["token_ratio_reason"] for result in run if result["token_ratio_reason"])
        return not_tested(TOKENS, "; ".join(reasons) or "no tokens arrived")
    worst = max(ratios, key=lambda step: abs(ratios[step] - 1.0))
    details = {
        "expected": 1.0,
        "measured": round(ratios[worst], 4),
        "unit": "server/client",
        "evidence": {"ratios": ratios, "tolerance": TOKEN_TOLERANCE},
    }
    if round(abs(ratios[worst] - 1.0), 6) <= TOKEN_TOLERANCE:
        return passed(TOKENS, f"Client and server count the same tokens (ratio {ratios[worst]:.3f})", **details)
    return failed(
        TOKENS,
        f"The server counts {ratios[worst]:.3f} tokens per token received by the client ({worst})",
        cause="Tokens were lost between server and client, or other clients use the server at the same time.",
        remedy="Probe vLLM directly, without a proxy, and with no other load on it.",
        **details,
    )


def _throughput_failed(bad: Sequence[Result], evidence: dict[str, t.Any]) -> Finding:
    total = sum(sum(result["requests"].values()) for result in bad)
    names = ", ".join(result["name"] for result in bad)
    if not _count_failed(bad):
        # No request completed or failed, so all requests were cancelled at the end of the step's duration.
        reason, summary = "first_byte_timeout", f"No token arrived for any of {total} requests in {names}"
    else:
        reason = _main_reason(bad)
        summary = f"{_count_failed(bad)} of {total} requests failed in {names}: {REASONS[reason].summary}"
        detail = next((detail for result in bad if (detail := result["failure_details"].get(reason))), "")
        summary += f" ({detail})" if detail else ""
    return failed(
        THROUGHPUT,
        summary,
        expected=f"at most {100 * FAILED_SHARE:.0f} % failed",
        measured=f"{_count_failed(bad)} of {total} failed",
        unit="requests",
        evidence=evidence,
        cause=REASONS[reason].cause,
        remedy=REASONS[reason].remedy,
    )


def _corrupted(corrupted: Mapping[str, int], evidence: dict[str, t.Any]) -> Finding:
    total, reason = sum(corrupted.values()), REASONS["corrupted"]
    return failed(
        THROUGHPUT,
        f"{counted(total, 'corrupted request')} in {', '.join(corrupted)}: {reason.summary}",
        expected=0,
        measured=total,
        unit="corrupted requests",
        evidence=evidence | {"corrupted_requests": dict(corrupted)},
        cause=reason.cause,
        remedy=reason.remedy,
        source="vllm:corrupted_requests_total",
    )


def _held_share(result: Result) -> float:
    held: int = result.get("held") or 0
    return held / (sum(result["requests"].values()) + (result.get("unsent") or 0)) if held else 0.0


def _failed_share(result: Result) -> float:
    failures: int = result["requests"]["failed"]
    ended = result["requests"]["completed"] + failures
    return failures / ended if ended else 0.0


def _count_failed(results: Sequence[Result]) -> int:
    return sum(result["requests"]["failed"] for result in results)


def _main_reason(results: Sequence[Result]) -> str:
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(result["failures"])
    return counts.most_common(1)[0][0]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
