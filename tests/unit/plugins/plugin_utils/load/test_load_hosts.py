# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test loads that several load hosts send to one server."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.load import load_findings
from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import Exchange
from ansible_collections.multigpu.vllm.plugins.module_utils.load.counters import Counters
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome_codec import encode
from ansible_collections.multigpu.vllm.plugins.module_utils.load.step_results import (
    NO_SHARE,
    skipped_result,
    step_result,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.plugins.plugin_utils.load import load_hosts as subject

STEP = Step("sustained", 8, 5, 4, duration=4.0)
SINGLE = Step("single", 8, 5, 1, requests=1)
#: Start of the monotonic clock.
BOOT = 500.0


def outcome(started: float, requests: int, **figures: object) -> LoadOutcome:
    result = LoadOutcome(started=started, ended=started + 4.0, deadline=started + 4.0, **figures)
    result.timeline.origin = started
    for number in range(requests):
        exchange = Exchange(started + number / 10, 5)
        exchange.answer.arrivals.extend(exchange.sent + 0.2 + 0.02 * token for token in range(5))
        exchange.answer.counts, exchange.answer.tokens = [1] * 5, 5
        result.add(exchange)
    return result


def measured(step: Step, one: LoadOutcome, generated: tuple[float, float] = (100.0, 200.0)) -> dict:
    before, after = (Counters(tokens, None, 0.0, None, None) for tokens in generated)
    result = step_result(step, [one], 500.0, before, after)
    result["mergeable"] = encode(step, [one], before, after, BOOT)
    return result


def part(*results: dict, offset: float = 0.0, samples: dict | None = None) -> dict:
    """Return the result of the probe on a host whose clock is ``offset`` seconds ahead."""
    returned = {
        "changed": False,
        "server": {"version": "0.32.0", "model": "m", "max_model_len": 100},
        "results": list(results),
        "gpu_samples": samples,
        "gpu_samples_reason": None if samples else "not sampled",
        "seed": 1,
        "origin": 998.0 + offset,
        "findings": [],
    }
    return json.loads(json.dumps(returned))


def clock(host: str, offset: float = 0.0, uncertainty: float = 0.01, time: float = 1000.0) -> dict:
    return {"item": host, "offset": offset, "uncertainty": uncertainty, "time": time}


CLOCKS = [clock("a"), clock("b", 100.0, time=1000.1)]


def plan(hosts: Sequence[str] = ("a", "b"), clocks: Sequence[dict] = CLOCKS, node: str = "a") -> dict:
    return subject.plan(hosts, clocks, node, 10.0)


def watched(offset: float = 0.0) -> dict:
    """A plan in which a third host has the GPUs."""
    return plan(clocks=[*CLOCKS, clock("node", offset)], node="node")


def merge(parts: Sequence[dict], load_plan: dict | None = None) -> dict:
    """Merge results as the role registers them: every part is the result of a background job."""
    load_plan = load_plan or plan()
    jobs = [{"item": entry, "results_file": "/j"} for entry in load_plan["hosts"]]
    return subject.merge(load_plan, jobs, [{"item": job, **part} for job, part in zip(jobs, parts, strict=True)])


def test_plan_start_is_the_same_moment_on_every_clock():
    hosts = plan(clocks=[*CLOCKS, clock("node", -5.0, 0.2, 1000.2)], node="node")["hosts"]
    assert [entry["host"] for entry in hosts] == ["a", "b", "node"]
    assert [entry["start_at"] for entry in hosts] == pytest.approx([1010.2, 1110.2, 1005.2])
    assert [entry["share"] for entry in hosts] == [{"index": index, "count": 2} for index in range(3)]
    assert [entry["sample_gpus"] for entry in hosts] == [False, False, True]


def test_plan_takes_each_clock_by_its_host():
    assert plan(clocks=CLOCKS[::-1]) == plan()


def test_plan_node_may_be_a_load_host():
    hosts = subject.plan(["a", "b"], CLOCKS, "b")["hosts"]
    assert [(entry["host"], entry["sample_gpus"]) for entry in hosts] == [("a", False), ("b", True)]
    assert hosts[0]["start_at"] > 1000.1 + subject.LEAD


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ({"msg": "no route to host"}, "b: no route to host"),
        ({}, "b: its clock offset is unknown"),
        (
            {"unreachable": True, "msg": "Task failed: Failed to connect to the host via ssh: ssh: no route"},
            "b cannot be reached: no route",
        ),
    ],
)
def test_plan_with_an_unknown_clock_has_errors_and_no_hosts(result: dict, error: str):
    result = plan(clocks=[CLOCKS[0], {"item": "b", **result}])
    assert (result["hosts"], result["errors"]) == ([], [error])


def test_plan_without_a_clock_result_is_an_error():
    with pytest.raises(ValueError, match="result of clock_offset for each host, missing: b"):
        plan(clocks=CLOCKS[:1])


@pytest.mark.parametrize("node", ["a", "b"])
def test_merge_with_an_unknown_clock_fails_and_marks_the_node_if_unreachable(node: str):
    lost = {"item": "b", "unreachable": True, "msg": "no route"}
    merged = subject.merge(plan(clocks=[CLOCKS[0], lost], node=node), [], [])
    assert merged["msg"] == "load hosts: b cannot be reached: no route"
    assert merged["failed"]
    assert merged.get("unreachable", False) is (node == "b")


@pytest.mark.parametrize("host", ["a", "node"])
@pytest.mark.parametrize("started", [True, False])
def test_merge_is_unreachable_only_if_the_node_is(host: str, started: bool):
    load_plan = watched()
    jobs = [{"item": entry, "results_file": "/j"} for entry in load_plan["hosts"]]
    loads = [{"item": job, **part(skipped_result(STEP, NO_SHARE))} for job in jobs] if started else []
    for result in loads or jobs:
        entry = result["item"]["item"] if started else result["item"]
        if entry["host"] == host:
            result.pop("results", None)
            result.update(unreachable=True, msg="no route")
    merged = subject.merge(load_plan, jobs, loads)
    assert merged["failed"]
    assert merged.get("unreachable", False) is (host == "node")


def test_merge_with_a_job_that_did_not_start_names_the_host():
    load_plan = plan()
    jobs = [{"item": load_plan["hosts"][0], "results_file": "/j"}, {"item": load_plan["hosts"][1], "msg": "no Python"}]
    merged = subject.merge(load_plan, jobs, [{"item": jobs[0], **part(measured(STEP, outcome(510.0, 1)))}])
    assert merged["msg"] == "load hosts: b: no Python"


def test_merge_keeps_the_queue_that_a_host_read():
    queue = {"running": 8, "waiting": 4, "reasons": {"capacity": 4}, "readings": 2}
    silent, reading = (measured(STEP, outcome(started, 10)) for started in (510.0, 610.0))
    merged = merge([part(silent), part(reading | {"queue": queue}, offset=100.0)])
    assert merged["results"][0]["queue"] == queue


def test_merge_of_two_hosts_adds_up_their_load():
    merged = merge(
        [
            part(measured(STEP, outcome(510.0, 10), (100.0, 190.0))),
            part(measured(STEP, outcome(610.05, 12, cpu=0.4), (102.0, 212.0)), offset=100.0),
        ]
    )
    (step,) = merged["results"]
    assert (step["name"], step["concurrency"], step["requests"]["completed"]) == ("sustained", 4, 22)
    assert step["tokens"] == 110
    # The counters closest to the load: 212 - 102 tokens for 110 that arrived.
    assert step["token_ratio"] == 1.0
    assert step["output_throughput"] == pytest.approx(110 / 4.05, rel=0.01)
    assert (step["client"]["processes"], step["client"]["cpu"]) == (2, 0.4)
    assert not step["void"]
    assert step["started"] == pytest.approx(1010.0 - 998.0)
    assert step["ttft"]["p50"] == pytest.approx(0.2, rel=0.001)
    assert {finding["check"]: finding["status"] for finding in merged["findings"]}["performance.throughput"] == "pass"
    assert merged.keys() == part().keys()


def test_merge_origin_is_from_the_host_with_gpu_samples():
    watcher = part(skipped_result(STEP, NO_SHARE), offset=50.0, samples={"samples": []}) | {"origin": 1050.0 + 9.0}
    parts = [part(measured(STEP, outcome(510.0, 1))), part(measured(STEP, outcome(610.0, 1)), offset=100.0), watcher]
    merged = merge(parts, watched(50.0))
    assert (merged["gpu_samples"], merged["origin"]) == ({"samples": []}, 1009.0)
    assert merged["results"][0]["started"] == pytest.approx(1.0)


def test_merge_of_a_single_host_step_keeps_it():
    parts = [part(measured(SINGLE, outcome(510.0, 1))), part(skipped_result(SINGLE, NO_SHARE), offset=100.0)]
    (step,) = merge(parts)["results"]
    assert (step["skipped"], step["requests"]["completed"], step["void"]) == (None, 1, False)


def test_merge_of_a_skipped_step_keeps_the_reason():
    parts = [part(skipped_result(STEP, NO_SHARE)), part(skipped_result(STEP, "it does not fit"), offset=100.0)]
    (step,) = merge(parts)["results"]
    assert step["skipped"] == "it does not fit"


def test_merge_of_a_step_that_one_host_did_not_end_is_skipped():
    late = skipped_result(STEP, "the load test reached its time limit of 9 s")
    merged = merge([part(measured(STEP, outcome(510.0, 1))), part(late, offset=100.0)])
    assert merged["results"][0]["skipped"] == late["skipped"]
    assert merged["findings"][0]["status"] == "not_tested"


def test_merge_with_different_start_times_is_void():
    parts = [part(measured(STEP, outcome(510.0, 1))), part(measured(STEP, outcome(612.0, 1)), offset=100.0)]
    merged = merge(parts)
    (step,) = merged["results"]
    assert step["void"]
    assert step["client"]["reason"] == "the load hosts started sustained 2.0 s apart, more than 0.25 s"
    finding = next(item for item in merged["findings"] if item["check"] == "performance.client_limited")
    assert "common start" in finding["cause"]
    assert "validate_load_processes" not in finding["remedy"], "more processes do not start sooner"


def test_merge_with_uncertain_clocks_is_void():
    uncertain = plan(clocks=[entry | {"uncertainty": 0.5} for entry in CLOCKS])
    parts = [part(measured(STEP, outcome(510.0, 1))), part(measured(STEP, outcome(610.0, 1)), offset=100.0)]
    (step,) = merge(parts, uncertain)["results"]
    assert step["void"]
    assert "known only to within 1.00 s" in step["client"]["reason"]


def test_merge_joins_repeats_by_position():
    one = measured(STEP, outcome(510.0, 1))
    one["mergeable"] = encode(STEP, [outcome(510.0, 1), outcome(520.0, 1)], "no", "no", BOOT)
    merged = merge([part(one), part(measured(STEP, outcome(610.0, 3)), offset=100.0)])
    assert (merged["results"][0]["repeats"], merged["results"][0]["requests"]["completed"]) == (2, 5)


def test_merge_with_a_failed_host_fails():
    merged = merge([part(measured(STEP, outcome(510.0, 1))), {"failed": True, "msg": "no route"}])
    assert (merged["failed"], merged["msg"]) == (True, "load hosts: b: no route")


def test_merge_with_an_unreachable_host_names_it():
    lost = {"unreachable": True, "msg": "Task failed: Failed to connect to the host via ssh: ssh: connection refused"}
    merged = merge([part(measured(STEP, outcome(510.0, 1))), lost])
    assert merged["msg"] == "load hosts: b cannot be reached: connection refused"


def refused(reason: str = "connection_refused") -> dict:
    return part() | {"findings": as_dicts(load_findings.unusable(RequestFailed(reason)))}


def test_merge_if_no_host_can_use_the_server_keeps_the_findings():
    merged = merge([refused(), refused()])
    assert (merged["results"], merged["findings"]) == ([], refused()["findings"])


def test_merge_if_one_host_cannot_use_the_server_fails():
    merged = merge([part(measured(STEP, outcome(510.0, 1))), refused()])
    assert (merged["failed"], merged["msg"]) == (True, "load hosts: b cannot use the server: connection refused")
    assert "findings" not in merged, "the server responds to others"


@pytest.mark.parametrize(
    ("reason", "hosts_at_fault"), [("connection_refused", True), ("unreachable", True), ("first_byte_timeout", False)]
)
def test_merge_if_only_the_node_can_use_the_server_depends_on_the_reason(reason: str, hosts_at_fault: bool):
    merged = merge([refused(reason), refused(reason), part(skipped_result(STEP, NO_SHARE))], watched())
    assert merged.get("failed", False) is hosts_at_fault
    if hosts_at_fault:
        assert merged["msg"].startswith("load hosts: a cannot use the server: ")
        assert "; b cannot use the server: " in merged["msg"]
    else:
        assert merged["findings"] == refused(reason)["findings"]


def test_merge_lists_the_contribution_of_every_host():
    merged = merge([part(measured(STEP, outcome(510.0, 10))), part(measured(STEP, outcome(610.0, 12)))])
    (step,) = merged["results"]
    assert [part["host"] for part in step["load_hosts"]] == ["a", "b"]
    for figure, whole in (("completed", step["requests"]["completed"]), ("tokens", step["tokens"])):
        assert sum(part[figure] for part in step["load_hosts"]) == whole


def test_merge_with_a_slow_host_names_it_and_is_void():
    slow = measured(STEP, outcome(610.0, 1, busiest=0.97, cpu=0.97))
    merged = merge([part(measured(STEP, outcome(510.0, 1))), part(slow, offset=100.0)])
    (step,) = merged["results"]
    assert step["void"]
    assert step["client"]["reason"] == "b: the load client used 97 % of one core"


def test_merge_of_results_without_mergeable_fails():
    plain = measured(STEP, outcome(510.0, 1)) | {"mergeable": None}
    result = merge([part(plain), part(plain)])
    assert result["failed"]
    assert "without mergeable" in result["msg"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"results": 7}, "b: invalid result of throughput_probe: results must be a list, got 7"),
        ({"origin": float("nan")}, "b: invalid result of throughput_probe: origin must be 0 or a number"),
        ({"gpu_samples": []}, "b: invalid result of throughput_probe: gpu_samples must be a dictionary, got a list"),
    ],
)
def test_merge_of_an_invalid_result_fails_with_host_and_value(change: dict, reason: str):
    step = measured(STEP, outcome(510.0, 1))
    result = merge([part(step), part(step) | change])
    assert result["failed"]
    assert reason in result["msg"]


@pytest.mark.parametrize(
    "encoded", [{"step": {}}, {"step": {"targets": 1}}, {"step": {"targets": None}, "outcomes": [1]}]
)
def test_merge_of_an_unreadable_measurement_fails(encoded: dict):
    step = measured(STEP, outcome(510.0, 1))
    result = merge([part(step), part(step | {"mergeable": encoded})])
    assert result["failed"]
    assert "cannot be merged" in result["msg"]
