# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import errno
import http.client
import json
import pathlib
import socket
import ssl
import subprocess
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import api
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import VllmApi
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.tests.support import control_server as servers

#: Timeouts in seconds: long enough for a busy machine, and short for servers that hang on purpose.
LONG, SHORT = 10.0, 0.3


def failure_of(call: t.Callable[[], object]) -> RequestFailed:
    with pytest.raises(RequestFailed) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("version", ["0.27", "0.32"])
def test_api_reads_responses_of_a_real_server(version: str) -> None:
    with servers.ControlServer(servers.healthy(version)) as server, VllmApi(server.url, timeout=LONG) as client:
        assert client.version() == f"{version}.0"
        assert client.models()[0]["id"] == "tiny"
        assert client.health() is True
        assert client.metrics().sum("vllm:num_requests_running") == 0
        assert client.tokenize("import os", "tiny") == [75, 617, 904]
        answer = client.completion("tiny", "import os", 8, temperature=0)
    assert answer["system_fingerprint"].startswith(f"vllm-{version}.0-tp2-")
    body = json.loads(server.requests[-1][2])
    assert body == {"model": "tiny", "prompt": "import os", "max_tokens": 8, "temperature": 0}


def test_completion_chooses_an_engine_only_on_request() -> None:
    with servers.ControlServer(servers.healthy()) as server, VllmApi(server.url, timeout=LONG) as client:
        client.completion("tiny", "a", 1, data_parallel_rank=0)
        client.completion("tiny", "a", 1)
    assert [headers.get("x-data-parallel-rank") for _path, headers, _body in server.requests] == ["0", None]


def test_api_key_is_sent_and_masked_in_errors() -> None:
    echo = servers.Answer(401, b'{"error":{"message":"sk-secret is wrong"}}')
    with servers.ControlServer(servers.everywhere(echo)) as server:
        failure = failure_of(VllmApi(server.url, api_key="sk-secret", timeout=LONG).models)
    assert server.requests[0][1]["authorization"] == "Bearer sk-secret"
    assert failure.reason == "unauthorized" and "sk-secret" not in str(failure)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (servers.HTML, "not_vllm"),
        (servers.Answer(body=b"[1]"), "not_vllm"),
        (servers.Answer(body=b'{"status": "ok"}'), "not_vllm"),
        (servers.Answer(body=b"[" * 100_000), "not_vllm"),
        (servers.Answer(500, b"[" * 100_000), "server_error"),
        (servers.Answer(body=b'{"version": 3}'), "not_vllm"),
        (servers.Answer(body=b"\xff\xfe", content_type="text/plain"), "not_vllm"),
        (servers.Answer(302, headers={"location": "http://127.0.0.1:1/"}), "not_vllm"),
        (servers.Answer(401, b'{"error":"Unauthorized"}'), "unauthorized"),
        (servers.Answer(403), "unauthorized"),
        (servers.captured("unknown_model.txt"), "model_not_found"),
        (servers.captured("unknown_path.txt"), "not_found"),
        (servers.captured("too_long_prompt.txt"), "bad_request"),
        (servers.Answer(429, b"slow down", content_type="text/plain"), "rate_limited"),
        (servers.Answer(500, b"Internal Server Error"), "server_error"),
        (servers.Answer(502, b"<html>Bad Gateway</html>"), "unavailable"),
        (servers.Answer(503), "unavailable"),
        (servers.babble, "not_vllm"),
        (servers.slam, "connection_reset"),
        (servers.cut, "closed_early"),
    ],
)
def test_request_invalid_response_is_a_reason(behaviour: t.Any, reason: str) -> None:
    with servers.ControlServer(servers.everywhere(behaviour)) as server:
        failure = failure_of(VllmApi(server.url, timeout=LONG).version)
    assert failure.reason == reason


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [(servers.hang, "first_byte_timeout"), (servers.stall, "stream_timeout"), (servers.drip, "stream_timeout")],
)
def test_request_hanging_server_takes_one_timeout(behaviour: t.Any, reason: str) -> None:
    with servers.ControlServer(servers.everywhere(behaviour)) as server:
        assert failure_of(VllmApi(server.url, timeout=SHORT).version).reason == reason
    assert reason in api.UNANSWERED


def test_health_is_false_during_start_and_raises_if_missing() -> None:
    with servers.ControlServer({"/health": servers.Answer(503)}) as server:
        assert VllmApi(server.url, timeout=LONG).health() is False
        server.routes.clear()
        assert failure_of(VllmApi(server.url, timeout=LONG).health).reason == "not_found"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        # Responses of vLLM 0.26: entrypoints/serve/dev/sleep/api_router.py, and FastAPI without VLLM_SERVER_DEV_MODE=1.
        (servers.document({"is_sleeping": True}), True),
        (servers.document({"is_sleeping": False}), False),
        (servers.document({"detail": "Not Found"}, 404), False),
        (servers.Answer(401), False),
        (servers.HTML, False),
    ],
)
def test_is_sleeping_is_true_only_if_the_server_says_so(answer: servers.Answer, expected: bool) -> None:
    with servers.ControlServer({"/is_sleeping": answer}) as server:
        assert VllmApi(server.url).is_sleeping() is expected


def test_metrics_absent_or_invalid() -> None:
    with servers.ControlServer({}) as server:
        assert VllmApi(server.url, timeout=LONG).metrics() is None
        server.routes["/metrics"] = servers.HTML
        assert failure_of(VllmApi(server.url, timeout=LONG).metrics).reason == "not_vllm"
        server.routes["/metrics"] = servers.Answer(503)
        assert failure_of(VllmApi(server.url, timeout=LONG).metrics).reason == "unavailable"


@pytest.mark.parametrize("status", [200, 500])
def test_request_too_long_response_is_not_vllm(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MAX_BODY", 1000)
    monkeypatch.setattr(api, "MAX_METRICS", 1000)
    with servers.ControlServer(servers.everywhere(servers.Answer(status, b" " * 2000))) as server:
        client = VllmApi(server.url, timeout=LONG)
        for request in (client.version, client.metrics):
            failure = failure_of(request)
            assert (failure.reason, failure.detail) == ("not_vllm", "response longer than 1000 bytes")


def test_request_closed_port_is_connection_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    failure = failure_of(VllmApi(f"http://127.0.0.1:{port}").version)
    assert (failure.reason, failure.detail) == ("connection_refused", "Connection refused")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return a file with a self-signed certificate for 127.0.0.1 and its key."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    argv = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    argv += " -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=CA:TRUE"
    key = path.with_suffix(".key")
    subprocess.run([*argv.split(), "-keyout", str(key), "-out", str(path)], check=True, capture_output=True)
    path.write_text(path.read_text() + key.read_text())
    return path


def test_tls_needs_the_authority_or_no_validation(certificate: pathlib.Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with servers.ControlServer(servers.healthy(), context) as server:
        failure = failure_of(VllmApi(server.url, timeout=LONG).version)
        assert failure.reason == "tls" and "self-signed" in failure.detail
        assert VllmApi(server.url, timeout=LONG, ca_path=str(certificate)).version() == "0.32.0"
        assert VllmApi(server.url, timeout=LONG, validate_certs=False).version() == "0.32.0"


def test_tls_to_a_plain_server_is_a_tls_failure() -> None:
    with servers.ControlServer(servers.healthy()) as server:
        url = server.url.replace("http:", "https:")
        assert failure_of(VllmApi(url, timeout=LONG).version).reason == "tls"


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "connection_refused"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "connection_reset"),
        (BrokenPipeError(errno.EPIPE, "pipe"), "connection_reset"),
        (socket.gaierror(-2, "unknown"), "name_not_resolved"),
        (OSError(errno.EHOSTUNREACH, "no route"), "unreachable"),
        (OSError(errno.ENETUNREACH, "no network"), "unreachable"),
        (OSError(errno.EIO, "strange"), "connection_reset"),
        (ssl.SSLError(1, "handshake"), "tls"),
        (TimeoutError(), "first_byte_timeout"),
        (asyncio.IncompleteReadError(b"", 3), "closed_early"),
        (http.client.IncompleteRead(b""), "closed_early"),
        (http.client.BadStatusLine("x"), "not_vllm"),
        (json.JSONDecodeError("x", "y", 0), "not_vllm"),
        (RequestFailed("cut_short"), "cut_short"),
    ],
)
def test_classify_exceptions_of_clients(problem: BaseException, reason: str) -> None:
    assert api.classify(problem).reason == reason


def test_classify_wrapped_exception_uses_the_cause() -> None:
    try:
        try:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        except OSError as inner:
            raise RuntimeError("wrapped") from inner
    except RuntimeError as outer:
        assert api.classify(outer).reason == "connection_refused"


def test_from_status_uses_the_message_of_the_response() -> None:
    failure = api.from_status(429, b'{"detail": "too many"}')
    assert (failure.reason, failure.status, failure.detail) == ("rate_limited", 429, "HTTP 429: too many")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"error":{"message":"new form","code":400}}', "new form"),
        (b'{"object":"error","message":"old form","code":400}', "old form"),
        (b'{"error":"Unauthorized"}', "Unauthorized"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"other": 1}', '{"other": 1}'),
        (b'["list"]', '["list"]'),
        (b"<html>login</html>", ""),
        ("plain\ntext", "plain text"),
    ],
)
def test_message_of_reads_every_format(body: bytes | str, expected: str) -> None:
    assert api.message_of(body) == expected


def test_message_of_long_text_is_shortened() -> None:
    assert len(api.message_of("x" * 5000)) == api.MAX_DETAIL


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        (" http://127.0.0.1:8000/ ", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("https://host/prefix/v1/", "https://host/prefix"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_normalise_base_url_returns_the_root(url: str, expected: str) -> None:
    assert api.normalise_base_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000",
        "ftp://host",
        "http://",
        "http://host:port",
        "http://host:0",
        "http://u:p@host",
        "http://h/?a=1",
        "",
    ],
)
def test_normalise_base_url_invalid_url_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        api.normalise_base_url(url)


def test_api_without_requests_is_a_runtime_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "HAS_REQUESTS", False)
    with pytest.raises(RuntimeError, match="requests"):
        VllmApi("http://127.0.0.1:8000")
