# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the load says about the server, as findings. Whether a speed is what this hardware should give is judged where
the hardware is known, on the controller."""

from __future__ import annotations

import typing as t
from collections import Counter
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import REASONS, RequestFailed

#: Part of the requests that may fail before the step fails.
FAILED_SHARE: t.Final = 0.05
#: Part of an open loop's requests that may have to wait for a free stream: chance does that to a few.
HELD_SHARE: t.Final = 0.01
#: How far the server's token count may be from the client's. Cancelled requests run on for a moment on the server.
TOKEN_TOLERANCE: t.Final = 0.02

#: Tokens that come at a time from which on their own times are not known. Speculative decoding brings two to six.
GATHERED: t.Final = 8.0

THROUGHPUT: t.Final = "performance.throughput"
_OTHERS: t.Final = (
    "performance.ttft",
    "performance.itl",
    "performance.client_limited",
    "performance.token_reconciliation",
)
#: How a finding begins that says why no load was made.
UNUSABLE: t.Final = "The server cannot be used: "
Result = dict[str, t.Any]


def nothing_sent(reason: str) -> list[Finding]:
    """No load was made, for a reason that is no fault of the server."""
    return [not_tested(check, reason) for check in (THROUGHPUT, *_OTHERS)]


def unusable(failure: RequestFailed) -> list[Finding]:
    """The server could not be asked anything, so no load was made."""
    return [
        failed(
            THROUGHPUT,
            UNUSABLE + _say(failure),
            expected="an answer",
            measured=failure.reason,
            evidence={"status": failure.status, "detail": failure.detail},
            cause=failure.cause,
            remedy=failure.remedy,
        ),
        *(not_tested(check, f"the server cannot be used: {_say(failure)}") for check in _OTHERS),
    ]


def judge(results: Sequence[Result], max_ttft: float | None = None, max_itl: float | None = None) -> list[Finding]:
    """Findings for all load steps; ``max_ttft`` and ``max_itl`` are limits for the 95th percentile in seconds."""
    run = [result for result in results if not result["skipped"]]
    if not run:
        reasons = "; ".join(f"{result['name']}: {result['skipped']}" for result in results)
        return nothing_sent(f"no step was run ({reasons})")
    return [
        judge_throughput(run),
        judge_latency("performance.ttft", "ttft", "Time to first token", run, max_ttft),
        judge_latency("performance.itl", "itl", "Inter-token latency", run, max_itl),
        judge_client(run),
        judge_tokens(run),
    ]


def judge_throughput(run: Sequence[Result]) -> Finding:
    evidence = {"steps": [_step_evidence(result) for result in run]}
    bad = [result for result in run if _failed_share(result) > FAILED_SHARE or _nothing_came(result)]
    if bad:
        return _throughput_failed(bad, evidence)
    valid = [result for result in run if not result["void"] and result["output_throughput"] is not None]
    if not valid:
        reason = (
            "the load client was too slow; see performance.client_limited"
            if any(result["void"] for result in run)
            else "the server sends no usage, so its tokens cannot be counted"
        )
        return not_tested(THROUGHPUT, reason, evidence=evidence)
    best = max(valid, key=lambda result: result["output_throughput"])
    measured = {"measured": round(best["output_throughput"], 1), "unit": "tokens/s", "evidence": evidence}
    speed = f"{best['output_throughput']:,.0f} tokens/s at {_load(best)} ({best['name']})"
    some_failed = [result for result in run if result["requests"]["failed"]]
    if some_failed:
        reason = _main_reason(some_failed)
        return warned(
            THROUGHPUT,
            f"{speed}; {_count_failed(some_failed)} requests failed: {REASONS[reason].summary}",
            cause=REASONS[reason].cause,
            remedy=REASONS[reason].remedy,
            **measured,
        )
    held_back = [result for result in run if _held_share(result) > HELD_SHARE]
    if held_back:
        return _held_back(held_back, speed, measured)
    unfinished = [result["name"] for result in run if not result["requests"]["completed"]]
    if unfinished:
        return warned(
            THROUGHPUT,
            f"{speed}; no request completed within the duration of {', '.join(unfinished)}",
            cause="The requests are longer than the step.",
            remedy="Give the step a longer duration, or ask for fewer output_tokens.",
            **measured,
        )
    return passed(THROUGHPUT, speed, **measured)


def _held_back(held_back: Sequence[Result], speed: str, measured: dict[str, t.Any]) -> Finding:
    worst = max(held_back, key=_held_share)
    lag = worst["schedule_lag"]
    late = f", up to {_ms(lag['p99'])} (p99)" if lag else ""
    unsent = f", and {worst['unsent']} were never sent" if worst["unsent"] else ""
    return warned(
        THROUGHPUT,
        f"{speed}; in {worst['name']} {worst['held']} requests had to wait for one of"
        f" {worst['concurrency']} streams{late}{unsent}",
        cause="Requests came faster than the server ended them, so that all streams were busy.",
        remedy="Lower the rate to what the server can serve, or raise concurrency so that requests wait in the server.",
        **measured,
    )


def judge_latency(check: str, key: str, name: str, run: Sequence[Result], limit: float | None) -> Finding:
    """The slowest step's 95th percentile, against ``limit`` seconds where one is given."""
    seen = [result for result in run if result[key] and not result["void"]]
    steps = {result["name"]: result[key] for result in seen if not gathered(result)}
    if seen and not steps:
        return not_tested(check, f"{name} cannot be told: {gathered(seen[0])}")
    if not steps:
        void = any(result["void"] for result in run)
        return not_tested(check, f"{name} was not measured" + (": the load client was too slow" if void else ""))
    slowest = max(steps, key=lambda step: steps[step]["p95"])
    value = steps[slowest]
    summary = f"{name} {_ms(value['p50'])} (p50), {_ms(value['p95'])} (p95), {_ms(value['p99'])} (p99) in {slowest}"
    details = {"measured": value["p95"], "unit": "s", "evidence": {"steps": steps}}
    if limit is None:
        return passed(check, summary, **details)
    details |= {"expected": limit, "source": f"option max_{key}, for p95"}
    if value["p95"] <= limit:
        return passed(check, summary, **details)
    return failed(
        check,
        f"{summary}, above the limit of {_ms(limit)}",
        cause="The server is slower than wanted at this load, or more requests wait than it can serve.",
        remedy="Compare the steps: where only the highest concurrency is slow, the server is full; lower the load.",
        **details,
    )


def gathered(result: Mapping[str, t.Any]) -> str | None:
    """Why the times of single tokens are not known; ``None`` where each came by itself, or in a few."""
    together = result.get("tokens_per_arrival") or 1.0
    if together <= GATHERED:
        return None
    return (
        f"{together:.0f} tokens came at a time, so something on the way gathers them: a proxy that buffers"
        " (nginx: proxy_buffering off), or --stream-interval"
    )


def judge_client(run: Sequence[Result]) -> Finding:
    cpu = max((result["client"]["cpu"] or 0.0 for result in run), default=0.0)
    lag = max((result["client"]["lag_p99"] or 0.0 for result in run), default=0.0)
    backlog = max((result["client"].get("backlog") or 0.0 for result in run), default=0.0)
    evidence = {"cpu": cpu, "lag_p99": lag, "backlog": backlog}
    details = {"measured": round(cpu, 3), "unit": "cores", "evidence": evidence}
    limited = [result for result in run if result["void"]]
    if not limited:
        summary = f"The load client kept up: {cpu:.0%} of one core, lag {_ms(lag)} (p99)"
        return passed("performance.client_limited", summary, **details)
    names = ", ".join(result["name"] for result in limited)
    client = limited[0]["client"]
    what = "The load hosts made no one load" if client.get("apart") else "The load client could not keep up"
    return warned(
        "performance.client_limited",
        f"{what} in {names}: {client['reason']}; these figures are void",
        **_more_client(client, max(1, len(limited[0].get("load_hosts") or ()))),
        **details,
    )


def _more_client(client: dict[str, t.Any], hosts: int) -> dict[str, str]:
    """What limits the load client, and what helps; ``hosts`` share its processes."""
    if client.get("apart"):
        return {
            "cause": "A load host was not ready at the common start, or the connection to one is too slow to read its"
            " clock by.",
            "remedy": "Run again when nothing else keeps the load hosts busy; start Ansible nearer to them; a longer"
            " step (role validate: validate_load_duration) forgives more.",
        }
    processes, free = -(-(client.get("processes") or 1) // hosts), client.get("free_cores")
    if free is not None and free >= 1.0:
        return {
            "cause": f"{_count(processes, 'process')} of the load client cannot make this load;"
            f" {free:.1f} processor cores of the load host are free.",
            "remedy": f"Set processes to {processes + int(free)} (role validate: validate_load_processes), or make the"
            " load from more than one host (validate_load_hosts).",
        }
    return {
        "cause": "The host that makes the load has too little free processor time for it.",
        "remedy": "Make the load from another host, or from more than one (role validate: validate_load_hosts); else"
        " stop other work on this host, or lower concurrency.",
    }


def judge_tokens(run: Sequence[Result]) -> Finding:
    check = "performance.token_reconciliation"
    ratios = {result["name"]: result["token_ratio"] for result in run if result["token_ratio"] is not None}
    if not ratios:
        reasons = dict.fromkeys(result["token_ratio_reason"] for result in run if result["token_ratio_reason"])
        return not_tested(check, "; ".join(reasons) or "no tokens came")
    worst = max(ratios, key=lambda step: abs(ratios[step] - 1.0))
    details = {
        "expected": 1.0,
        "measured": round(ratios[worst], 4),
        "unit": "server/client",
        "evidence": {"ratios": ratios, "tolerance": TOKEN_TOLERANCE},
    }
    if round(abs(ratios[worst] - 1.0), 6) <= TOKEN_TOLERANCE:
        return passed(check, f"Client and server count the same tokens (ratio {ratios[worst]:.3f})", **details)
    return failed(
        check,
        f"The server counts {ratios[worst]:.3f} tokens for each one that arrived ({worst})",
        cause="Tokens were lost on the way, or other clients use the server at the same time.",
        remedy="Probe vLLM directly, without a proxy, and with no other load on it.",
        **details,
    )


def _throughput_failed(bad: Sequence[Result], evidence: dict[str, t.Any]) -> Finding:
    total = sum(sum(result["requests"].values()) for result in bad)
    names = ", ".join(result["name"] for result in bad)
    if not _count_failed(bad):
        # Only a step that ended on time has requests that neither completed nor failed.
        reason, summary = "first_byte_timeout", f"No token came for any of {total} requests in {names}"
    else:
        reason = _main_reason(bad)
        summary = f"{_count_failed(bad)} of {total} requests failed in {names}: {REASONS[reason].summary}"
        detail = next((found for result in bad if (found := result["failure_details"].get(reason))), "")
        summary += f" ({detail})" if detail else ""
    return failed(
        THROUGHPUT,
        summary,
        expected=f"at most {FAILED_SHARE:.0%} failed",
        measured=f"{_count_failed(bad)} of {total} failed",
        unit="requests",
        evidence=evidence,
        cause=REASONS[reason].cause,
        remedy=REASONS[reason].remedy,
    )


def _say(failure: RequestFailed) -> str:
    summary = REASONS[failure.reason].summary
    # The operating system's words are often the same.
    return summary if failure.detail.lower() == summary else str(failure)


def _nothing_came(result: Result) -> bool:
    return not result["requests"]["completed"] and not result["tokens"]


def _load(result: Result) -> str:
    return f"{result['rate']:g} requests/s" if result.get("rate") else f"{result['concurrency']} streams"


def _held_share(result: Result) -> float:
    held = result.get("held") or 0
    return held / (sum(result["requests"].values()) + (result.get("unsent") or 0)) if held else 0.0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}es"


def _failed_share(result: Result) -> float:
    ended = result["requests"]["completed"] + result["requests"]["failed"]
    return result["requests"]["failed"] / ended if ended else 0.0


def _count_failed(results: Sequence[Result]) -> int:
    return sum(result["requests"]["failed"] for result in results)


def _main_reason(results: Sequence[Result]) -> str:
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(result["failures"])
    return counts.most_common(1)[0][0]


def _step_evidence(result: Result) -> dict[str, t.Any]:
    counts = ("name", "concurrency", "rate", "requests", "held", "failures")
    keys = (*counts, "output_throughput", "steady_throughput", "request_throughput", "void")
    return {key: result[key] for key in keys}


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
