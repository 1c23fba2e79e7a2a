# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.module_utils.load import load_findings as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.load.step_results import skipped_result
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed

LATENCY = {"mean": 0.2, "p50": 0.2, "p95": 0.3, "p99": 0.4}


def result(name: str = "a", completed: int = 100, failures: dict | None = None, **changes: object) -> dict:
    failures = failures or {}
    values = {
        "skipped": None,
        "requests": {"completed": completed, "failed": sum(failures.values()), "cancelled": 0},
        "failures": failures,
        "failure_details": dict.fromkeys(failures, "the detail"),
        "tokens": completed * 5,
        "output_throughput": 1234.5,
        "request_throughput": 10.0,
        "ttft": LATENCY,
        "itl": LATENCY,
        "token_ratio": 1.0,
        "client": {"cpu": 0.2, "lag_p99": 0.001, "limited": False, "reason": None},
        "attempts": 1,
    }
    return skipped_result(Step(name, 10, 5, 4, 100), "") | values | changes


def void(name: str = "v") -> dict:
    return result(name, void=True, client={"cpu": 0.97, "lag_p99": 0.1, "limited": True, "reason": "97 % of one core"})


def judged(*results: dict, **limits: float) -> dict:
    return {finding.check: finding for finding in subject.judge(results, **limits)}


def test_judge_healthy_load_passes_every_check():
    findings = judged(result(), result("b", output_throughput=2000.0))
    assert {finding.status for finding in findings.values()} == {Status.PASS}
    assert len(findings) == 5
    throughput = findings["performance.throughput"]
    assert (throughput.measured, throughput.unit) == (2000.0, "tokens/s")
    assert throughput.summary == "2,000 tokens/s at 4 streams (b)"


@pytest.mark.parametrize(
    ("queue", "text"),
    [
        ({"running": 8, "waiting": 24, "reasons": {"capacity": 24, "deferred": 0}}, " in b (24 for capacity)"),
        ({"running": 8, "waiting": 24, "reasons": {}}, " in b"),
        ({"running": 8, "waiting": 0, "reasons": {"capacity": 0}}, None),
        (None, None),
    ],
)
def test_judge_ttft_names_the_queue(queue, text):
    summary = judged(result(), result("b", queue=queue))["performance.ttft"].summary
    assert summary.partition("; ")[2] == (f"up to 24 requests waited in the server's queue{text}" if text else "")


@pytest.mark.parametrize(("corrupted", "status"), [(None, "pass"), (0, "pass"), (3, "fail")])
def test_judge_corrupted_requests_fail(corrupted, status):
    throughput = judged(result(), result("b", corrupted_requests=corrupted))["performance.throughput"]
    assert throughput.status == status
    assert (throughput.measured == 3) == ("3 corrupted requests in b" in throughput.summary) == bool(corrupted)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (result("dead", 0, {"connection_refused": 4}), "4 of 4 requests failed in dead: connection refused"),
        (result("half", 50, {"closed_early": 50}), "50 of 100 requests failed in half"),
        (result("just", 94, {"cut_short": 6}), "6 of 100 requests failed in just: output cut short"),
    ],
)
def test_judge_many_failed_requests_fail(bad, text):
    finding = judged(result(), bad)["performance.throughput"]
    assert finding.status is Status.FAIL
    assert text in finding.summary
    assert "the detail" in finding.summary
    assert finding.cause
    assert finding.remedy


def test_judge_few_failed_requests_warn():
    finding = judged(result(completed=96, failures={"rate_limited": 4}))["performance.throughput"]
    assert finding.status is Status.WARN
    assert "4 requests failed: rate limited" in finding.summary


def test_judge_step_without_any_token_fails():
    silent = result(
        completed=0, requests={"completed": 0, "failed": 0, "cancelled": 8}, tokens=0, output_throughput=None
    )
    finding = judged(silent)["performance.throughput"]
    assert finding.status is Status.FAIL
    assert "No token arrived for any of 8 requests" in finding.summary


def test_judge_requests_longer_than_the_step_warn():
    long = result(completed=0, requests={"completed": 0, "failed": 0, "cancelled": 8}, tokens=400)
    finding = judged(long)["performance.throughput"]
    assert finding.status is Status.WARN
    assert "no request completed within the duration of a" in finding.summary


def test_judge_limited_client_voids_only_its_step():
    findings = judged(void(), result("good", output_throughput=10.0))
    assert findings["performance.throughput"].measured == 10.0
    assert findings["performance.client_limited"].status is Status.WARN
    assert "was the bottleneck in v (1 attempt): 97 % of one core" in findings["performance.client_limited"].summary
    assert findings["performance.client_limited"].remedy


def test_judge_client_limited_again_and_again_returns_attempts():
    repeated = void() | {"attempts": 3, "discarded": ["95 % of one core", "96 % of one core"]}
    finding = judged(repeated, result("good"))["performance.client_limited"]
    assert finding.summary == (
        "The load client was the bottleneck in v (3 attempts): 97 % of one core; these measurements are void"
    )
    assert finding.evidence["discarded"] == [{"name": "v", "reasons": repeated["discarded"]}]


def test_judge_client_limited_once_passes_with_the_reason():
    late = "the load client was up to 62 ms late (p99), more than 50 ms"
    finding = judged(result("a", attempts=3, discarded=[late, late]), result("b"))["performance.client_limited"]
    assert finding.status is Status.PASS
    assert finding.summary == (
        f"The load client kept up: 20 % of one core, lag 1.0 ms (p99). Measured again: a (3 attempts; {late})"
    )


def test_judge_load_hosts_that_started_apart_warn():
    apart = void()
    apart["client"] |= {"apart": True, "reason": "the load hosts started v 2.0 s apart"}
    finding = judged(apart)["performance.client_limited"]
    assert finding.summary.startswith("The load hosts did not start v together: ")
    assert "not ready at the common start" in finding.cause


def test_judge_all_steps_void_is_not_tested():
    findings = judged(void())
    for check in ("performance.throughput", "performance.ttft", "performance.itl"):
        assert findings[check].status is Status.NOT_TESTED
        assert "too slow" in findings[check].summary


def test_judge_batched_tokens_have_no_latencies():
    findings = judged(result(tokens_per_arrival=16.0))
    for check in ("performance.ttft", "performance.itl"):
        assert findings[check].status is Status.NOT_TESTED
        assert "16 tokens arrived at a time" in findings[check].summary
    assert findings["performance.throughput"].status is Status.PASS
    findings = judged(result(tokens_per_arrival=16.0), result("b", tokens_per_arrival=3.4))
    assert findings["performance.ttft"].status is Status.PASS
    assert list(findings["performance.ttft"].evidence["steps"]) == ["b"]


def test_judge_server_without_usage_is_not_tested():
    findings = judged(result(output_throughput=None, itl=None))
    assert findings["performance.throughput"].status is Status.NOT_TESTED
    assert "usage" in findings["performance.throughput"].summary
    assert findings["performance.itl"].status is Status.NOT_TESTED
    assert findings["performance.ttft"].status is Status.PASS


@pytest.mark.parametrize(("limit", "status"), [(0.3, Status.PASS), (0.299, Status.FAIL)])
def test_judge_latency_limit_is_for_the_slowest_95th_percentile(limit, status):
    fast = result("fast", ttft={"mean": 0.1, "p50": 0.1, "p95": 0.1, "p99": 0.1})
    findings = judged(fast, result("slow"), max_ttft=limit)
    finding = findings["performance.ttft"]
    assert (finding.status, finding.expected, finding.measured) == (status, limit, 0.3)
    assert "in slow" in finding.summary
    assert findings["performance.itl"].expected is None


@pytest.mark.parametrize(("ratio", "status"), [(1.02, Status.PASS), (0.97, Status.FAIL), (1.5, Status.FAIL)])
def test_judge_token_ratio_outside_tolerance_fails(ratio, status):
    finding = judged(result(), result("b", token_ratio=ratio))["performance.token_reconciliation"]
    assert finding.status is status
    assert finding.measured == ratio


def test_judge_without_token_ratio_returns_the_reason():
    finding = judged(result(token_ratio=None, token_ratio_reason="no /metrics"))["performance.token_reconciliation"]
    assert (finding.status, finding.summary) == (Status.NOT_TESTED, "no /metrics")


def test_judge_skipped_steps_are_not_tested():
    findings = subject.judge([skipped_result(Step("long", 9000, 5, 1, 1), "too long")])
    assert {finding.status for finding in findings} == {Status.NOT_TESTED}
    assert "long: too long" in findings[0].summary


def test_unusable_server_fails_with_a_remedy():
    throughput, *others = subject.unusable(RequestFailed("unauthorized", "HTTP 401", 401))
    assert throughput.status is Status.FAIL
    assert throughput.remedy
    assert {finding.status for finding in others} == {Status.NOT_TESTED}


def test_unusable_summary_does_not_repeat_the_reason():
    refused = subject.unusable(RequestFailed("connection_refused", "Connection refused"))
    assert refused[0].summary == "The server cannot be used: connection refused"
    assert refused[0].evidence["problem"] == "connection refused"


def held(**changes: object) -> dict:
    lag = {"mean": 0.5, "p50": 0.5, "p95": 1.2, "p99": 1.5}
    return result("open", rate=12.5, held=40, unsent=3, schedule_lag=lag, **changes)


def test_judge_held_requests_warn():
    finding = judged(held())["performance.throughput"]
    assert finding.status is Status.WARN
    assert "at 12.5 requests/s" in finding.summary
    assert "40 requests had to wait for one of 4 streams, up to 1.50 s (p99), and 3 were never sent" in finding.summary


def test_judge_single_held_request_passes():
    assert judged(held() | {"held": 1, "unsent": 0})["performance.throughput"].status is Status.PASS


def test_judge_client_remedy_counts_processes_per_load_host():
    limited = void() | {"load_hosts": [{"host": "a"}, {"host": "b"}]}
    limited["client"] |= {"processes": 4, "free_cores": 3.4}
    assert "Set processes to 5" in judged(limited)["performance.client_limited"].remedy


@pytest.mark.parametrize(
    ("client", "text"),
    [
        ({"processes": 1, "free_cores": 3.4}, "Set processes to 4"),
        ({"processes": 2, "free_cores": 0.3}, "Generate the load from one or more other hosts"),
        ({}, "Generate the load from one or more other hosts"),
    ],
)
def test_judge_client_remedy_depends_on_free_cores(client, text):
    limited = void()
    limited["client"] |= client
    assert text in judged(limited)["performance.client_limited"].remedy
