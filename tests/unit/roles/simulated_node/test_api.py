# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare responses of the emulator with those captured from real servers: status, headers, keys, types and order."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import pathlib
import re
import typing as t

import pytest
from ansible_collections.multigpu.vllm.tests.support.emulated_node import EmulatedNode
from ansible_collections.multigpu.vllm.tests.support.recorded import CAPTURES, FIXTURES
from emulator.scenario import Scenario

VERSIONS = ("0.27", "0.32")
#: Rejected because of the tiny model's vocabulary; has a separate test below.
OTHER_VOCABULARY = "token_out_of_vocab"
#: The captures contain these long requests only in part: (prompt tokens, max_tokens).
LONG = {"too_long_prompt": (3000, 4), "prompt_plus_max_too_long": (2000, 400)}
#: Not emulated: long chats, embeddings, sampling options, structured output.
NOT_EMULATED = set(
    """
    chat_too_long chat_too_long_stream completion-default-max-tokens embeddings empty_prompt ignore_eos
    logit_bias_eos logit_bias_eos_ignore logit_bias_eos_min_tokens prompt_token_ids
    prompt_token_ids_return structured unknown_field unknown_model_chat
    """.split()
)
PROBES = sorted(
    {path.stem for path in (CAPTURES / "vllm-0.32-tp2-http").glob("*.txt")} - NOT_EMULATED - {OTHER_VOCABULARY}
)


class HttpResponse(t.NamedTuple):
    status: int
    headers: list[str]
    body: str


def captured(version: str, probe: str) -> tuple[str, str, str | None, HttpResponse]:
    """Return method, path, request body and response of a capture."""
    text = (CAPTURES / f"vllm-{version}-tp2-http" / f"{probe}.txt").read_text("utf-8")
    head, _unused, body = text.partition("\n\n")
    lines = head.splitlines()
    method, path = lines.pop(0).removeprefix("### ").split()
    sent = lines.pop(0).removeprefix("### body: ") if lines[0].startswith("### body: ") else None
    status = int(lines.pop(0).split()[1])
    return method, path, sent, HttpResponse(status, [line.partition(":")[0] for line in lines], body.strip())


def request(port: int, method: str, path: str, body: str | None, headers: dict[str, str] | None = None) -> HttpResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        sent = None if body is None else body.encode()
        connection.request(method, path, sent, {"content-type": "application/json", **(headers or {})})
        response = connection.getresponse()
        return HttpResponse(
            response.status, [name.lower() for name, _unused in response.getheaders()], response.read().decode().strip()
        )
    finally:
        connection.close()


def shape(value: t.Any) -> t.Any:
    """Return the ordered keys and types of a value; a list is described by its first entry."""
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items()]
    if isinstance(value, list):
        return ["list", *map(shape, value[:1])]
    return type(value).__name__


def documents(body: str) -> list[t.Any]:
    """Return the JSON documents of a complete or streamed response; ``[DONE]`` stays text."""
    if not body.startswith("data: "):
        return [json.loads(body)] if body else []
    events = [line.removeprefix("data: ") for line in body.splitlines() if line]
    return [event if event == "[DONE]" else json.loads(event) for event in events]


@pytest.fixture(scope="module")
def ports(start_node: t.Callable[..., dict[str, t.Any]]) -> dict[str, int]:
    small = ("--server-argument=--served-model-name=tiny", "--server-argument=--max-model-len=2048")
    # The captured servers ran with two ranks; this scenario has the fastest pair of GPUs.
    return {version: start_node("ecc-xid", "--vllm-version", f"{version}.0", *small)["port"] for version in VERSIONS}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("probe", PROBES)
def test_api_response_matches_the_captured_server(ports: dict[str, int], version: str, probe: str) -> None:
    method, path, body, expected = captured(version, probe)
    if probe in LONG:
        prompt, max_tokens = LONG[probe]
        body = json.dumps({"prompt": [10] * prompt, "max_tokens": max_tokens})
    response = request(ports[version], method, path, body)
    assert response.status == expected.status
    assert response.headers == expected.headers
    if expected.status >= 400:
        assert json.loads(response.body) == json.loads(expected.body)
    assert [shape(item) for item in documents(response.body)] == [shape(item) for item in documents(expected.body)]
    if expected.status == 200 and probe in LONG:
        # 0.32 shortens the output to fit the context, which only the usage shows.
        assert json.loads(response.body)["usage"] == json.loads(expected.body)["usage"]


@pytest.mark.parametrize("version", VERSIONS)
def test_completion_token_out_of_vocabulary_is_rejected(ports: dict[str, int], version: str) -> None:
    body = json.dumps({"prompt": [10, 999_999], "max_tokens": 4})
    answer = request(ports[version], "POST", "/v1/completions", body)
    expected = captured(version, OTHER_VOCABULARY)[3]
    assert answer.status == expected.status
    assert answer.body == expected.body.replace("5000", "999999")


def test_completion_logprobs_have_the_format_of_the_captured_server(ports: dict[str, int]) -> None:
    capture = json.loads((FIXTURES / "output/completion-0.32.json").read_text("utf-8"))
    response = request(ports["0.32"], "POST", "/v1/completions", json.dumps(capture["request"]))
    # The tokens are keys.
    ours, theirs = (
        json.loads(re.sub(r'"(token_id:)?[0-9]+":', '"token":', text))
        for text in (response.body, json.dumps(capture["response"]))
    )
    assert shape(ours) == shape(theirs)
    assert shape(ours["choices"][0]["prompt_logprobs"][1:]) == shape(theirs["choices"][0]["prompt_logprobs"][1:])


@pytest.mark.parametrize("name", ["logprobs", "prompt_logprobs"])
def test_completion_more_logprobs_than_allowed_are_rejected(ports: dict[str, int], name: str) -> None:
    body = json.dumps({"prompt": "a", "max_tokens": 1, name: 25})
    kind = {"logprobs": "sample", "prompt_logprobs": "prompt"}[name]
    text = f"Requested {kind} logprobs of 25, which is greater than max allowed: 20 (parameter={name}, value=25)"
    error = json.loads(request(ports["0.32"], "POST", "/v1/completions", body).body)["error"]
    assert error == {"message": text, "type": "BadRequestError", "param": name, "code": 400}


def test_completion_fingerprint_contains_tensor_parallel_size(ports: dict[str, int]) -> None:
    answer = request(ports["0.32"], "POST", "/v1/completions", json.dumps({"prompt": "a", "max_tokens": 1}))
    assert json.loads(answer.body)["system_fingerprint"].startswith("vllm-0.32.0-tp2-")


def test_completion_ignore_eos_generates_exactly_max_tokens(ports: dict[str, int]) -> None:
    body = json.dumps({"prompt": "def f", "max_tokens": 33, "ignore_eos": True, "stream": True})
    events = documents(request(ports["0.32"], "POST", "/v1/completions", body).body)
    assert len(events) == 33 + 1


def test_tokenize_count_equals_usage_and_detokenize_restores_text(ports: dict[str, int]) -> None:
    text = "def größe(x):\n    return x  # éü 漢字"
    tokens = json.loads(request(ports["0.32"], "POST", "/tokenize", json.dumps({"prompt": text})).body)
    answer = request(ports["0.32"], "POST", "/v1/completions", json.dumps({"prompt": text, "max_tokens": 1}))
    assert json.loads(answer.body)["usage"]["prompt_tokens"] == tokens["count"] == len(tokens["tokens"])
    back = request(ports["0.32"], "POST", "/detokenize", json.dumps({"tokens": tokens["tokens"]}))
    assert json.loads(back.body) == {"prompt": text}


@pytest.mark.parametrize("prompt", [{"a": 1}, 7, [None], [["x"]]])
def test_completion_invalid_prompt_is_rejected_and_server_survives(ports: dict[str, int], prompt: t.Any) -> None:
    answer = request(ports["0.32"], "POST", "/v1/completions", json.dumps({"prompt": prompt, "max_tokens": 1}))
    assert answer.status == 400
    assert request(ports["0.32"], "GET", "/health", None).status == 200


def exposition(text: str) -> dict[str, set[str]]:
    """Return the label names of each vLLM metric, without the HTTP middleware's metrics."""
    label_names: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("vllm:"):
            name, _unused, labels = line.rpartition(" ")[0].partition("{")
            keys = {part.partition("=")[0] for part in labels.rstrip("}").split('",')} - {""}
            label_names.setdefault(name, set()).update(keys)
    return label_names


@pytest.mark.parametrize("version", VERSIONS)
def test_metrics_names_and_labels_match_the_version(ports: dict[str, int], version: str) -> None:
    real = exposition((CAPTURES / f"vllm-{version}-tp2-http" / "metrics-after.prom").read_text("utf-8"))
    assert exposition(request(ports[version], "GET", "/metrics", None).body) == real


def test_metrics_generation_tokens_count_sent_tokens(ports: dict[str, int]) -> None:
    def generated() -> float:
        page = request(ports["0.32"], "GET", "/metrics", None).body
        return next(
            float(line.split()[-1]) for line in page.splitlines() if line.startswith("vllm:generation_tokens_total")
        )

    before = generated()
    request(ports["0.32"], "POST", "/v1/completions", json.dumps({"prompt": "a", "max_tokens": 21, "ignore_eos": True}))
    assert generated() - before == 21


FINGERPRINTS = {
    "full": r"vllm-0\.32\.0-tp2-pp2-[0-9a-f]{8}",
    "hash": r"vllm-0\.32\.0-[0-9a-f]{8}",
    "custom": "mine",
    "none": None,
}


@pytest.mark.parametrize("mode", FINGERPRINTS)
def test_fingerprint_mode_shows_or_hides_the_parallel_sizes(tmp_path: pathlib.Path, mode: str) -> None:
    extra = [f"--fingerprint-mode={mode}", "--fingerprint-value=mine"]
    shown = EmulatedNode(tmp_path, Scenario.load("healthy-tp2-pp2"), extra=extra).node.fingerprint
    pattern = FINGERPRINTS[mode]
    assert shown is None if pattern is None else re.fullmatch(pattern, shown or "")


def test_completion_without_fingerprint_is_null_in_a_document_and_missing_in_a_stream(
    start_node: t.Callable[..., dict[str, t.Any]],
) -> None:
    port = start_node("healthy-tp1", "--server-argument=--fingerprint-mode=none")["port"]
    body = {"prompt": "a", "max_tokens": 1}
    whole = json.loads(request(port, "POST", "/v1/completions", json.dumps(body)).body)
    assert whole["system_fingerprint"] is None
    stream = documents(request(port, "POST", "/v1/completions", json.dumps({**body, "stream": True})).body)
    assert not any("system_fingerprint" in event for event in stream[:-1])


def test_dev_mode_serves_its_configuration(
    start_node: t.Callable[..., dict[str, t.Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_SERVER_DEV_MODE", "1")
    port = start_node("healthy-tp2-pp2")["port"]
    info = json.loads(request(port, "GET", "/server_info?config_format=json", None).body)
    sizes = info["vllm_config"]["parallel_config"]
    assert sizes == {
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 2,
        "data_parallel_size": 1,
        "world_size": 4,
    }
    assert isinstance(json.loads(request(port, "GET", "/server_info", None).body)["vllm_config"], str)
    assert json.loads(request(port, "GET", "/is_sleeping", None).body) == {"is_sleeping": False}


def test_dev_routes_are_missing_by_default(ports: dict[str, int]) -> None:
    assert [request(ports["0.32"], "GET", path, None).status for path in ("/server_info", "/is_sleeping")] == [404, 404]


def test_data_parallel_engines_share_the_requests(start_node: t.Callable[..., dict[str, t.Any]]) -> None:
    port = start_node("healthy-dp4")["port"]
    body = json.dumps({"prompt": ["a"], "max_tokens": 5, "ignore_eos": True})
    with concurrent.futures.ThreadPoolExecutor() as executor:
        list(executor.map(lambda _number: request(port, "POST", "/v1/completions", body), range(4)))
    page = request(port, "GET", "/metrics", None).body
    counts = re.findall(r'^vllm:generation_tokens_total\{engine="(\d)".* (\S+)$', page, re.M)
    assert [engine for engine, _unused in counts] == list("0123")
    assert sum(float(count) for _unused, count in counts) == 20
    assert page.count("# TYPE vllm:generation_tokens_total counter") == 1


def test_request_chooses_its_data_parallel_engine(start_node: t.Callable[..., dict[str, t.Any]]) -> None:
    port = start_node("healthy-dp4")["port"]
    body = json.dumps({"prompt": ["a"], "max_tokens": 5, "ignore_eos": True})
    ranks = ("3", "3", "1", "4")
    responses = [request(port, "POST", "/v1/completions", body, {"x-data-parallel-rank": rank}) for rank in ranks]
    assert [response.status for response in responses] == [200, 200, 200, 400]
    assert "data_parallel_rank 4 is out of range [0, 4)" in responses[3].body
    page = request(port, "GET", "/metrics", None).body
    assert re.findall(r'^vllm:generation_tokens_total\{engine="\d".* (\S+)$', page, re.M) == [
        "0.0",
        "5.0",
        "0.0",
        "10.0",
    ]


def test_api_key_is_required_if_set(start_node: t.Callable[..., dict[str, t.Any]]) -> None:
    port = start_node("healthy-tp1", "--server-argument=--api-key=secret")["port"]
    assert request(port, "GET", "/v1/models", None).status == 401
    assert request(port, "GET", "/v1/models", None, {"authorization": "Bearer secret"}).status == 200
    assert request(port, "GET", "/health", None).status == 200
