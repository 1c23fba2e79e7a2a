# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import socket
import time

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.load import counters
from ansible_collections.multigpu.vllm.plugins.module_utils.load import probe as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.progress import LoadProgress
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import InvalidLoad
from ansible_collections.multigpu.vllm.tests.support.scripted_server import (
    HANG,
    STREAM_END,
    STREAM_HEAD,
    ScriptedServer,
    error,
    event,
    good_stream,
    piece,
    whole,
)

PARAMS = {
    "base_url": "http://127.0.0.1:8000",
    "api_key": None,
    "ca_path": None,
    "validate_certs": True,
    "timeout": 20.0,
    "model": None,
    "endpoint": "completions",
    "steps": [{"prompt_tokens": 16, "output_tokens": 5, "concurrency": 2, "requests": 6}],
    "warmup_requests": 2,
    "seed": 7,
    "sample_gpus": True,
    "sample_interval": 0.1,
    "drain_timeout": 0.2,
    "reuse_connections": True,
    "processes": 1,
    "client_limited_retries": 2,
    "share": None,
    "start_at": None,
    "mergeable": False,
    "max_ttft": None,
    "max_itl": None,
    "max_duration": None,
    "targets": None,
}
STEP = PARAMS["steps"][0]
SAMPLES = {"samples": [], "summary": [], "sample_rate": 10.0, "synchronisation": {}}


class FakeSampler:
    origin: float | None = None
    stopped = False

    def start(self, origin: float) -> None:
        self.origin = origin

    def stop(self) -> dict:
        self.stopped = True
        return SAMPLES


class Driver(subject.ProbeDriver):
    """The real server side, without GPUs, whose load client is busy in the first ``limited`` runs of a step.

    How busy the client really is depends on the machine that runs the tests, so these values are fixed.
    """

    def __init__(self, limited: int = 0) -> None:
        super().__init__()
        self.fake = FakeSampler()
        self.limited = limited
        self.attempts: list[int] = []
        self.starts: list[float] = []

    def sampler(self, options: subject.ProbeOptions) -> FakeSampler:
        return self.fake

    def run(self, setup, options, seed, start_at, attempt) -> LoadOutcome:
        outcome = super().run(setup, options, seed, 0.0 if self.starts_at_once else start_at, attempt)
        outcome.busiest, outcome.lag_p99, outcome.backlog = 0.1, 0.001, 0.0
        if setup.step in options.own_steps:
            self.attempts.append(attempt)
            self.starts.append(start_at + subject.time.time() - subject.time.monotonic())
            if len(self.attempts) <= self.limited:
                outcome.busiest = 0.9 + len(self.attempts) / 100
                outcome.ended = outcome.started + 1.0
        return outcome

    starts_at_once = False


def options(**changes: object) -> subject.ProbeOptions:
    return subject.ProbeOptions.from_params(PARAMS | changes)


class Healthy:
    """A server that completes every request and counts what it sends."""

    def __init__(self, extra: int = 0) -> None:
        self.tokens = self.requests = 0
        self.extra = extra

    def __call__(self, body: dict, _number: int) -> list:
        wanted = body["max_tokens"]
        self.tokens += wanted + self.extra
        self.requests += 1
        words = body["prompt"] if "prompt" in body else body["messages"][0]["content"]
        size = len(words) if isinstance(words, list) else 10 + len(words.split())
        return [good_stream(wanted, size)]

    def metrics(self, _body: dict) -> bytes:
        lines = {
            "vllm:generation_tokens_total": self.tokens,
            "vllm:num_requests_running": 0,
            "vllm:request_success_total": self.requests,
            "vllm:prefix_cache_queries_total": 10 * self.requests,
            "vllm:prefix_cache_hits_total": 0,
        }
        return whole("200 OK", "".join(f"{name} {value}\n" for name, value in lines.items()).encode(), "text/plain")


def serve(answer: Healthy | None = None, **control: object) -> ScriptedServer:
    answer = answer or Healthy()
    metrics = {"/metrics": answer.metrics} if isinstance(answer, Healthy) else {}
    return ScriptedServer(answer, metrics | {f"/{k}": v for k, v in control.items()})


def run(server: ScriptedServer, driver: Driver | None = None, **changes: object) -> dict:
    return subject.probe(options(base_url=server.url, **changes), driver or Driver())


def statuses(result: dict) -> dict[str, str]:
    return {finding["check"].removeprefix("performance."): finding["status"] for finding in result["findings"]}


def finding(result: dict, check: str) -> dict:
    return next(item for item in result["findings"] if item["check"] == f"performance.{check}")


def test_probe_of_a_healthy_server_measures_and_passes():
    driver = Driver()
    with serve() as server:
        result = run(server, driver)
    assert result["server"] == {"engine": None, "version": "0.32.0", "model": "tiny", "max_model_len": 2048}
    (step,) = result["results"]
    assert step["requests"] == {"completed": 6, "failed": 0, "cancelled": 0}
    assert (step["prompt_tokens"], step["output_tokens"], step["tokens"]) == (16, 5, 30)
    assert (step["token_ratio"], step["prefix_cache_hits"]) == (1.0, 0.0)
    assert step["output_throughput"] > 0
    assert (result["gpu_samples"], result["gpu_samples_reason"]) == (SAMPLES, None)
    assert driver.fake.stopped
    assert step["started"] >= 0
    assert statuses(result)["throughput"] == "pass"
    assert statuses(result)["token_reconciliation"] == "pass"
    # Two warm-up and six measured requests; all different, all as token ids.
    assert len(server.requests) == 8
    assert len({tuple(request["prompt"]) for request in server.requests}) == 8


def test_probe_of_a_sleeping_engine_fails_with_its_remedy_and_sends_nothing():
    with serve(is_sleeping=whole("200 OK", b'{"is_sleeping":true}')) as server:
        result = run(server)
    assert (finding(result, "throughput")["status"], server.requests) == ("fail", [])
    assert "POST /wake_up" in finding(result, "throughput")["remedy"]
    assert result["server"]["version"] == "0.32.0"


EMBEDDINGS_ONLY = {
    # FastAPI's responses to GET for an endpoint that only accepts POST, and for none.
    "v1/embeddings": whole("405 Method Not Allowed", b'{"detail":"Method Not Allowed"}'),
    "pooling": whole("405 Method Not Allowed", b'{"detail":"Method Not Allowed"}'),
}


@pytest.mark.parametrize(
    ("answer", "control", "words"),
    [
        # vLLM 0.26: register_generate_api_routers is only called for models that generate text.
        (whole("404 Not Found", b'{"detail":"Not Found"}'), EMBEDDINGS_ONLY, "it serves embeddings, pooling"),
        # vLLM 0.7.3, from an issue of a user, and the exception handler of 0.26.
        (
            whole(
                "400 Bad Request",
                b'{"object":"error","message":"The model does not support Completions API",'
                b'"type":"BadRequestError","param":null,"code":400}',
            ),
            {},
            "The model does not support Completions API",
        ),
        (error("501 Not Implemented", "The model does not support Completions API"), {}, "does not support"),
    ],
)
def test_probe_of_a_server_without_generation_is_not_tested(answer, control, words):
    with serve(lambda _body, _number: [answer], **control) as server:
        result = run(server)
    assert set(statuses(result).values()) == {"not_tested"}
    assert words in finding(result, "throughput")["summary"]


def test_probe_of_a_path_without_vllm_is_no_server_without_generation():
    with serve(lambda _body, _number: [whole("404 Not Found", b'{"detail":"Not Found"}')]) as server:
        assert finding(run(server), "throughput")["measured"] == "not_found"


@pytest.mark.parametrize(("control", "started"), [({}, True), ({"metrics": error("404 Not Found", "none")}, False)])
def test_probe_reads_the_queue_during_a_step_if_there_are_metrics(monkeypatch, control, started):
    calls = []

    class Queue:
        def __init__(self, _api: object) -> None:
            pass

        def start(self) -> None:
            calls.append("start")

        def stop(self) -> dict | None:
            calls.append("stop")
            return {"waiting": 3, "reasons": {}} if "start" in calls else None

    monkeypatch.setattr(subject, "QueueSampler", Queue)
    with serve(**control) as server:
        (step,) = run(server)["results"]
    assert calls == (["start", "stop"] if started else ["stop"])
    assert step["queue"] == ({"waiting": 3, "reasons": {}} if started else None)


def test_probe_with_several_processes_sends_different_prompts():
    with serve() as server:
        result = run(server, processes=2)
    (step,) = result["results"]
    assert (step["requests"]["completed"], step["client"]["processes"]) == (6, 2)
    # The two warm-up requests, from one process, are different too.
    assert len({tuple(request["prompt"]) for request in server.requests}) == 8


def test_probe_with_a_rate_reports_schedule_lag():
    with serve() as server:
        result = run(server, steps=[STEP | {"rate": 100.0, "arrivals": "constant"}])
    (step,) = result["results"]
    assert (step["name"], step["rate"], step["arrivals"]) == ("16x5@100/s", 100.0, "constant")
    assert step["requests"]["completed"] == 6
    assert step["schedule_lag"]["p99"] >= 0.0
    assert step["ttft_sent"]["p50"] <= step["ttft"]["p50"]


class ImmediateDriver(Driver):
    """A driver that records when each run of a step was to start, and starts it at once."""

    starts_at_once = True


@pytest.fixture
def sleeps(monkeypatch) -> list[tuple[float | None, float]]:
    """Do not sleep, but record each wait: the wall-clock time to wait for, and how many seconds earlier it ends."""
    waits: list[tuple[float | None, float]] = []
    sleep = staticmethod(lambda wall, ahead=0.0: waits.append((wall, ahead)))
    monkeypatch.setattr(subject.Probe, "_sleep_until", sleep)
    return waits


def test_probe_of_a_load_host_runs_its_share_at_the_common_start(sleeps):
    driver, start = ImmediateDriver(), subject.time.time() + 100.0
    steps = [STEP | {"concurrency": 3}, STEP | {"name": "single", "concurrency": 1}]
    with serve() as server:
        result = run(server, driver, share={"index": 1, "count": 2}, start_at=start, mergeable=True, steps=steps)
    shared, single = result["results"]
    assert (shared["concurrency"], shared["requests"]["completed"], shared["skipped"]) == (1, 3, None)
    assert driver.starts == pytest.approx([start], abs=0.001)
    assert (start, subject._AHEAD) in sleeps
    assert shared["mergeable"]["step"]["concurrency"] == 3
    assert shared["mergeable"]["outcomes"][0]["started"] == pytest.approx(
        result["origin"] + shared["started"], abs=0.001
    )
    assert (single["skipped"], single["mergeable"]) == (subject.NO_SHARE, None)


def test_probe_with_start_at_waits_for_it():
    start = subject.time.time() + 0.05
    with serve() as server:
        result = run(server, start_at=start)
    assert result["origin"] + result["results"][0]["started"] >= start - 0.001


def test_probe_of_load_hosts_with_one_seed_sends_different_prompts():
    sent = []
    for index in range(2):
        with serve() as server:
            run(server, share={"index": index, "count": 2})
        sent += [tuple(request["prompt"]) for request in server.requests]
    assert len(set(sent)) == len(sent) > 6


def test_probe_without_a_share_samples_gpus_while_others_load(sleeps):
    driver, start = Driver(), subject.time.time() + 100.0
    steps = [STEP | {"requests": None, "duration": 30.0}]
    with serve() as server:
        result = run(server, driver, share={"index": 2, "count": 2}, start_at=start, steps=steps)
    assert result["results"][0]["skipped"] == subject.NO_SHARE
    assert (result["gpu_samples"], server.requests) == (SAMPLES, [])
    assert sleeps[-1] == (start + 30.0, 0.0)


def test_probe_steps_after_a_common_start_have_fixed_times(sleeps):
    driver, start = ImmediateDriver(), subject.time.time() + 100.0
    steps = [STEP | {"requests": None, "duration": 0.1, "repeats": 2}, STEP]
    with serve() as server:
        run(server, driver, start_at=start, steps=steps, drain_timeout=0.5)
    slot = 0.1 + 0.5 + subject._BETWEEN
    assert driver.starts == pytest.approx([start, start + slot, start + 2 * slot], abs=0.001)


def test_probe_with_targets_returns_goodput():
    with serve() as server:
        result = run(server, targets={"ttft": 30.0, "itl": None})
    (step,) = result["results"]
    assert step["within_targets"] == 6
    assert step["goodput"] == step["request_throughput"]


def test_probe_requests_ask_for_exact_repeatable_answers():
    with serve() as server:
        run(server)
    request = server.requests[-1]
    assert (request["ignore_eos"], request["temperature"], request["max_tokens"]) == (True, 0, 5)
    assert request["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


@pytest.mark.parametrize("tokenizer", [None, error("404 Not Found", "no")])
def test_probe_of_chat_sizes_prompts_by_the_server_count(tokenizer):
    control = {"tokenize": tokenizer} if tokenizer else {}
    with serve(**control) as server:
        result = run(server, endpoint="chat")
    assert result["results"][0]["prompt_tokens"] == 16
    assert all(request["messages"][0]["role"] == "user" for request in server.requests)


def test_probe_without_tokenizer_sizes_prompts_by_usage():
    with serve(tokenize=whole("404 Not Found", b'{"detail":"Not Found"}')) as server:
        result = run(server)
    assert result["results"][0]["prompt_tokens"] == 16
    assert isinstance(server.requests[-1]["prompt"], str)


def test_probe_prompt_below_chat_template_is_refused_before_load():
    with serve() as server, pytest.raises(InvalidLoad, match="prompt_tokens must be 11 or more"):
        run(server, endpoint="chat", steps=[STEP | {"prompt_tokens": 5}])
    assert {request["max_tokens"] for request in server.requests} == {1}


def test_probe_sizes_a_prompt_length_once_for_all_its_steps():
    sizings = []
    for steps in ([STEP], [STEP] * 3):
        with serve() as server:
            run(server, endpoint="chat", steps=steps)
        sizings.append(sum(request["max_tokens"] == 1 for request in server.requests))
    assert sizings[0] == sizings[1] > 0


def test_probe_retries_without_continuous_usage_if_refused():
    def answer(body: dict, _number: int) -> list:
        if "continuous_usage_stats" in body["stream_options"]:
            return [error("400 Bad Request", "unknown field continuous_usage_stats")]
        return [good_stream(body["max_tokens"])]

    with ScriptedServer(answer) as server:
        result = run(server)
    assert result["results"][0]["requests"]["completed"] == 6


def test_probe_without_metrics_returns_no_ratio_and_the_reason():
    with ScriptedServer(Healthy()) as server:
        result = run(server)
    step = result["results"][0]
    assert (step["token_ratio"], step["token_ratio_reason"]) == (None, "the server has no /metrics")
    assert statuses(result)["token_reconciliation"] == "not_tested"


def test_probe_server_generates_more_tokens_than_sent_fails():
    with serve(Healthy(extra=5)) as server:
        result = run(server)
    assert result["results"][0]["token_ratio"] == 2.0
    assert statuses(result)["token_reconciliation"] == "fail"


def test_probe_repeats_are_pooled():
    with serve() as server:
        result = run(server, steps=[STEP | {"repeats": 3}])
    step = result["results"][0]
    assert (step["repeats"], step["requests"]["completed"]) == (3, 18)
    assert step["variation"] is not None
    assert step["token_ratio"] == 1.0


def test_probe_step_beyond_context_is_refused_before_load():
    with serve() as server, pytest.raises(InvalidLoad, match="2047 \\+ 5 = 2052.* allows up to 2048; set optional"):
        run(server, steps=[STEP, STEP | {"prompt_tokens": 2047}])
    assert server.requests == []


def test_probe_optional_step_beyond_context_is_skipped():
    with serve() as server:
        result = run(server, steps=[STEP, STEP | {"prompt_tokens": 4096, "optional": True, "name": "long"}])
    assert [step["skipped"] is None for step in result["results"]] == [True, False]
    assert statuses(result)["throughput"] == "pass"


def test_probe_with_all_steps_skipped_tests_nothing():
    with serve() as server:
        result = run(server, steps=[STEP | {"prompt_tokens": 4096, "optional": True}])
    assert server.requests == []
    assert set(statuses(result).values()) == {"not_tested"}


def test_probe_unknown_model_is_refused_before_load():
    with serve() as server, pytest.raises(InvalidLoad, match="model 'llama' is not served; served models: tiny"):
        run(server, model="llama")
    assert server.requests == []


def test_probe_without_max_model_len_runs_any_step():
    with ScriptedServer(Healthy(), max_model_len=None) as server:
        result = run(server, model="tiny", steps=[STEP | {"prompt_tokens": 4096}])
    assert result["server"]["max_model_len"] is None
    assert result["results"][0]["prompt_tokens"] == 4096


def test_probe_server_without_version_returns_none():
    with serve(version=whole("404 Not Found", b"{}")) as server:
        assert run(server)["server"]["version"] is None


def test_probe_step_not_limited_is_measured_once():
    driver = Driver()
    with serve() as server:
        result = run(server, driver)
    (step,) = result["results"]
    assert (step["attempts"], step["discarded"], driver.attempts) == (1, [], [1])
    assert len(server.requests) == 2 + 6
    assert finding(result, "client_limited")["evidence"]["discarded"] == []


def test_probe_step_limited_once_returns_the_second_attempt():
    driver, answer = Driver(limited=1), Healthy()
    with serve(answer) as server:
        result = run(server, driver, mergeable=True)
    (step,) = result["results"]
    assert (step["attempts"], step["discarded"]) == (2, ["the load client used 91 % of one core"])
    assert (step["void"], step["client"]["reason"], driver.attempts) == (False, None, [1, 2])
    assert step["requests"]["completed"] == len(step["mergeable"]["outcomes"]) * 6 == 6
    assert len({tuple(request["prompt"]) for request in server.requests}) == 2 + 2 * 6, "no prompt is sent twice"
    # The server's counters are compared over the attempt that counts only.
    assert (step["tokens"], step["token_ratio"]) == (30, 1.0)
    counted = step["mergeable"]["counters"]
    assert counted["after"]["generation_tokens"] - counted["before"]["generation_tokens"] == 30
    assert statuses(result)["client_limited"] == statuses(result)["throughput"] == "pass"
    summary = finding(result, "client_limited")["summary"]
    assert "Measured again: 16x5@2 (2 attempts; the load client used 91 % of one core)" in summary


def test_probe_step_always_limited_is_void_after_all_attempts():
    driver = Driver(limited=99)
    with serve() as server:
        result = run(server, driver, steps=[STEP | {"repeats": 2}])
    (step,) = result["results"]
    # Each attempt has both repeats.
    assert (step["attempts"], step["repeats"], driver.attempts) == (3, 2, [1, 1, 2, 2, 3, 3])
    assert step["discarded"] == ["the load client used 92 % of one core", "the load client used 94 % of one core"]
    assert (step["void"], step["client"]["reason"]) == (True, "the load client used 96 % of one core")
    assert statuses(result)["client_limited"] == "warn"
    assert statuses(result)["throughput"] == "not_tested"
    summary = finding(result, "client_limited")["summary"]
    assert "bottleneck in 16x5@2 (3 attempts): the load client used 96 %" in summary


@pytest.mark.parametrize(
    "changes",
    [{"client_limited_retries": 0}, {"start_at": 1.0}, {"share": {"index": 0, "count": 2}}],
    ids=["off", "fixed start", "shared"],
)
def test_probe_step_limited_without_retries_is_measured_once(changes):
    with serve() as server:
        (step,) = run(server, Driver(limited=99), **changes)["results"]
    assert (step["attempts"], step["void"]) == (1, True)


def test_probe_limited_step_of_a_failed_server_is_not_repeated():
    broken = [STREAM_HEAD, event(piece("x", 1)), STREAM_END]
    driver = Driver(limited=99)
    with ScriptedServer(lambda body, number: [good_stream(body["max_tokens"])] if number < 2 else broken) as server:
        (step,) = run(server, driver)["results"]
    assert (step["gave_up"], step["attempts"], driver.attempts) == ("closed_early", 1, [1])


def test_driver_publishes_the_attempt():
    names = []

    class Progress(LoadProgress):
        def end(self) -> None:
            names.append(self.snapshot()["name"])

    class PublishingDriver(Driver):
        def __init__(self) -> None:
            super().__init__(limited=1)
            self._progress = Progress()

    with serve() as server:
        run(server, PublishingDriver())
    assert names == ["warm-up", "16x5@2", "16x5@2 (attempt 2)"]


def test_warm_up_requests_run_at_the_same_time_if_a_step_has_the_streams():
    steps = []

    class RecordingDriver(Driver):
        def run(self, setup, options, seed, start_at, attempt) -> LoadOutcome:
            steps.append(setup.step)
            return super().run(setup, options, seed, start_at, attempt)

    with serve() as server:
        run(server, RecordingDriver(), steps=[STEP | {"concurrency": 1}, STEP | {"concurrency": 2}], warmup_requests=3)
    assert [(step.name, step.concurrency, step.requests) for step in steps[:1]] == [("warm-up", 2, 3)]


def test_probe_in_check_mode_sends_nothing():
    with serve() as server:
        result = subject.probe(options(base_url=server.url), Driver(), check_mode=True)
    assert server.connections == 0
    assert set(statuses(result).values()) == {"not_tested"}
    assert "no load was generated" in result["msg"]


def test_probe_connection_refused_fails():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        result = subject.probe(options(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}"), Driver())
    assert statuses(result)["throughput"] == "fail"
    assert finding(result, "throughput")["measured"] == "connection_refused"
    assert result["results"] == []


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        (error("401 Unauthorized", "no"), "unauthorized"),
        (error("503 Service Unavailable", "starting"), "unavailable"),
        (whole("200 OK", b"<html></html>", "text/html"), "not_vllm"),
        (whole("200 OK", b'{"data": []}'), "model_not_found"),
    ],
)
def test_probe_server_not_a_healthy_vllm_fails(models, reason):
    with serve(**{"v1/models": models}) as server:
        result = run(server)
    assert finding(result, "throughput")["measured"] == reason
    assert finding(result, "throughput")["remedy"]
    assert statuses(result)["ttft"] == "not_tested"


@pytest.mark.parametrize("path", ["version", "tokenize"])
def test_probe_server_error_while_describing_fails(path):
    with serve(**{path: error("500 Oops", "dead")}) as server:
        result = run(server)
    assert finding(result, "throughput")["measured"] == "server_error"


def test_probe_hanging_engine_costs_one_timeout():
    with ScriptedServer(lambda _body, _number: [STREAM_HEAD, HANG]) as server:
        result = run(server, timeout=0.3, steps=[STEP] * 5)
    assert finding(result, "throughput")["measured"] == "first_byte_timeout"
    assert len(server.requests) == 2


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_probe_server_refuses_every_request_fails(endpoint):
    with ScriptedServer(lambda _body, _number: [error("400 Bad Request", "no")]) as server:
        result = run(server, endpoint=endpoint)
    assert finding(result, "throughput")["measured"] == "bad_request"


def test_probe_steps_after_a_failed_step_are_skipped():
    broken = [STREAM_HEAD, event(piece("x", 1)), STREAM_END]
    with ScriptedServer(lambda body, number: [good_stream(body["max_tokens"])] if number < 2 else broken) as server:
        result = run(server, steps=[STEP, STEP | {"name": "second"}, STEP | {"name": "third"}])
    first, second, third = result["results"]
    assert first["failures"] == {"closed_early": first["requests"]["failed"]}
    assert first["gave_up"] == "closed_early"
    assert second["skipped"] == third["skipped"] == "every request of 16x5@2 failed"
    assert statuses(result)["throughput"] == "fail"


def test_probe_repeats_end_when_the_server_fails():
    broken = [STREAM_HEAD, event(piece("x", 1)), STREAM_END]
    with ScriptedServer(lambda body, number: [good_stream(body["max_tokens"])] if number < 2 else broken) as server:
        result = run(server, steps=[STEP | {"repeats": 4}])
    assert result["results"][0]["repeats"] == 1


def test_probe_output_cut_short_fails():
    shorter = itertools.chain([0, 0], itertools.repeat(2))
    with ScriptedServer(lambda body, _number: [good_stream(body["max_tokens"] - next(shorter))]) as server:
        result = run(server)
    assert "cut_short" in result["results"][0]["failures"]
    assert "3 of 5 tokens" in finding(result, "throughput")["summary"]


def test_probe_of_another_engine_measures_responses_of_any_length():
    # Engines without ignore_eos end a response when the model does.
    models = whole("200 OK", b'{"object":"list","data":[{"id":"tiny","object":"model","owned_by":"llamacpp"}]}')
    control = {"/v1/models": models, "/version": whole("200 OK", b'{"version":"b6100"}')}
    with ScriptedServer(lambda body, _number: [good_stream(max(1, body["max_tokens"] - 2))], control) as server:
        result = run(server)
    assert (result["server"]["engine"], result["server"]["version"]) == ("llama.cpp", None)
    assert (result["results"][0]["output_tokens"], statuses(result)["throughput"]) == (3, "pass")


def test_probe_without_warm_up_detects_a_dead_engine():
    with ScriptedServer(lambda _body, _number: [error("500 Oops", "EngineDeadError")]) as server:
        result = run(server, warmup_requests=0)
    assert set(result["results"][0]["failures"]) == {"server_error"}
    assert statuses(result)["throughput"] == "fail"


def test_probe_without_sample_gpus_returns_no_samples():
    with serve() as server:
        result = run(server, sample_gpus=False)
    assert (result["gpu_samples"], result["gpu_samples_reason"]) == (None, "not requested")


def test_driver_sampler_without_gpus_returns_the_reason(monkeypatch):
    def missing() -> None:
        raise GpuUnavailable("no_driver")

    monkeypatch.setattr(subject, "open_reader", missing)
    assert "no NVIDIA driver" in subject.ProbeDriver().sampler(options())


def test_driver_sampler_closes_its_reader_on_stop(monkeypatch):
    class Reader:
        closed = False

        def sample(self) -> list:
            return []

        def close(self) -> None:
            self.closed = True

    reader = Reader()
    monkeypatch.setattr(subject, "open_reader", lambda: reader)
    sampling = subject.ProbeDriver().sampler(options())
    sampling.start(0.0)
    assert "samples" in sampling.stop()
    assert reader.closed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timeout": 0.0}, "timeout must be more than 0 seconds, got 0"),
        ({"timeout": float("nan")}, "timeout must be more than 0 seconds, got nan"),
        ({"sample_interval": 0.01}, "sample_interval must be at least 0.05 seconds, got 0.01"),
        ({"max_ttft": float("nan")}, "max_ttft must be more than 0 seconds, got nan"),
        ({"max_itl": 0.0}, "max_itl must be more than 0 seconds, got 0.0"),
        ({"max_duration": float("inf")}, "max_duration must be more than 0 seconds, got inf"),
        ({"ca_path": "/no/such.pem"}, "ca_path must be a file on this host, got '/no/such.pem'"),
        ({"api_key": "hush\n"}, "api_key must be printable ASCII"),
        ({"targets": {"ttft": float("nan"), "itl": None}}, "targets.ttft must be more than 0 seconds, got nan"),
        ({"warmup_requests": -1}, "warmup_requests must be 0 or more, got -1"),
        ({"drain_timeout": -1.0}, "drain_timeout must be 0 or more, got -1.0"),
        ({"processes": 0}, "processes must be from 1 to 64, got 0"),
        ({"client_limited_retries": -1}, "client_limited_retries must be from 0 to 10, got -1"),
        ({"client_limited_retries": 11}, "client_limited_retries must be from 0 to 10, got 11"),
        ({"start_at": float("nan")}, "start_at must be a time in seconds since 1970, got nan"),
        ({"share": {"index": 3, "count": 2}}, "share.index must be from 0 to 2, got 3"),
        ({"share": {"index": 0, "count": 0}}, "share.count must be 1 or more, got 0"),
        (
            {"share": {"index": 0, "count": 2}, "steps": [STEP, STEP]},
            "follows 16x5@2, whose end is not known in advance",
        ),
        ({"base_url": "localhost:8000"}, "localhost:8000"),
        ({"steps": [STEP | {"prompt_tokens": 0}]}, "prompt_tokens must be 1 or more, got 0"),
    ],
)
def test_options_invalid_value_is_refused(changes, message):
    with pytest.raises(InvalidLoad) as problem:
        options(**changes)
    assert message in str(problem.value)


@pytest.fixture(autouse=True)
def _short_settling(monkeypatch):
    monkeypatch.setattr(counters, "SETTLE", 0.2)


def test_describe_server_adapter_has_length_of_base_model():
    class Served:
        def models(self) -> list:
            return [
                {"id": "llama", "owned_by": "vllm", "parent": None, "max_model_len": 4096},
                {"id": "adapter", "owned_by": "vllm", "parent": "llama", "max_model_len": None},
            ]

        def version(self) -> str:
            return "0.32.0"

    assert subject.describe_server(Served(), "adapter")["max_model_len"] == 4096


def test_probe_time_limit_skips_the_steps_that_are_left(monkeypatch):
    limit = "the load test reached its time limit of 1000 s"
    clock = time.monotonic
    driver = Driver()

    def late(*arguments: object) -> LoadOutcome:
        outcome = Driver.run(driver, *arguments)
        if arguments[0].step.name == "second":
            monkeypatch.setattr(time, "monotonic", lambda: clock() + 1000.0)
        return outcome

    driver.run = late
    steps = [STEP | {"name": name} for name in ("first", "second", "third")]
    with serve(Healthy()) as server:
        result = run(server, driver, steps=steps, max_duration=1000.0)
    assert [step["skipped"] for step in result["results"]] == [None, limit, limit]
    assert statuses(result)["throughput"] == "not_tested"
    assert result["findings"][0]["summary"] == limit


def test_probe_time_limit_before_the_first_step_measures_nothing():
    with ScriptedServer(lambda _body, _number: [STREAM_HEAD, HANG]) as server:
        result = run(server, timeout=1000.0, max_duration=0.3)
    assert result["results"] == []
    assert "time limit reached" in result["findings"][0]["summary"]
