# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import json
import typing as t
from unittest import mock

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import liveness, metrics
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import VllmApi
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.server import CHECK_MODE, ServerFacts, read_server
from ansible_collections.multigpu.vllm.tests.support import control_server as servers
from ansible_collections.multigpu.vllm.tests.support.recorded import FIXTURES

SERVER_INFO: t.Final = "/server_info?config_format=json"


def read(routes: dict[str, t.Any], timeout: float = 10.0, **options: bool) -> tuple[ServerFacts, list[str]]:
    with servers.ControlServer(routes) as server:
        facts = read_server(VllmApi(server.url, timeout=timeout), **options)
    return facts, server.paths


@pytest.mark.parametrize("version", ["0.27", "0.32"])
def test_read_server_healthy_server_has_all_facts(version: str) -> None:
    facts, _paths = read(servers.healthy(version))
    assert facts.version == f"{version}.0"
    assert facts.model["root"] == "/models/tiny"
    assert facts.fingerprint is not None and "-tp2-" in facts.fingerprint
    assert facts.metrics is not None
    assert (facts.missing, facts.failure, facts.hangs) == ({}, None, False)


def test_read_server_check_mode_requests_no_completion() -> None:
    facts, paths = read(servers.healthy(), request_completion=False)
    assert "/v1/completions" not in paths
    assert facts.missing == {"fingerprint": CHECK_MODE}


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [(servers.hang, "first_byte_timeout"), (servers.stall, "stream_timeout"), (servers.drip, "stream_timeout")],
)
def test_read_server_hanging_server_gets_one_request(behaviour: t.Any, reason: str) -> None:
    facts, paths = read(servers.everywhere(behaviour), timeout=0.3)
    assert paths == ["/version"]
    assert facts.failure is not None and facts.failure.reason == reason
    assert set(facts.missing) == {"version", "models", "metrics", "fingerprint"}


def test_read_server_sleeping_engine_gets_no_completion() -> None:
    facts, paths = read({**servers.healthy(), "/is_sleeping": servers.document({"is_sleeping": True})})
    assert "/v1/completions" not in paths
    assert facts.failure is None and facts.missing == {"fingerprint": "the engine sleeps"}


def test_read_server_hanging_engine_with_live_api_is_no_failure() -> None:
    facts, _paths = read({**servers.healthy(), "/v1/completions": servers.hang}, timeout=0.3)
    assert facts.failure is None and facts.version == "0.32.0"
    assert (facts.missing, facts.hangs) == ({"fingerprint": "no response in time"}, True)


@pytest.mark.parametrize(
    ("routes", "seconds", "state"),
    [
        ({}, 1.0, liveness.IDLE_ALIVE),
        ({"/v1/completions": servers.hang}, 60.0, liveness.STALLED),
        ({"/v1/completions": servers.hang}, 44.0, liveness.NOT_TESTED),
        ({"/v1/completions": servers.hang, "/health": servers.Answer(503)}, 1.0, liveness.DEAD),
        ({"/v1/completions": servers.hang, "/metrics": servers.Answer(404)}, 600.0, liveness.NOT_TESTED),
    ],
)
def test_read_server_engine_has_a_liveness(routes: dict[str, t.Any], seconds: float, state: str) -> None:
    times = itertools.chain([0.0], itertools.repeat(seconds))
    with servers.ControlServer({**servers.healthy(), **routes}) as server:
        facts = read_server(VllmApi(server.url, timeout=0.5), clock=lambda: next(times))
    assert facts.liveness is not None and facts.liveness.state == state, facts.liveness


def test_read_server_busy_engine_is_alive_although_its_queue_is_long() -> None:
    pages = iter([b"vllm:iteration_tokens_total_count 1\n", b"vllm:iteration_tokens_total_count 9\n"])
    api = mock.Mock(spec=VllmApi, base_url="http://127.0.0.1:8000", version=lambda: "0.32.0", health=lambda: True)
    api.models.return_value = [{"id": "m"}]
    api.metrics.side_effect = lambda: metrics.parse([next(pages)])
    api.is_sleeping.return_value = False
    api.page.side_effect = api.server_info.side_effect = RequestFailed("not_found")
    api.completion.side_effect = RequestFailed("first_byte_timeout")
    times = iter([0.0, 60.0])
    facts = read_server(api, clock=lambda: next(times))
    assert facts.liveness == liveness.Liveness(
        liveness.IDLE_ALIVE, "the last step ended 0 s ago; one token was not generated for 0 s, and the limit is 45 s"
    )


def test_read_server_in_development_mode_has_the_configuration() -> None:
    recorded = json.loads((FIXTURES / "server_info/vllm-0.26-tp2-pp2.json").read_text("utf-8"))
    assert recorded["vllm_config"]["model_config"]["hf_token"] is None
    recorded["vllm_config"]["model_config"]["hf_token"] = "hf_secret"
    facts, paths = read({**servers.healthy(), SERVER_INFO: servers.document(recorded)})
    assert paths.count(SERVER_INFO) == 1
    assert facts.configuration == {
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 2,
        "data_parallel_size": 1,
        "data_parallel_size_local": 1,
        "nnodes": 1,
        "distributed_executor_backend": "mp",
        "enable_expert_parallel": False,
        "model": "/models/tiny",
        "max_model_len": 1024,
        "dtype": "torch.bfloat16",
        "quantization": None,
        "cache_dtype": "auto",
        "block_size": 16,
        "gpu_memory_utilization": 0.92,
    }


@pytest.mark.parametrize(
    "response",
    [
        servers.Answer(404),
        servers.Answer(401),
        servers.HTML,
        servers.hang,
        servers.document([]),
        servers.document({"vllm_config": "model='m', tensor_parallel_size=2"}),  # versions without config_format
        servers.document({"vllm_config": {"parallel_config": "x"}}),
    ],
)
def test_read_server_without_configuration_is_silent(response: t.Any) -> None:
    facts, paths = read({**servers.healthy(), SERVER_INFO: response}, timeout=1.0)
    assert (facts.configuration, facts.missing, facts.failure, facts.hangs) == ({}, {}, None, False)
    assert paths.count(SERVER_INFO) == 1


@pytest.mark.parametrize(
    ("routes", "missing", "text"),
    [
        ({"/metrics": servers.Answer(404)}, "metrics", "the server has no /metrics"),
        ({"/v1/models": servers.Answer(401)}, "models", "API key refused: HTTP 401"),
        ({"/v1/models": servers.Answer(401)}, "fingerprint", "model not served: the server lists no model"),
        (
            {"/v1/models": servers.document({"data": [None]})},
            "fingerprint",
            "model not served: the server lists no model",
        ),
        ({"/v1/completions": servers.captured("unknown_model.txt")}, "fingerprint", "model not served: HTTP 404"),
        ({"/v1/completions": servers.Answer(429)}, "fingerprint", "rate limited: HTTP 429"),
        (
            {"/v1/completions": servers.document({"choices": []})},
            "fingerprint",
            "the server sends no system_fingerprint",
        ),
        ({"/version": servers.HTML}, "version", "not a vLLM response: the response from /version is not JSON"),
        ({"/version": servers.Answer(503)}, "version", "not ready: HTTP 503"),
    ],
)
def test_read_server_missing_fact_has_a_reason(routes: dict[str, t.Any], missing: str, text: str) -> None:
    facts, _paths = read({**servers.healthy(), **routes})
    assert facts.missing[missing].startswith(text)
    assert facts.failure is None


@pytest.mark.parametrize(
    ("stalled", "steps", "state", "ranks"),
    [
        (None, (5, 5), liveness.ALIVE, [0, 1]),
        (1, (5, 9), liveness.STALLED, [0, 1]),
        (0, (5, 5), liveness.STALLED, [0]),
    ],
)
def test_read_server_asks_each_engine(
    stalled: int | None, steps: tuple[int, int], state: str, ranks: list[int]
) -> None:
    def page(other: int) -> bytes:
        names = ("iteration_tokens_total_count", "num_requests_running")
        values = {"0": other if stalled == 1 else 5, "1": other if stalled == 0 else 5}
        return "".join(
            f'vllm:{name}{{engine="{key}"}} {value}\n' for name in names for key, value in values.items()
        ).encode()

    def completion(*_arguments: t.Any, data_parallel_rank: int, **_options: t.Any) -> dict[str, t.Any]:
        asked.append(data_parallel_rank)
        if data_parallel_rank == stalled:
            raise RequestFailed("first_byte_timeout")
        return {"system_fingerprint": "vllm-0.32.0-dp2-x"}

    asked: list[int] = []
    pages = iter(map(page, steps))
    api = mock.Mock(spec=VllmApi, base_url="http://127.0.0.1:8000", version=lambda: "0.32.0", health=lambda: True)
    api.models.return_value, api.is_sleeping.return_value = [{"id": "m"}], False
    api.metrics.side_effect = lambda: metrics.parse([next(pages)])
    api.page.side_effect = api.server_info.side_effect = RequestFailed("not_found")
    api.completion.side_effect = completion
    facts = read_server(api, clock=itertools.count(0, 60 if stalled is not None else 1).__next__)
    assert facts.liveness is not None and facts.liveness.state == state, facts.liveness
    assert asked == ranks and facts.hangs is (stalled is not None)
    if stalled is not None:
        assert facts.liveness.reason.startswith(f"engine {stalled}: no step was completed")
