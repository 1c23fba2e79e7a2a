# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several load hosts against one server."""

from __future__ import annotations

import json

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.load import load_findings
from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import Exchange
from ansible_collections.multigpu.vllm.plugins.module_utils.load.counters import Counters, TokenRatio
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
CLOCKS = [{"offset": 0.0, "uncertainty": 0.01, "time": 1000.0}, {"offset": 100.0, "uncertainty": 0.01, "time": 1000.1}]
#: A monotonic clock began here.
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
    result = step_result(step, [one], 500.0, TokenRatio(None), None)
    result["mergeable"] = encode(step, [one], before, after, BOOT)
    return result


def part(*results: dict, offset: float = 0.0, samples: dict | None = None) -> dict:
    """What the probe returns on a host whose clock is ``offset`` ahead."""
    returned = {
        "changed": False,
        "server": {"version": "0.32.0", "model": "m", "max_model_len": 100},
        "results": list(results),
        "gpu_samples": samples,
        "gpu_samples_reason": None if samples else "not asked for",
        "seed": 1,
        "origin": 998.0 + offset,
        "findings": [],
    }
    return json.loads(json.dumps(returned))


def plan() -> list[dict]:
    return subject.shares(["a", "b"], CLOCKS, lead=10.0)


def test_all_start_at_one_moment_by_their_own_clocks():
    shares = subject.shares(["a", "b"], [*CLOCKS, {"offset": -5.0, "uncertainty": 0.2, "time": 1000.2}], "node", 10.0)
    assert [share["host"] for share in shares] == ["a", "b", "node"]
    assert [share["start_at"] for share in shares] == pytest.approx([1010.2, 1110.2, 1005.2])
    assert [share["share"] for share in shares] == [{"index": index, "count": 2} for index in range(3)]
    assert [share["sample_gpus"] for share in shares] == [False, False, True]


def test_the_watcher_may_make_load_itself():
    shares = subject.shares(["a", "node"], CLOCKS, "node")
    assert [(share["host"], share["sample_gpus"]) for share in shares] == [("a", False), ("node", True)]
    assert shares[0]["start_at"] > 1000.1 + subject.LEAD


@pytest.mark.parametrize(
    ("clocks", "words"),
    [
        (CLOCKS[:1], "clock_offset of each of a, b"),
        ([*CLOCKS[:1], {"msg": "no route to host"}], "b: no route to host"),
        ([{}, *CLOCKS[1:]], "a: its clock is not known"),
    ],
)
def test_every_clock_must_be_known(clocks, words):
    with pytest.raises(ValueError, match=words):
        subject.shares(["a", "b"], clocks)


def test_two_hosts_are_one_load():
    merged = subject.merge(
        [
            part(measured(STEP, outcome(510.0, 10), (100.0, 190.0))),
            part(measured(STEP, outcome(610.05, 12, cpu=0.4), (102.0, 212.0)), offset=100.0),
        ],
        plan(),
    )
    (step,) = merged["results"]
    assert (step["name"], step["concurrency"], step["requests"]["completed"]) == ("sustained", 4, 22)
    assert step["tokens"] == 110
    # The counters nearest to the load: 212 - 102 tokens for 110 that came.
    assert step["token_ratio"] == 1.0
    assert step["output_throughput"] == pytest.approx(110 / 4.05, rel=0.01)
    assert (step["client"]["processes"], step["client"]["cpu"]) == (2, 0.4)
    assert not step["void"]
    assert step["started"] == pytest.approx(1010.0 - 998.0)
    assert step["ttft"]["p50"] == pytest.approx(0.2, rel=0.001)
    assert {finding["check"]: finding["status"] for finding in merged["findings"]}["performance.throughput"] == "pass"
    assert merged.keys() == part().keys()


def test_the_clock_is_that_of_the_host_whose_gpus_were_sampled():
    clocks = subject.shares(["a", "b"], [*CLOCKS, {"offset": 50.0, "uncertainty": 0.0, "time": 1000.0}], "node")
    watcher = part(skipped_result(STEP, NO_SHARE), offset=50.0, samples={"samples": []}) | {"origin": 1050.0 + 9.0}
    parts = [part(measured(STEP, outcome(510.0, 1))), part(measured(STEP, outcome(610.0, 1)), offset=100.0), watcher]
    merged = subject.merge(parts, clocks)
    assert (merged["gpu_samples"], merged["origin"]) == ({"samples": []}, 1009.0)
    assert merged["results"][0]["started"] == pytest.approx(1.0)


def test_a_step_of_one_host_stays_as_it_is():
    parts = [part(measured(SINGLE, outcome(510.0, 1))), part(skipped_result(SINGLE, NO_SHARE), offset=100.0)]
    (step,) = subject.merge(parts, plan())["results"]
    assert (step["skipped"], step["requests"]["completed"], step["void"]) == (None, 1, False)


def test_a_step_that_nobody_ran_says_why():
    parts = [part(skipped_result(STEP, NO_SHARE)), part(skipped_result(STEP, "it does not fit"), offset=100.0)]
    (step,) = subject.merge(parts, plan())["results"]
    assert step["skipped"] == "it does not fit"


def test_hosts_that_began_apart_made_no_one_load():
    parts = [part(measured(STEP, outcome(510.0, 1))), part(measured(STEP, outcome(612.0, 1)), offset=100.0)]
    merged = subject.merge(parts, plan())
    (step,) = merged["results"]
    assert step["void"]
    assert step["client"]["reason"] == "the load hosts began sustained 2.0 s apart, more than 0.25 s"
    told = next(item for item in merged["findings"] if item["check"] == "performance.client_limited")
    assert "common start" in told["cause"]
    assert "validate_load_processes" not in told["remedy"], "more processes begin no sooner"


def test_clocks_that_are_hardly_known_prove_nothing():
    unsure = [share | {"uncertainty": 0.5} for share in plan()]
    parts = [part(measured(STEP, outcome(510.0, 1))), part(measured(STEP, outcome(610.0, 1)), offset=100.0)]
    (step,) = subject.merge(parts, unsure)["results"]
    assert step["void"]
    assert "known to 1.00 s only" in step["client"]["reason"]


def test_repeats_are_joined_one_by_one():
    one = measured(STEP, outcome(510.0, 1))
    one["mergeable"] = encode(STEP, [outcome(510.0, 1), outcome(520.0, 1)], "no", "no", BOOT)
    merged = subject.merge([part(one), part(measured(STEP, outcome(510.0, 3)))])
    assert (merged["results"][0]["repeats"], merged["results"][0]["requests"]["completed"]) == (2, 5)


def test_a_host_that_failed_fails_the_whole():
    merged = subject.merge([part(measured(STEP, outcome(510.0, 1))), {"failed": True, "msg": "no route"}], plan())
    assert (merged["failed"], merged["msg"]) == (True, "load hosts: b: no route")


def test_a_host_that_was_lost_says_so_without_the_words_around_it():
    lost = {"unreachable": True, "msg": "Task failed: Failed to connect to the host via ssh: ssh: connection refused"}
    merged = subject.merge([part(measured(STEP, outcome(510.0, 1))), lost], plan())
    assert merged["msg"] == "load hosts: b cannot be reached: connection refused"


def refused(reason: str = "connection_refused") -> dict:
    return part() | {"findings": as_dicts(load_findings.unusable(RequestFailed(reason)))}


def test_a_server_that_no_host_can_use_is_the_servers_fault():
    merged = subject.merge([refused(), refused()], plan())
    assert (merged["results"], merged["findings"]) == ([], refused()["findings"])


def test_a_server_that_one_host_cannot_use_is_that_hosts_fault():
    merged = subject.merge([part(measured(STEP, outcome(510.0, 1))), refused()], plan())
    assert (merged["failed"], merged["msg"]) == (True, "load hosts: b cannot use the server: connection refused")
    assert "findings" not in merged, "the server answers others: nothing is known against it"


@pytest.mark.parametrize(
    ("reason", "theirs"), [("connection_refused", True), ("unreachable", True), ("first_byte_timeout", False)]
)
def test_where_the_node_alone_finds_its_server_it_depends_on_how_far_requests_came(reason: str, theirs: bool):
    clocks = subject.shares(["a", "b"], [*CLOCKS, CLOCKS[0]], "node")
    merged = subject.merge([refused(reason), refused(reason), part(skipped_result(STEP, NO_SHARE))], clocks)
    assert merged.get("failed", False) is theirs
    if theirs:
        assert merged["msg"].startswith("load hosts: a cannot use the server: ")
        assert "; b cannot use the server: " in merged["msg"]
    else:
        assert merged["findings"] == refused(reason)["findings"]


def test_every_host_says_what_it_made():
    merged = subject.merge([part(measured(STEP, outcome(510.0, 10))), part(measured(STEP, outcome(610.0, 12)))], plan())
    (step,) = merged["results"]
    assert [made["host"] for made in step["load_hosts"]] == ["a", "b"]
    for figure, whole in (("completed", step["requests"]["completed"]), ("tokens", step["tokens"])):
        assert sum(made[figure] for made in step["load_hosts"]) == whole


def test_a_host_that_was_too_slow_is_named_and_voids_the_whole():
    slow = measured(STEP, outcome(610.0, 1, busiest=0.97, cpu=0.97))
    merged = subject.merge([part(measured(STEP, outcome(510.0, 1))), part(slow, offset=100.0)], plan())
    (step,) = merged["results"]
    assert step["void"]
    assert step["client"]["reason"] == "b: the load client used 97% of one core"


def test_what_cannot_be_merged():
    plain = measured(STEP, outcome(510.0, 1)) | {"mergeable": None}
    with pytest.raises(ValueError, match="without mergeable"):
        subject.merge([part(plain)])
    with pytest.raises(ValueError, match="1 results of 2 load hosts"):
        subject.merge([part(plain)], plan())
