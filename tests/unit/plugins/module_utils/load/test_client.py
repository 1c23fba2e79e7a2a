# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import concurrent.futures
import json
import socket
import ssl
import subprocess
import unittest.mock
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import client as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.load.engine import StepSetup
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.runner import run_step
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.tests.support.scripted_server import (
    CLOSE,
    HANG,
    RESET,
    STREAM_END,
    STREAM_HEAD,
    Script,
    ScriptedServer,
    error,
    event,
    good_stream,
    http_chunk,
    last_usage,
    piece,
    whole,
)

TOKENS = 3
BODY = b'{"model": "tiny", "prompt": [1, 2], "max_tokens": 3}'
HTML = b"<!DOCTYPE html><html><body><h1>Welcome to nginx!</h1></body></html>"


def load(url: str, requests: int = 1, timeout: float = 20.0, **options: object) -> LoadOutcome:
    target = subject.open_target(url, "completions", timeout, **options)
    return run_step(StepSetup(target, Step("test", 2, TOKENS, 1, requests), lambda: BODY))


def failure_of(script: Script) -> tuple[str, str]:
    with ScriptedServer(lambda _body, _number: script) as server:
        # Use a short timeout only if the server hangs. On a slow machine, other responses could exceed it.
        outcome = load(server.url, timeout=0.3 if HANG in script else 20.0)
    assert (outcome.completed, outcome.failed) == (0, 1)
    return next(iter(outcome.details.items()))


def test_client_healthy_stream_completes():
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        outcome = load(server.url, requests=4, api_key="secret")
    assert (outcome.completed, outcome.failed, outcome.tokens) == (4, 0, 4 * TOKENS)
    assert server.connections == 1
    assert [request["authorization"] for request in server.requests] == [True] * 4


@pytest.mark.parametrize("pause", [0.0, 0.01])
def test_client_stream_cut_inside_characters_and_delimiters_completes(pause):
    stream = good_stream(TOKENS).replace(b'" x"', '"é"'.encode()).replace(b"\xc3\xa9", b" \xc3\xa9"[1:])
    cuts = [stream.index(b"\xc3") + 1, stream.index(b"\n\n") + 1, stream.index(b"\r\n\r\n") + 2, len(stream) - 3]
    bounds = [0, *sorted(cuts), len(stream)]
    script: Script = []
    for start, end in zip(bounds, bounds[1:], strict=False):
        script += [stream[start:end], pause]
    with ScriptedServer(lambda _body, _number: script) as server:
        outcome = load(server.url)
    assert (outcome.completed, outcome.tokens) == (1, TOKENS)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([HANG], "first_byte_timeout"),
        ([STREAM_HEAD, HANG], "first_byte_timeout"),
        ([STREAM_HEAD, event(piece("x", 1)), HANG], "stream_timeout"),
        ([STREAM_HEAD, event(piece("x", 1)), CLOSE], "closed_early"),
        ([STREAM_HEAD, event(piece("x", 1)), RESET], "closed_early"),
        ([STREAM_HEAD, event(piece("x", 1)), STREAM_END], "closed_early"),
        ([CLOSE], "connection_reset"),
        ([RESET], "connection_reset"),
        ([whole("200 OK", HTML, "text/html")], "not_vllm"),
        ([whole("200 OK", b'{"choices":[]}')], "malformed_stream"),
        ([b"220 smtp.example.org ESMTP\r\n"], "not_vllm"),
        ([error("401 Unauthorized", "Unauthorized")], "unauthorized"),
        ([error("404 Not Found", "The model `tiny` does not exist.")], "model_not_found"),
        ([whole("404 Not Found", b'{"detail":"Not Found"}')], "not_found"),
        ([error("400 Bad Request", "too long")], "bad_request"),
        ([error("429 Too Many Requests", "slow down")], "rate_limited"),
        ([error("503 Service Unavailable", "starting")], "unavailable"),
        ([error("500 Internal Server Error", "EngineDeadError")], "server_error"),
        ([STREAM_HEAD, http_chunk(b"garbage without field\n\n")], "malformed_stream"),
        ([STREAM_HEAD, event("{broken")], "malformed_stream"),
        ([STREAM_HEAD, event({"error": {"message": "EngineCore died", "code": 500}})], "server_error"),
        ([good_stream(TOKENS - 1)], "cut_short"),
        ([STREAM_HEAD, event("[DONE]"), STREAM_END], "cut_short"),
    ],
)
def test_client_failure_has_its_reason(script, reason):
    assert failure_of(script)[0] == reason


def test_client_stops_a_stream_that_exceeds_the_requested_tokens():
    endless = [event(piece(" x", n)) for n in range(1, 1000)]
    reason, detail = failure_of([STREAM_HEAD, *endless])
    assert reason == "too_many_tokens"
    assert detail.endswith(f" tokens, {TOKENS} requested")


@pytest.mark.parametrize("counted", [True, False])
def test_client_response_with_rare_tokens_ends(counted):
    client = subject.Connection(subject.open_target("http://127.0.0.1:1", "completions", 10.0), lambda: 0.0)
    client._exchange = subject.Exchange(0.0, 32)
    client._ended, client._transport = concurrent.futures.Future(), unittest.mock.Mock()
    for second in (9, 18):
        document = json.dumps(piece(" x", second if counted else None))
        client._exchange.answer.feed(f"data: {document}\n\n".encode(), float(second))
        client.check(second + 1.0)
    assert client._exchange is not None
    client.check(20.0)
    assert client._ended.result(0).failure.reason == "stream_timeout"
    assert "of 32 tokens in 20 s" in client._ended.result(0).failure.detail


def test_client_keeps_the_server_message():
    assert failure_of([error("400 Bad Request", "maximum context length is 2048")]) == (
        "bad_request",
        "HTTP 400: maximum context length is 2048",
    )


def test_client_masks_an_api_key_that_the_server_repeats():
    with ScriptedServer(lambda _body, _number: [error("401 Unauthorized", "bad key hunter2")]) as server:
        outcome = load(server.url, api_key="hunter2")
    assert outcome.details == {"unauthorized": "HTTP 401: bad key ***"}


def test_client_replaces_a_connection_closed_while_idle():
    with ScriptedServer(
        lambda _body, number: [good_stream(TOKENS), CLOSE] if number == 0 else [good_stream(TOKENS)]
    ) as server:
        outcome = load(server.url, requests=3)
    assert (outcome.completed, outcome.failed) == (3, 0)
    assert server.connections == 2


def test_client_reconnects_if_the_server_closes_after_each_answer():
    script = [good_stream(TOKENS).replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1), CLOSE]
    with ScriptedServer(lambda _body, _number: script) as server:
        outcome = load(server.url, requests=3)
    assert (outcome.completed, outcome.failed, server.connections) == (3, 0, 3)


def test_client_usage_at_the_end_without_done_completes():
    script = [STREAM_HEAD, *(event(piece("x")) for _index in range(TOKENS)), event(last_usage(TOKENS)), STREAM_END]
    with ScriptedServer(lambda _body, _number: script) as server:
        outcome = load(server.url)
    assert (outcome.completed, outcome.tokens) == (1, TOKENS)


def test_client_without_usage_tokens_are_unknown():
    script = [STREAM_HEAD, *(event(piece("x")) for _index in range(TOKENS)), event("[DONE]"), STREAM_END]
    with ScriptedServer(lambda _body, _number: script) as server:
        outcome = load(server.url)
    assert (outcome.completed, outcome.tokens, outcome.uncounted) == (1, 0, 1)
    assert outcome.latencies.summary()["itl"] is None


def test_client_connection_refused_ends_the_step():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        outcome = load(f"http://127.0.0.1:{taken.getsockname()[1]}", requests=10)
    assert set(outcome.failures) == {"connection_refused"}
    assert outcome.failed == 3
    assert outcome.gave_up == "connection_refused"


def test_client_connect_timeout_fails_the_request():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _index in range(4)]
        for endpoint in waiting:
            endpoint.setblocking(False)
            endpoint.connect_ex(("127.0.0.1", port))
        outcome = load(f"http://127.0.0.1:{port}", timeout=0.3)
        for endpoint in waiting:
            endpoint.close()
    assert set(outcome.failures) == {"connect_timeout"}


def test_open_target_connect_timeout_is_not_a_slow_response(monkeypatch):
    monkeypatch.setattr(subject.socket, "create_connection", unittest.mock.Mock(side_effect=TimeoutError("timed out")))
    with pytest.raises(RequestFailed, match="no connection within 2 s") as failure:
        subject.open_target("http://gpu-1.example:8000", "chat", 2.0)
    assert failure.value.reason == "connect_timeout"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subject_name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "9"]
        + ["-keyout", str(key), "-out", str(cert), *subject_name],
        check=True,
        capture_output=True,
    )
    return cert, key


@pytest.fixture
def secure_server(certificate: tuple[Path, Path]):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)], tls=context) as server:
        yield server


def test_client_tls_unknown_authority_fails(secure_server):
    assert set(load(secure_server.url).failures) == {"tls"}


def test_client_tls_known_authority_completes(secure_server, certificate):
    assert load(secure_server.url, requests=2, ca_path=str(certificate[0])).completed == 2


def test_client_tls_without_validation_completes(secure_server):
    assert load(secure_server.url, validate_certs=False).completed == 1


def test_client_tls_to_a_plain_server_fails():
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        outcome = load(server.url.replace("http:", "https:"), timeout=0.5)
    assert outcome.failed == 1
    assert set(outcome.failures) <= {"tls", "connect_timeout"}


def test_open_target_unreadable_ca_path_fails(tmp_path):
    with pytest.raises(RequestFailed) as failure:
        subject.open_target("https://127.0.0.1", "chat", 1.0, ca_path=str(tmp_path / "none.pem"))
    assert failure.value.reason == "tls"


def test_open_target_parses_the_base_url():
    target = subject.open_target("http://127.0.0.1:8000/prefix/v1", "chat", 1.0)
    assert (target.address, target.port) == ("127.0.0.1", 8000)
    assert target.request(b"{}") == (
        b"POST /prefix/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Type: application/json\r\n"
        b"Accept: text/event-stream\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"
    )


def test_open_target_resolves_the_host_name():
    with ScriptedServer(lambda _body, _number: [good_stream(TOKENS)]) as server:
        target = subject.open_target(server.url.replace("127.0.0.1", "localhost"), "completions", 1.0)
    assert target.address == "127.0.0.1"


def test_open_target_unknown_host_name_fails():
    with pytest.raises(RequestFailed) as failure:
        subject.open_target("http://no-such-host.invalid:8000", "completions", 1.0)
    assert failure.value.reason == "name_not_resolved"
