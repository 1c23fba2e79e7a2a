# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send requests to the HTTP API of a vLLM server. Every failed request raises ``RequestFailed``.

Paths and responses are those of the OpenAI-compatible server (``vllm serve``) in vLLM 0.6 and newer.
"""

from __future__ import annotations

import errno
import functools
import http.client
import json
import socket
import ssl
import threading
import time
import typing as t
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import metrics
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.liveness import ENGINE_HEADER

try:
    import requests
except ImportError:  # modules that use this file can still read logs and processes
    HAS_REQUESTS = False
else:
    HAS_REQUESTS = True

#: Maximum size of a response in bytes. As Python objects, JSON takes up to 50 times as much memory.
MAX_BODY: t.Final = 2 * 1024 * 1024
#: Maximum size of the content of /metrics in bytes, which is parsed while it arrives.
MAX_METRICS: t.Final = 32 * 1024 * 1024
#: Seconds to wait beyond the timeout of a request, because the socket may then report a more specific error.
GRACE: t.Final = 0.25
#: Maximum number of characters of a server's error message to include in a failure.
MAX_DETAIL: t.Final = 300

#: Reasons for a failure after the server accepted the request.
TIMED_OUT: t.Final[frozenset[str]] = frozenset({"first_byte_timeout", "stream_timeout"})
#: Reasons for a failure that would also make further requests fail, because the server does not respond.
UNANSWERED: t.Final[frozenset[str]] = TIMED_OUT.union(
    "connection_refused name_not_resolved unreachable connect_timeout tls".split()
)

_STATUS_REASONS: t.Final[dict[int, str]] = {
    **dict.fromkeys((401, 403), "unauthorized"),
    404: "not_found",
    429: "rate_limited",
    **dict.fromkeys((502, 503, 504), "unavailable"),
}

#: Failure reasons by the name of an exception class in requests, urllib3 or http.client. Using names avoids imports.
_LIBRARY_REASONS: t.Final[dict[str, str]] = {
    **dict.fromkeys(("ConnectTimeout", "ConnectTimeoutError"), "connect_timeout"),
    **dict.fromkeys(("ReadTimeout", "ReadTimeoutError"), "first_byte_timeout"),
    **dict.fromkeys(("ChunkedEncodingError", "IncompleteRead"), "closed_early"),
    "ContentDecodingError": "not_vllm",
}

_SYSTEM_REASONS: t.Final[tuple[tuple[type[BaseException], str], ...]] = (
    (ssl.SSLError, "tls"),
    (socket.gaierror, "name_not_resolved"),
    (ConnectionRefusedError, "connection_refused"),
    (ConnectionError, "connection_reset"),
    (EOFError, "closed_early"),
    (http.client.HTTPException, "not_vllm"),
    (TimeoutError, "first_byte_timeout"),
    (ValueError, "not_vllm"),
)

#: Error numbers that mean that a host is unreachable; they have no exception class in ``_SYSTEM_REASONS``.
_UNREACHABLE: t.Final = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM}
)

T = t.TypeVar("T")


def normalise_base_url(url: str) -> str:
    """Return ``url`` without a trailing slash and without a trailing ``/v1``.

    :raises ValueError: if ``url`` is not an ``http`` or ``https`` URL with a host, or contains a password or query.
    """
    text = url.strip().rstrip("/")
    parts = urlsplit(text)
    try:
        port_is_valid = parts.port != 0
    except ValueError:
        port_is_valid = False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        raise ValueError(f"base_url must be an HTTP or HTTPS URL such as http://127.0.0.1:8000, got {url!r}")
    if parts.username or parts.password:
        raise ValueError("base_url must not contain a user name or password; use api_key")
    if parts.query or parts.fragment:
        raise ValueError(f"base_url must be the root URL of the server, without '?' or '#', got {url!r}")
    return text.removesuffix("/v1").rstrip("/")


def decode_json(text: bytes | str) -> t.Any:
    """Decode a JSON document that a server sent.

    :raises ValueError: if ``text`` is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as problem:
        raise ValueError("nested too deeply") from problem


def message_of(body: bytes | str) -> str:
    """Extract the server's error message from a response body: JSON from vLLM or FastAPI, or plain text."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    try:
        document = decode_json(text)
    except ValueError:
        # An HTML page is not useful as an error message.
        return "" if text.lstrip().startswith("<") else shorten(text)
    if not isinstance(document, dict):
        return shorten(text)
    error = document.get("error")
    if isinstance(error, dict):
        document = error
    messages = (document.get("message"), error, document.get("detail"))
    return shorten(next((message for message in messages if isinstance(message, str)), text))


def shorten(text: str) -> str:
    """Return ``text`` on one line, with at most ``MAX_DETAIL`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_DETAIL else line[: MAX_DETAIL - 1] + "…"


def from_status(status: int, body: bytes | str = b"") -> RequestFailed:
    """Return the exception for an HTTP status other than 2xx; ``body`` is the whole response body."""
    message = message_of(body)
    reason = _STATUS_REASONS.get(status)
    if status == 404 and "model" in message and "does not exist" in message:
        reason = "model_not_found"
    if reason is None:
        reason = "server_error" if status >= 500 else "bad_request" if status >= 400 else "not_vllm"
    return RequestFailed(reason, f"HTTP {status}: {message}" if message else f"HTTP {status}", status)


def classify(problem: BaseException) -> RequestFailed:
    """Convert an exception from the HTTP client library to ``RequestFailed``.

    Handles exceptions from ``requests``, ``urllib3``, ``socket``, ``ssl``, ``http.client``, ``asyncio`` and ``json``.
    """
    if isinstance(problem, RequestFailed):
        return problem
    chain = list(_chain(problem))
    for inner in chain:
        # Compare exact classes, because urllib3's NewConnectionError is a subclass of ConnectTimeoutError.
        # A NewConnectionError means that the connection was refused or that the host is unknown.
        if type(inner).__name__ in _LIBRARY_REASONS:
            return RequestFailed(_LIBRARY_REASONS[type(inner).__name__])
    # Check the innermost exception first: it comes from the operating system and is the most specific.
    for inner in reversed(chain):
        for kind, reason in _SYSTEM_REASONS:
            if isinstance(inner, kind):
                return RequestFailed(reason, _system_detail(inner))
        if isinstance(inner, OSError) and inner.errno in _UNREACHABLE:
            return RequestFailed("unreachable", _system_detail(inner))
    return RequestFailed("connection_reset", type(problem).__name__)


def _chain(problem: BaseException) -> t.Iterator[BaseException]:
    """Yield ``problem`` and all exceptions that it wraps, for example as its cause, outermost first."""
    seen: set[int] = set()
    pending: list[object] = [problem]
    while pending:
        item = pending.pop(0)
        if isinstance(item, BaseException) and id(item) not in seen:
            seen.add(id(item))
            yield item
            pending += [getattr(item, "reason", None), item.__cause__, item.__context__, *item.args]


def _system_detail(problem: BaseException) -> str:
    if isinstance(problem, ssl.SSLCertVerificationError):
        return shorten(problem.verify_message)
    if isinstance(problem, OSError):
        return shorten(problem.strerror or "")
    return ""


class VllmApi:
    """A client for one vLLM server. Every method raises ``RequestFailed`` if its request fails.

    :param timeout: maximum time in seconds to wait for a complete response.
    :raises ValueError: if ``base_url`` is invalid.
    :raises RuntimeError: if the Python library ``requests`` is missing; check ``HAS_REQUESTS`` first.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        timeout: float = 10.0,
        ca_path: str | None = None,
        validate_certs: bool = True,
    ) -> None:
        if not HAS_REQUESTS:
            raise RuntimeError("the Python library requests is missing")
        self.base_url = normalise_base_url(base_url)
        self.timeout = timeout
        self._api_key = api_key
        self._session = requests.Session()
        # Ignore proxies and ~/.netrc: requests must reach this server directly and must not leak credentials.
        self._session.trust_env = False
        # Trust the system's CA certificates instead of those that the requests library contains.
        self._session.verify = validate_certs and (ca_path or ssl.get_default_verify_paths().cafile or True)
        if not validate_certs:
            warnings.filterwarnings("ignore", message="Unverified HTTPS request")  # the user disabled verification
        if api_key:
            self._session.headers["Authorization"] = f"Bearer {api_key}"
        # A small compressed response could expand to any size.
        self._session.headers["Accept-Encoding"] = "identity"

    def __enter__(self) -> VllmApi:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._session.close()

    def version(self) -> str:
        """Return vLLM's version, such as ``0.32.0``."""
        return _expect(self._json("GET", "/version"), "version", str)

    def models(self) -> list[dict[str, t.Any]]:
        """Return the entries of ``/v1/models``, one per served model, with keys such as ``id`` and ``root``."""
        entries = _expect(self._json("GET", "/v1/models"), "data", list)
        return [entry for entry in entries if isinstance(entry, dict)]

    def health(self) -> bool:
        """Return whether the engine is healthy. It is not healthy while it starts or after it has exited (HTTP 503)."""
        return self._get_unless("unavailable", "/health", b"".join, MAX_BODY) is not None

    def page(self, path: str) -> bytes:
        """Return the response to a GET request for ``path``."""
        return self._request("GET", path, None, b"".join, MAX_BODY)

    def is_sleeping(self) -> bool:
        """Return whether the engine sleeps. Only servers with VLLM_SERVER_DEV_MODE=1 can sleep and have this path."""
        try:
            return self._json("GET", "/is_sleeping").get("is_sleeping") is True
        except RequestFailed as failure:
            if failure.reason in UNANSWERED:
                raise
        return False

    def accepts_post(self, path: str) -> bool:
        """Return whether the server has an endpoint ``path`` that only accepts POST, and so refuses GET (HTTP 405)."""
        try:
            self.page(path)
        except RequestFailed as failure:
            return failure.status == http.HTTPStatus.METHOD_NOT_ALLOWED
        return False

    def metrics(self) -> metrics.MetricSet | None:
        """Return the Prometheus metrics, or None if the server has no ``/metrics`` endpoint."""
        return self._get_unless("not_found", "/metrics", metrics.parse, MAX_METRICS)

    def server_info(self) -> dict[str, t.Any]:
        """Return the engine's configuration by section. It is offered only with VLLM_SERVER_DEV_MODE=1."""
        return _expect(self._json("GET", "/server_info?config_format=json"), "vllm_config", dict)

    def tokenize(self, prompt: str, model: str) -> list[int]:
        """Return the token IDs of ``prompt`` without adding special tokens."""
        body = {"model": model, "prompt": prompt, "add_special_tokens": False}
        return _expect(self._json("POST", "/tokenize", body), "tokens", list)

    def completion(
        self,
        model: str,
        prompt: str | list[int],
        max_tokens: int,
        data_parallel_rank: int | None = None,
        **options: t.Any,
    ) -> dict[str, t.Any]:
        """Request one completion without streaming, and return the response (``choices``, ``usage`` and other keys).

        :param data_parallel_rank: number of the engine that must compute it, from 0, among those of this API server.
        """
        body = {"model": model, "prompt": prompt, "max_tokens": max_tokens, **options}
        headers = {} if data_parallel_rank is None else {ENGINE_HEADER: str(data_parallel_rank)}
        response = self._json("POST", "/v1/completions", body, headers)
        _expect(response, "choices", list)
        return response

    def _get_unless(self, reason: str, path: str, read: Callable[[Iterable[bytes]], T], limit: int) -> T | None:
        """Send a GET request and return the result of ``read``, or None if the request fails because of ``reason``.

        ``reason`` is a key of ``REASONS``, such as ``not_found``. All other failures raise ``RequestFailed``.
        """
        try:
            return self._request("GET", path, None, read, limit)
        except RequestFailed as failure:
            if failure.reason != reason:
                raise
        return None

    def _json(
        self,
        method: str,
        path: str,
        body: dict[str, t.Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, t.Any]:
        raw = self._request(method, path, body, b"".join, MAX_BODY, headers)
        try:
            document = decode_json(raw)
        except ValueError as problem:
            raise RequestFailed("not_vllm", f"the response from {path} is not JSON") from problem
        if not isinstance(document, dict):
            raise RequestFailed("not_vllm", f"the response from {path} is not a JSON object")
        return document

    def _request(
        self,
        method: str,
        path: str,
        body: dict[str, t.Any] | None,
        read: Callable[[Iterable[bytes]], T],
        limit: int,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Send a request, which must be complete within ``self.timeout`` seconds.

        :param read: receives the body of a 2xx response in pieces, while it arrives; its result is returned.
        :param limit: maximum size of the body in bytes.

        The timeout of a socket restarts with every byte that arrives, and a DNS lookup has no timeout. The request
        therefore runs in a thread, which is abandoned if it takes too long.
        """
        send = functools.partial(
            self._session.request,
            method,
            self.base_url + path,
            json=body,
            headers=headers,
            timeout=self.timeout,
            stream=True,
            allow_redirects=False,
        )
        started = threading.Event()
        outcome: list[T | RequestFailed] = []

        def work() -> None:
            try:
                outcome.append(self._exchange(send, read, limit, started))
            except RequestFailed as failure:
                outcome.append(failure)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(self.timeout + GRACE)
        if not outcome:
            reason = "stream_timeout" if started.is_set() else "first_byte_timeout"
            raise RequestFailed(reason, f"response not complete after {self.timeout:g} s")
        if isinstance(outcome[0], RequestFailed):
            raise outcome[0].without(self._api_key)
        return outcome[0]

    def _exchange(
        self,
        send: Callable[[], requests.Response],
        read: Callable[[Iterable[bytes]], T],
        limit: int,
        started: threading.Event,
    ) -> T:
        try:
            with send() as response:
                started.set()
                pieces = self._pieces(response, limit)
                if 200 <= response.status_code < 300:
                    return read(pieces)
                raise from_status(response.status_code, b"".join(pieces))
        except (OSError, ValueError, http.client.HTTPException) as problem:
            # The requests library raises a ValueError for an invalid URL or body, and an OSError in most other cases.
            failure = classify(problem)
            if started.is_set():
                # The response headers have arrived, so the failure occurred while reading the body.
                body_reasons = {"first_byte_timeout": "stream_timeout", "connection_reset": "closed_early"}
                failure = RequestFailed(body_reasons.get(failure.reason, failure.reason), failure.detail)
            raise failure from problem

    def _pieces(self, response: requests.Response, limit: int) -> Iterator[bytes]:
        size, end = 0, time.monotonic() + self.timeout
        for piece in response.iter_content(65536):
            size += len(piece)
            if size > limit:
                raise RequestFailed("not_vllm", f"response longer than {limit} bytes")
            # A thread that was abandoned must not continue to read.
            if time.monotonic() > end:
                raise RequestFailed("stream_timeout", f"response not complete after {self.timeout:g} s")
            yield piece


def _expect(document: dict[str, t.Any], key: str, kind: type[T]) -> T:
    value = document.get(key)
    if not isinstance(value, kind):
        raise RequestFailed("not_vllm", f"the response has no {key!r}")
    return value
