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
    figures = {
        "skipped": None,
        "requests": {"completed": completed, "failed": sum(failures.values()), "cancelled": 0},
        "failures": failures,
        "failure_details": dict.fromkeys(failures, "what the server said"),
        "tokens": completed * 5,
        "output_throughput": 1234.5,
        "request_throughput": 10.0,
        "ttft": LATENCY,
        "itl": LATENCY,
        "token_ratio": 1.0,
        "client": {"cpu": 0.2, "lag_p99": 0.001, "limited": False, "reason": None},
    }
    return skipped_result(Step(name, 10, 5, 4, 100), "") | figures | changes


def void(name: str = "v") -> dict:
    return result(name, void=True, client={"cpu": 0.97, "lag_p99": 0.1, "limited": True, "reason": "97% of one core"})


def judged(*results: dict, **limits: float) -> dict:
    return {finding.check: finding for finding in subject.judge(results, **limits)}


def test_a_healthy_load_passes_everywhere():
    findings = judged(result(), result("b", output_throughput=2000.0))
    assert {finding.status for finding in findings.values()} == {Status.PASS}
    assert len(findings) == 5
    throughput = findings["performance.throughput"]
    assert (throughput.measured, throughput.unit) == (2000.0, "tokens/s")
    assert throughput.summary == "2,000 tokens/s at 4 streams (b)"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (result("dead", 0, {"connection_refused": 4}), "4 of 4 requests failed in dead: connection refused"),
        (result("half", 50, {"closed_early": 50}), "50 of 100 requests failed in half"),
        (result("just", 94, {"cut_short": 6}), "6 of 100 requests failed in just: output cut short"),
    ],
)
def test_failed_requests_fail_the_check(bad, words):
    finding = judged(result(), bad)["performance.throughput"]
    assert finding.status is Status.FAIL
    assert words in finding.summary
    assert "what the server said" in finding.summary
    assert finding.cause
    assert finding.remedy


def test_a_few_failed_requests_are_a_warning():
    finding = judged(result(completed=96, failures={"rate_limited": 4}))["performance.throughput"]
    assert finding.status is Status.WARN
    assert "4 requests failed: rate limited" in finding.summary


def test_a_step_in_which_no_token_came_fails():
    silent = result(
        completed=0, requests={"completed": 0, "failed": 0, "cancelled": 8}, tokens=0, output_throughput=None
    )
    finding = judged(silent)["performance.throughput"]
    assert finding.status is Status.FAIL
    assert "No token came for any of 8 requests" in finding.summary


def test_requests_longer_than_the_step_are_a_warning():
    long = result(completed=0, requests={"completed": 0, "failed": 0, "cancelled": 8}, tokens=400)
    finding = judged(long)["performance.throughput"]
    assert finding.status is Status.WARN
    assert "no request completed within the duration of a" in finding.summary


def test_a_client_that_was_the_limit_voids_its_step_only():
    findings = judged(void(), result("good", output_throughput=10.0))
    assert findings["performance.throughput"].measured == 10.0
    assert findings["performance.client_limited"].status is Status.WARN
    assert "could not keep up in v" in findings["performance.client_limited"].summary
    assert findings["performance.client_limited"].remedy


def test_where_all_is_void_nothing_was_tested():
    findings = judged(void())
    for check in ("performance.throughput", "performance.ttft", "performance.itl"):
        assert findings[check].status is Status.NOT_TESTED
        assert "too slow" in findings[check].summary


def test_tokens_that_something_gathered_have_no_times_of_their_own():
    findings = judged(result(tokens_per_arrival=16.0))
    for check in ("performance.ttft", "performance.itl"):
        assert findings[check].status is Status.NOT_TESTED
        assert "16 tokens came at a time" in findings[check].summary
    assert findings["performance.throughput"].status is Status.PASS
    findings = judged(result(tokens_per_arrival=16.0), result("b", tokens_per_arrival=3.4))
    assert findings["performance.ttft"].status is Status.PASS
    assert list(findings["performance.ttft"].evidence["steps"]) == ["b"]


def test_a_server_without_usage_is_not_tested():
    findings = judged(result(output_throughput=None, itl=None))
    assert findings["performance.throughput"].status is Status.NOT_TESTED
    assert "usage" in findings["performance.throughput"].summary
    assert findings["performance.itl"].status is Status.NOT_TESTED
    assert findings["performance.ttft"].status is Status.PASS


@pytest.mark.parametrize(("limit", "status"), [(0.3, Status.PASS), (0.299, Status.FAIL)])
def test_limits_are_for_the_slowest_95th_percentile(limit, status):
    fast = result("fast", ttft={"mean": 0.1, "p50": 0.1, "p95": 0.1, "p99": 0.1})
    findings = judged(fast, result("slow"), max_ttft=limit)
    finding = findings["performance.ttft"]
    assert (finding.status, finding.expected, finding.measured) == (status, limit, 0.3)
    assert "in slow" in finding.summary
    assert findings["performance.itl"].expected is None


@pytest.mark.parametrize(("ratio", "status"), [(1.02, Status.PASS), (0.97, Status.FAIL), (1.5, Status.FAIL)])
def test_token_reconciliation(ratio, status):
    finding = judged(result(), result("b", token_ratio=ratio))["performance.token_reconciliation"]
    assert finding.status is status
    assert finding.measured == ratio


def test_token_reconciliation_without_a_ratio_says_why():
    finding = judged(result(token_ratio=None, token_ratio_reason="no /metrics"))["performance.token_reconciliation"]
    assert (finding.status, finding.summary) == (Status.NOT_TESTED, "no /metrics")


def test_skipped_steps_are_not_judged():
    findings = subject.judge([skipped_result(Step("long", 9000, 5, 1, 1), "too long")])
    assert {finding.status for finding in findings} == {Status.NOT_TESTED}
    assert "long: too long" in findings[0].summary


def test_an_unusable_server():
    throughput, *others = subject.unusable(RequestFailed("unauthorized", "HTTP 401", 401))
    assert throughput.status is Status.FAIL
    assert throughput.remedy
    assert {finding.status for finding in others} == {Status.NOT_TESTED}


def test_a_reason_is_not_said_twice():
    refused = subject.unusable(RequestFailed("connection_refused", "Connection refused"))
    assert refused[0].summary == "The server cannot be used: connection refused"


def held(**changes: object) -> dict:
    lag = {"mean": 0.5, "p50": 0.5, "p95": 1.2, "p99": 1.5}
    return result("open", rate=12.5, held=40, unsent=3, schedule_lag=lag, **changes)


def test_requests_that_waited_for_a_stream_are_told():
    finding = judged(held())["performance.throughput"]
    assert finding.status is Status.WARN
    assert "at 12.5 requests/s" in finding.summary
    assert "40 requests had to wait for one of 4 streams, up to 1.50 s (p99), and 3 were never sent" in finding.summary


def test_one_request_that_waited_is_chance():
    assert judged(held() | {"held": 1, "unsent": 0})["performance.throughput"].status is Status.PASS


def test_the_processes_to_set_are_those_of_each_load_host():
    limited = void() | {"load_hosts": [{"host": "a"}, {"host": "b"}]}
    limited["client"] |= {"processes": 4, "free_cores": 3.4}
    assert "Set processes to 5" in judged(limited)["performance.client_limited"].remedy


@pytest.mark.parametrize(
    ("client", "words"),
    [
        ({"processes": 1, "free_cores": 3.4}, "Set processes to 4"),
        ({"processes": 2, "free_cores": 0.3}, "Make the load from another host"),
        ({}, "Make the load from another host"),
    ],
)
def test_what_helps_a_client_that_is_too_slow(client, words):
    limited = void()
    limited["client"] |= client
    assert words in judged(limited)["performance.client_limited"].remedy
