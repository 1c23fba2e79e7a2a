# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import socket

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.load import counters
from ansible_collections.multigpu.vllm.plugins.module_utils.load import probe as subject
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
    "share": None,
    "start_at": None,
    "mergeable": False,
    "max_ttft": None,
    "max_itl": None,
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


class Driver(subject.RealDriver):
    """The real server side, with GPUs that are not there."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeSampler()

    def sampler(self, options: subject.ProbeOptions) -> FakeSampler:
        return self.fake


def options(**changes: object) -> subject.ProbeOptions:
    return subject.ProbeOptions.from_params(PARAMS | changes)


class Healthy:
    """Answers as asked, and counts what it sends."""

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
    return ScriptedServer(answer, {"/metrics": answer.metrics} | {f"/{k}": v for k, v in control.items()})


def run(server: ScriptedServer, driver: Driver | None = None, **changes: object) -> dict:
    return subject.probe(options(base_url=server.url, **changes), driver or Driver())


def statuses(result: dict) -> dict[str, str]:
    return {finding["check"].removeprefix("performance."): finding["status"] for finding in result["findings"]}


def finding(result: dict, check: str) -> dict:
    return next(one for one in result["findings"] if one["check"] == f"performance.{check}")


def test_a_healthy_server():
    driver = Driver()
    with serve() as server:
        result = run(server, driver)
    assert result["server"] == {"version": "0.32.0", "model": "tiny", "max_model_len": 2048}
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
    # Two to warm up, six that count; all different, all as token ids.
    assert len(server.requests) == 8
    assert len({tuple(request["prompt"]) for request in server.requests}) == 8


def test_several_processes():
    with serve() as server:
        result = run(server, processes=2)
    (step,) = result["results"]
    assert (step["requests"]["completed"], step["client"]["processes"]) == (6, 2)
    # Also the two that warm up, in one process, are different.
    assert len({tuple(request["prompt"]) for request in server.requests}) == 8


def test_an_open_loop():
    with serve() as server:
        result = run(server, steps=[STEP | {"rate": 100.0, "arrivals": "constant"}])
    (step,) = result["results"]
    assert (step["name"], step["rate"], step["arrivals"]) == ("16x5@100/s", 100.0, "constant")
    assert step["requests"]["completed"] == 6
    assert step["schedule_lag"]["p99"] >= 0.0
    assert step["ttft_sent"]["p50"] <= step["ttft"]["p50"]


class Impatient(Driver):
    """Notes when each run of a step was to start, and starts it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: list[float] = []

    def run(self, target, step, bodies, options, seed, start_at) -> subject.Outcome:
        if step in options.own_steps:
            self.starts.append(start_at + subject.time.time() - subject.time.monotonic())
        return super().run(target, step, bodies, options, seed, 0.0)


@pytest.fixture
def sleeps(monkeypatch) -> list[tuple[float | None, float]]:
    """What the probe would wait for: a time, and how long before it."""
    waits: list[tuple[float | None, float]] = []
    sleep = staticmethod(lambda wall, ahead=0.0: waits.append((wall, ahead)))
    monkeypatch.setattr(subject.Probe, "_sleep_until", sleep)
    return waits


def test_a_load_host_makes_its_share_at_the_common_start(sleeps):
    driver, begin = Impatient(), subject.time.time() + 100.0
    steps = [STEP | {"concurrency": 3}, STEP | {"name": "single", "concurrency": 1}]
    with serve() as server:
        result = run(server, driver, share={"index": 1, "count": 2}, start_at=begin, mergeable=True, steps=steps)
    shared, single = result["results"]
    assert (shared["concurrency"], shared["requests"]["completed"], shared["skipped"]) == (1, 3, None)
    assert driver.starts == pytest.approx([begin], abs=0.001)
    assert (begin, subject._AHEAD) in sleeps
    assert shared["mergeable"]["step"]["concurrency"] == 3
    assert shared["mergeable"]["outcomes"][0]["started"] == pytest.approx(
        result["origin"] + shared["started"], abs=0.001
    )
    assert (single["skipped"], single["mergeable"]) == (subject.NO_SHARE, None)


def test_a_start_is_waited_for():
    begin = subject.time.time() + 0.05
    with serve() as server:
        result = run(server, start_at=begin)
    assert result["origin"] + result["results"][0]["started"] >= begin - 0.001


def test_load_hosts_with_one_seed_send_different_prompts():
    sent = []
    for index in range(2):
        with serve() as server:
            run(server, share={"index": index, "count": 2})
        sent += [tuple(request["prompt"]) for request in server.requests]
    assert len(set(sent)) == len(sent) > 6


def test_who_only_watches_samples_the_gpus_while_others_load(sleeps):
    driver, begin = Driver(), subject.time.time() + 100.0
    steps = [STEP | {"requests": None, "duration": 30.0}]
    with serve() as server:
        result = run(server, driver, share={"index": 2, "count": 2}, start_at=begin, steps=steps)
    assert result["results"][0]["skipped"] == subject.NO_SHARE
    assert (result["gpu_samples"], server.requests) == (SAMPLES, [])
    assert sleeps[-1] == (begin + 30.0, 0.0)


def test_steps_after_a_common_start_have_fixed_times(sleeps):
    driver, begin = Impatient(), subject.time.time() + 100.0
    steps = [STEP | {"requests": None, "duration": 0.1, "repeats": 2}, STEP]
    with serve() as server:
        run(server, driver, start_at=begin, steps=steps, drain_timeout=0.5)
    each = 0.1 + 0.5 + subject._BETWEEN
    assert driver.starts == pytest.approx([begin, begin + each, begin + 2 * each], abs=0.001)


def test_goodput_for_targets():
    with serve() as server:
        result = run(server, targets={"ttft": 30.0, "itl": None})
    (step,) = result["results"]
    assert step["within_targets"] == 6
    assert step["goodput"] == step["request_throughput"]


def test_requests_ask_for_exact_repeatable_answers():
    with serve() as server:
        run(server)
    request = server.requests[-1]
    assert (request["ignore_eos"], request["temperature"], request["max_tokens"]) == (True, 0, 5)
    assert request["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


@pytest.mark.parametrize("tokenizer", [None, error("404 Not Found", "no")])
def test_chat_is_sized_by_what_the_server_counts(tokenizer):
    control = {"tokenize": tokenizer} if tokenizer else {}
    with serve(**control) as server:
        result = run(server, endpoint="chat")
    assert result["results"][0]["prompt_tokens"] == 16
    assert all(request["messages"][0]["role"] == "user" for request in server.requests)


def test_completions_without_tokenizer_are_sized_by_usage():
    with serve(tokenize=whole("404 Not Found", b'{"detail":"Not Found"}')) as server:
        result = run(server)
    assert result["results"][0]["prompt_tokens"] == 16
    assert isinstance(server.requests[-1]["prompt"], str)


def test_a_prompt_smaller_than_the_chat_template_is_refused_before_any_load():
    with serve() as server, pytest.raises(InvalidLoad, match="allowed: 11 or more"):
        run(server, endpoint="chat", steps=[STEP | {"prompt_tokens": 5}])
    assert {request["max_tokens"] for request in server.requests} == {1}


def test_a_server_that_refuses_continuous_usage_is_asked_without():
    def answer(body: dict, _number: int) -> list:
        if "continuous_usage_stats" in body["stream_options"]:
            return [error("400 Bad Request", "unknown field continuous_usage_stats")]
        return [good_stream(body["max_tokens"])]

    with ScriptedServer(answer) as server:
        result = run(server)
    assert result["results"][0]["requests"]["completed"] == 6


def test_without_metrics_the_ratio_is_null_with_its_reason():
    with ScriptedServer(Healthy()) as server:
        result = run(server)
    step = result["results"][0]
    assert (step["token_ratio"], step["token_ratio_reason"]) == (None, "the server offers no /metrics")
    assert statuses(result)["token_reconciliation"] == "not_tested"


def test_a_server_that_generates_more_than_it_sends():
    with serve(Healthy(extra=5)) as server:
        result = run(server)
    assert result["results"][0]["token_ratio"] == 2.0
    assert statuses(result)["token_reconciliation"] == "fail"


def test_repeats(monkeypatch):
    with serve() as server:
        result = run(server, steps=[STEP | {"repeats": 3}])
    step = result["results"][0]
    assert (step["repeats"], step["requests"]["completed"]) == (3, 18)
    assert step["variation"] is not None
    assert step["token_ratio"] == 1.0


def test_a_step_that_does_not_fit_is_refused_before_any_load():
    with serve() as server, pytest.raises(InvalidLoad, match="2047 \\+ 5 = 2052.* allows up to 2048; or set optional"):
        run(server, steps=[STEP, STEP | {"prompt_tokens": 2047}])
    assert server.requests == []


def test_an_optional_step_that_does_not_fit_is_skipped():
    with serve() as server:
        result = run(server, steps=[STEP, STEP | {"prompt_tokens": 4096, "optional": True, "name": "long"}])
    assert [step["skipped"] is None for step in result["results"]] == [True, False]
    assert statuses(result)["throughput"] == "pass"


def test_only_optional_steps_that_do_not_fit():
    with serve() as server:
        result = run(server, steps=[STEP | {"prompt_tokens": 4096, "optional": True}])
    assert server.requests == []
    assert set(statuses(result).values()) == {"not_tested"}


def test_an_unknown_model_is_refused_before_any_load():
    with serve() as server, pytest.raises(InvalidLoad, match="model 'llama' is not served; allowed: tiny"):
        run(server, model="llama")
    assert server.requests == []


def test_a_server_that_tells_no_length_takes_any_step():
    with ScriptedServer(Healthy(), max_model_len=None) as server:
        result = run(server, model="tiny", steps=[STEP | {"prompt_tokens": 4096}])
    assert result["server"]["max_model_len"] is None
    assert result["results"][0]["prompt_tokens"] == 4096


def test_a_server_without_version():
    with serve(version=whole("404 Not Found", b"{}")) as server:
        assert run(server)["server"]["version"] is None


def test_check_mode_sends_nothing():
    with serve() as server:
        result = subject.probe(options(base_url=server.url), Driver(), check_mode=True)
    assert server.connections == 0
    assert set(statuses(result).values()) == {"not_tested"}
    assert "no load was made" in result["msg"]


def test_nobody_listens():
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
def test_a_server_that_is_no_healthy_vllm(models, reason):
    with serve(**{"v1/models": models}) as server:
        result = run(server)
    assert finding(result, "throughput")["measured"] == reason
    assert finding(result, "throughput")["remedy"]
    assert statuses(result)["ttft"] == "not_tested"


@pytest.mark.parametrize("path", ["version", "tokenize"])
def test_a_server_that_dies_while_it_is_asked(path):
    with serve(**{path: error("500 Oops", "dead")}) as server:
        result = run(server)
    assert finding(result, "throughput")["measured"] == "server_error"


def test_an_engine_that_hangs_behind_a_live_api_costs_one_timeout():
    with ScriptedServer(lambda _body, _number: [STREAM_HEAD, HANG]) as server:
        result = run(server, timeout=0.3, steps=[STEP] * 5)
    assert finding(result, "throughput")["measured"] == "first_byte_timeout"
    assert len(server.requests) == 2


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_a_server_that_refuses_every_request(endpoint):
    with ScriptedServer(lambda _body, _number: [error("400 Bad Request", "no")]) as server:
        result = run(server, endpoint=endpoint)
    assert finding(result, "throughput")["measured"] == "bad_request"


def test_after_a_step_in_which_all_failed_the_others_are_skipped():
    broken = [STREAM_HEAD, event(piece("x", 1)), STREAM_END]
    with ScriptedServer(lambda body, number: [good_stream(body["max_tokens"])] if number < 2 else broken) as server:
        result = run(server, steps=[STEP, STEP | {"name": "second"}, STEP | {"name": "third"}])
    first, second, third = result["results"]
    assert first["failures"] == {"closed_early": first["requests"]["failed"]}
    assert first["gave_up"] == "closed_early"
    assert second["skipped"] == third["skipped"] == "every request of 16x5@2 failed"
    assert statuses(result)["throughput"] == "fail"


def test_repeats_end_with_a_server_that_failed():
    broken = [STREAM_HEAD, event(piece("x", 1)), STREAM_END]
    with ScriptedServer(lambda body, number: [good_stream(body["max_tokens"])] if number < 2 else broken) as server:
        result = run(server, steps=[STEP | {"repeats": 4}])
    assert result["results"][0]["repeats"] == 1


def test_output_that_the_server_cuts_short():
    shorter = itertools.chain([0, 0], itertools.repeat(2))
    with ScriptedServer(lambda body, _number: [good_stream(body["max_tokens"] - next(shorter))]) as server:
        result = run(server)
    assert "cut_short" in result["results"][0]["failures"]
    assert "3 of 5 tokens" in finding(result, "throughput")["summary"]


def test_without_warm_up_a_dead_engine_is_still_found():
    with ScriptedServer(lambda _body, _number: [error("500 Oops", "EngineDeadError")]) as server:
        result = run(server, warmup_requests=0)
    assert set(result["results"][0]["failures"]) == {"server_error"}
    assert statuses(result)["throughput"] == "fail"


def test_gpus_are_not_sampled_where_not_asked_for():
    with serve() as server:
        result = run(server, sample_gpus=False)
    assert (result["gpu_samples"], result["gpu_samples_reason"]) == (None, "not asked for")


def test_a_host_without_gpus_says_why(monkeypatch):
    def missing() -> None:
        raise GpuUnavailable("no_driver")

    monkeypatch.setattr(subject, "open_reader", missing)
    assert "no NVIDIA driver" in subject.RealDriver().sampler(options())


def test_a_reader_is_closed_when_the_sampling_ends(monkeypatch):
    class Reader:
        closed = False

        def sample(self) -> list:
            return []

        def close(self) -> None:
            self.closed = True

    reader = Reader()
    monkeypatch.setattr(subject, "open_reader", lambda: reader)
    sampling = subject.RealDriver().sampler(options())
    sampling.start(0.0)
    assert "samples" in sampling.stop()
    assert reader.closed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"timeout": 0.0}, "timeout is 0; allowed: more than 0 seconds"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"sample_interval": 0.01}, "sample_interval is 0.01; allowed: 0.05 seconds or more"),
        ({"max_ttft": float("nan")}, "max_ttft is nan"),
        ({"max_itl": 0.0}, "max_itl is 0.0; allowed: more than 0 seconds"),
        ({"ca_path": "/no/such.pem"}, "ca_path '/no/such.pem' is not a file"),
        ({"api_key": "hush\n"}, "api_key holds a line end"),
        ({"targets": {"ttft": float("nan"), "itl": None}}, "targets: ttft is nan"),
        ({"warmup_requests": -1}, "warmup_requests is -1; allowed: 0 or more"),
        ({"drain_timeout": -1.0}, "drain_timeout is -1.0"),
        ({"processes": 0}, "processes is 0; allowed: 1 to 64"),
        ({"start_at": float("nan")}, "start_at is nan; allowed: seconds since 1970"),
        ({"share": {"index": 3, "count": 2}}, "share: index is 3 and count is 2; allowed: a count of 1 or more"),
        ({"share": {"index": 0, "count": 0}}, "count is 0"),
        ({"share": {"index": 0, "count": 2}, "steps": [STEP, STEP]}, "follows 16x5@2, whose end nobody knows"),
        ({"base_url": "localhost:8000"}, "localhost:8000"),
        ({"steps": [STEP | {"prompt_tokens": 0}]}, "prompt_tokens is 0"),
    ],
)
def test_options_that_are_not_possible(changes, words):
    with pytest.raises(InvalidLoad) as problem:
        options(**changes)
    assert words in str(problem.value)


@pytest.fixture(autouse=True)
def _short_settling(monkeypatch):
    monkeypatch.setattr(counters, "SETTLE", 0.2)


def test_an_adapter_has_the_length_of_its_base_model():
    class Served:
        def models(self) -> list:
            return [
                {"id": "llama", "parent": None, "max_model_len": 4096},
                {"id": "adapter", "parent": "llama", "max_model_len": None},
            ]

        def version(self) -> str:
            return "0.32.0"

    assert subject.describe_server(Served(), "adapter")["max_model_len"] == 4096
