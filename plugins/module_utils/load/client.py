# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send streaming requests one after another over one connection. Record the arrival time of bytes before parsing them.

This client is not built on an HTTP library, to avoid running other code between the arrival of bytes and the recording
of their timestamp. Plain connections are read by ``EpollReader``. Connections with TLS, and all connections on systems
without ``epoll``, use ``asyncio.BufferedProtocol``. A small read then takes a third of the time that it takes with
``asyncio.Protocol``, which allocates 256 KiB for every read. In both cases, all data that the operating system reports
at once gets the same timestamp, so the work on one stream does not make the next streams look slower.
"""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import select
import selectors
import socket
import ssl
import struct
import termios
import time
import typing as t
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ansible_collections.multigpu.vllm.plugins.module_utils.load.epoll_reader import EpollReader
from ansible_collections.multigpu.vllm.plugins.module_utils.load.http1 import MalformedResponse, ResponseParser
from ansible_collections.multigpu.vllm.plugins.module_utils.load.stream_response import StreamResponse
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import classify, from_status, normalise_base_url
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed

#: Maximum number of bytes kept from a response that is not a stream; error messages are shorter.
_MAX_ERROR_BODY: t.Final = 64 * 1024

# All connections can share this buffer, because the data of one read is processed before the next read starts.
# The buffer is a memoryview because asyncio's TLS code slices it, and slicing a bytearray would copy the data.
_RECEIVE_BUFFER: t.Final = memoryview(bytearray(64 * 1024))

#: A response may take the timeout, and this fraction of the timeout in addition for each requested token.
_TIMEOUT_PER_TOKEN: t.Final = 1 / 32
#: A response ends with a failure if it has more than this many times the requested tokens.
_MAX_TOKEN_RATIO: t.Final = 2

PATHS: t.Final = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}


class StampingSelector(selectors.DefaultSelector):
    """A selector that records the ``time.monotonic`` time at which the operating system last reported events.

    :param precise: run timers on time to within tens of microseconds, at the cost of one more system call per
        iteration. The timeout of ``epoll`` is in whole milliseconds, rounded up. The timeout of ``select``, which can
        wait for the ``epoll`` object, is in microseconds.
    """

    stamp = 0.0

    def __init__(self, precise: bool = False) -> None:
        super().__init__()
        self._precise = precise

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._precise and timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        events = super().select(timeout)
        self.stamp = time.monotonic()
        return events


@dataclass(frozen=True)
class LoadTarget:
    """The endpoint that receives the requests.

    ``tls`` is None for plain HTTP. ``head`` is the request line and all headers except Content-Length. ``timeout`` is
    in seconds. ``ignores_eos`` is whether the server supports ``ignore_eos``, so that every response must have the
    requested length.
    """

    address: str
    port: int
    host: str
    tls: ssl.SSLContext | None
    head: bytes
    timeout: float
    api_key: str | None = None
    ignores_eos: bool = True

    def request(self, body: bytes) -> bytes:
        """Return the complete HTTP request for a JSON ``body``."""
        return b"%bContent-Length: %d\r\n\r\n%b" % (self.head, len(body), body)


def open_target(
    base_url: str,
    endpoint: str,
    timeout: float,
    api_key: str | None = None,
    ca_path: str | None = None,
    validate_certs: bool = True,
) -> LoadTarget:
    """Return the load target for the ``completions`` or ``chat`` endpoint of the server at ``base_url``.

    :raises ValueError: if ``base_url`` is invalid.
    :raises RequestFailed: if ``ca_path`` cannot be read, or the host name does not resolve to a server.
    """
    parts = urlsplit(normalise_base_url(base_url))
    secure = parts.scheme == "https"
    head = (
        f"POST {parts.path.rstrip('/')}{PATHS[endpoint]} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        "Content-Type: application/json\r\nAccept: text/event-stream\r\nConnection: keep-alive\r\n"
    )
    if api_key:
        head += f"Authorization: Bearer {api_key}\r\n"
    tls = _tls_context(ca_path, validate_certs) if secure else None
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    return LoadTarget(_address(host, port, timeout), port, host, tls, head.encode("latin-1"), timeout, api_key)


def _address(host: str, port: int, timeout: float) -> str:
    """Return an IP address of ``host`` that accepts connections, so that the name is not resolved for every stream."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        with socket.create_connection((host, port), timeout) as connection:
            return str(connection.getpeername()[0])
    except TimeoutError as problem:
        raise _connect_timeout(timeout) from problem
    except (OSError, UnicodeError) as problem:
        raise classify(problem) from problem


def _connect_timeout(seconds: float) -> RequestFailed:
    return RequestFailed("connect_timeout", f"no connection within {seconds:g} s")


def _tls_context(ca_path: str | None, validate_certs: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_path)
    except OSError as problem:
        raise RequestFailed("tls", f"cannot read {ca_path}: {problem.strerror or problem}") from problem
    if not validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(slots=True)
class Exchange:
    """A request for ``wanted`` output tokens, and its response. Times are values of ``time.monotonic``, in seconds."""

    sent: float
    #: 0 if the request was never sent.
    wanted: int
    failure: RequestFailed | None = None
    cancelled: bool = False
    #: Time at which an open loop was scheduled to send the request.
    due: float | None = None
    answer: StreamResponse = field(default_factory=StreamResponse)

    @classmethod
    def never_sent(cls, failure: RequestFailed | None) -> Exchange:
        """Return an exchange whose request was never sent. If ``failure`` is None, the exchange was cancelled."""
        return cls(time.monotonic(), 0, failure, failure is None)


class Connection(asyncio.BufferedProtocol):
    """A connection to ``target`` that carries one exchange (a request and its response) at a time.

    Wait for an exchange to end before the next ``send``.

    :param stamp: returns the arrival time of the bytes that the event loop has just read.
    """

    def __init__(self, target: LoadTarget, stamp: t.Callable[[], float]) -> None:
        self._target = target
        self._stamp = stamp
        self._reader: EpollReader | None = None
        self._descriptor = -1
        # ``connection_made`` sets the transport before ``open`` returns.
        self._transport: asyncio.Transport
        self._parser = ResponseParser()
        self._error_body = b""
        self._exchange: Exchange | None = None
        self._ended: asyncio.Future[Exchange]
        self._requests = 0
        self.reusable = False

    @classmethod
    async def open(cls, target: LoadTarget, stamp: t.Callable[[], float], reader: EpollReader | None) -> Connection:
        """Open a connection that is ready to send.

        :param reader: reads a connection without TLS. If it is None, the event loop reads the connection.
        :raises RequestFailed: if no connection can be opened.
        """
        tls: dict[str, t.Any] = {}
        if target.tls is not None:
            tls = {"ssl": target.tls, "server_hostname": target.host, "ssl_handshake_timeout": target.timeout}
        loop = asyncio.get_running_loop()
        opening = loop.create_connection(lambda: cls(target, stamp), target.address, target.port, **tls)
        try:
            _transport, protocol = await asyncio.wait_for(opening, target.timeout)
        except (asyncio.TimeoutError, TimeoutError) as problem:
            raise _connect_timeout(target.timeout) from problem
        except OSError as problem:
            failure = classify(problem)
            if target.tls and failure.reason in ("connection_reset", "closed_early"):
                failure = RequestFailed("tls", "the server ended the handshake")
            raise failure from problem
        if reader is not None and target.tls is None:
            protocol._leave_reading_to(reader)
        return protocol

    def _leave_reading_to(self, reader: EpollReader) -> None:
        if self._transport.is_closing():
            return
        self._transport.pause_reading()
        self._descriptor = self._transport.get_extra_info("socket").fileno()
        self._reader = reader
        reader.add(self._descriptor, self._received)

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.remove(self._descriptor)
            self._reader = None

    def send(self, body: bytes, wanted: int) -> asyncio.Future[Exchange]:
        """Send a request for ``wanted`` output tokens, and return a future for its ``Exchange``.

        If the request fails, the future does not raise the failure: the ``Exchange`` contains it. The connection must
        be new or ``reusable``.
        """
        self._ended = asyncio.get_running_loop().create_future()
        self._parser = ResponseParser()
        self._error_body = b""
        request = self._target.request(body)
        self.reusable = False
        self._requests += 1
        self._exchange = Exchange(time.monotonic(), wanted)
        self._transport.write(request)
        return self._ended

    def check(self, now: float) -> None:
        """End the exchange if no token has arrived for ``LoadTarget.timeout`` seconds, even if other data has.

        Also end it if the whole response takes too long, so that a server which sends one token now and then cannot
        delay the load step without limit.
        """
        exchange, timeout = self._exchange, self._target.timeout
        if exchange is None:
            return
        arrivals = exchange.answer.arrivals
        limit = timeout * (1 + exchange.wanted * _TIMEOUT_PER_TOKEN)
        if now - (arrivals[-1] if arrivals else exchange.sent) >= timeout:
            reason = "stream_timeout" if arrivals else "first_byte_timeout"
            self._end(RequestFailed(reason, f"no token for {timeout:g} s"))
        elif now - exchange.sent >= limit:
            self._end(RequestFailed("stream_timeout", f"{self.tokens} of {exchange.wanted} tokens in {limit:g} s"))

    def cancel(self) -> None:
        """Cancel the exchange and close the connection, which makes the server abort the request."""
        if self._exchange is not None:
            self._exchange.cancelled = True
            self._end(None)

    def waiting(self) -> int:
        """Return the number of bytes in the socket's receive buffer that have not been read yet."""
        endpoint = self._transport.get_extra_info("socket")
        if endpoint is None or endpoint.fileno() < 0:
            return 0
        (unread,) = struct.unpack("i", fcntl.ioctl(endpoint.fileno(), termios.FIONREAD, bytes(4)))
        return int(unread)

    def close(self) -> None:
        """Close the connection immediately, without waiting for unsent data."""
        self.reusable = False
        self._stop_reading()
        self._transport.abort()

    @property
    def tokens(self) -> int:
        """Number of output tokens that have been received so far in the current exchange.

        If the number of tokens is unknown, this is the number of reads that contained tokens.
        """
        if self._exchange is None:
            return 0
        answer = self._exchange.answer
        return len(answer.counts) if answer.tokens is None else answer.tokens

    @property
    def stale(self) -> bool:
        """Whether a reused connection got no response, probably because the server had closed the idle connection."""
        return self._requests > 1 and not self._parser.started

    # The following methods implement asyncio.BufferedProtocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = t.cast(asyncio.Transport, transport)
        self.reusable = True

    def get_buffer(self, sizehint: int) -> memoryview:
        return _RECEIVE_BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        self._received(bytes(_RECEIVE_BUFFER[:nbytes]), self._stamp())

    def _received(self, data: bytes, stamp: float) -> None:
        """Process ``data``, which arrived at the time ``stamp``.

        Empty data means that the server closed the connection.
        """
        exchange = self._exchange
        if exchange is None or not data:
            self.close()
            return
        parser = self._parser
        try:
            body = parser.feed(data)
            if body:
                if parser.status == 200:
                    exchange.answer.feed(body, stamp)
                    if self.tokens > _MAX_TOKEN_RATIO * exchange.wanted:
                        detail = f"{self.tokens} tokens, {exchange.wanted} requested"
                        raise RequestFailed("too_many_tokens", detail)
                else:
                    self._error_body = (self._error_body + body)[:_MAX_ERROR_BODY]
            if parser.complete:
                self._end(self._response_failure())
        except MalformedResponse as problem:
            self._end(RequestFailed("not_vllm", str(problem)))
        except RequestFailed as failure:
            self._end(self._not_a_stream() or failure)

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self._stop_reading()
        if self._exchange is None:
            return
        if self._parser.close():
            self._end(self._response_failure())
        elif self._parser.started:
            self._end(RequestFailed("closed_early", "the connection closed before the end of the response"))
        else:
            self._end(RequestFailed("connection_reset", "the connection closed before a response arrived"))

    def _response_failure(self) -> RequestFailed | None:
        """Return the failure of an exchange whose response is complete, or None if the exchange succeeded."""
        exchange = t.cast(Exchange, self._exchange)
        answer = exchange.answer
        if self._parser.status != 200:
            return from_status(self._parser.status, self._error_body)
        if (not_a_stream := self._not_a_stream()) is not None:
            return not_a_stream
        if not answer.done and (answer.tokens is None or answer.tokens < exchange.wanted):
            return RequestFailed("closed_early", "the stream ended without [DONE]")
        if self._target.ignores_eos and answer.tokens is not None and answer.tokens < exchange.wanted:
            return RequestFailed("cut_short", f"{answer.tokens} of {exchange.wanted} tokens")
        if not answer.arrivals:
            return RequestFailed("cut_short", "the response has no token")
        return None

    def _not_a_stream(self) -> RequestFailed | None:
        """Check that the response is an event stream. Return None if it is; otherwise return the failure to report."""
        kind = self._parser.headers.get("content-type", "")
        if kind.startswith("text/event-stream"):
            return None
        reason = "not_vllm" if "html" in kind else "malformed_stream"
        return RequestFailed(reason, f"content type {kind or 'missing'}, not text/event-stream")

    def _end(self, failure: RequestFailed | None) -> None:
        exchange, self._exchange = t.cast(Exchange, self._exchange), None
        exchange.failure = failure and failure.without(self._target.api_key)
        self.reusable = self._parser.complete and self._parser.keep_alive and not exchange.cancelled
        if not self.reusable:
            self.close()
        if not self._ended.done():
            self._ended.set_result(exchange)
