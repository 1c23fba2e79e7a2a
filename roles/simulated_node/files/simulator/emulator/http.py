# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Implement the parts of HTTP/1.1 that vLLM's server uses: keep-alive, chunked bodies and streamed responses."""

from __future__ import annotations

import asyncio
import email.utils
import typing as t
from dataclasses import dataclass, field
from http import HTTPStatus

MAX_HEAD: t.Final = 65536


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Response:
    status: int
    body: bytes = b""
    content_type: str | None = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


Handler = t.Callable[[Request, "Connection"], None]


class Connection(asyncio.Protocol):
    """Client connection.

    A handler calls ``respond`` to send a complete response. To stream a response, it calls ``start_stream``, then
    ``send_event`` for each event, and finally ``end_stream``.
    """

    def __init__(self, handler: Handler, log_access: t.Callable[[str, str, int], None]) -> None:
        self._handler = handler
        self._log_access = log_access
        self._buffer = bytearray()
        self._request: Request | None = None
        self._transport: asyncio.Transport
        self.closed = False
        self.on_close: t.Callable[[], None] | None = None
        self.peer = ""

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = t.cast(asyncio.Transport, transport)
        host, port = transport.get_extra_info("peername")[:2]
        self.peer = f"{host}:{port}"

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self.on_close:
            self.on_close()
            self.on_close = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next_request()

    # ---- responses

    def respond(self, response: Response) -> None:
        request = t.cast(Request, self._request)
        headers = {"content-length": str(len(response.body))}
        if response.content_type:
            headers["content-type"] = response.content_type
        self._head(response.status, {**response.headers, **headers})
        if request.method != "HEAD":
            self._transport.write(response.body)
        self._done(response.status)

    def start_stream(self) -> None:
        self._head(200, {"content-type": "text/event-stream; charset=utf-8"}, {"transfer-encoding": "chunked"})

    def send_event(self, data: bytes) -> None:
        if not self.closed:
            self._transport.write(b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data))

    def end_stream(self) -> None:
        if not self.closed:
            self._transport.write(b"0\r\n\r\n")
            self._done(200)

    def _head(self, status: int, headers: dict[str, str], last: dict[str, str] | None = None) -> None:
        all_headers = {
            "date": email.utils.formatdate(usegmt=True),
            "server": "uvicorn",
            **headers,
            "vary": "Origin",
            **(last or {}),
        }
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in all_headers.items()]
        if not self.closed:
            self._transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def _done(self, status: int) -> None:
        request, self._request = t.cast(Request, self._request), None
        self.on_close = None
        self._log_access(self.peer, f"{request.method} {request.path} HTTP/1.1", status)
        if request.headers.get("connection", "").lower() == "close":
            self._transport.close()
        elif self._buffer:
            asyncio.get_running_loop().call_soon(self._next_request)

    # ---- requests

    def _next_request(self) -> None:
        if self._request or self.closed:
            return
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                self._transport.close()
            return
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        parts = lines[0].split(" ")
        if len(parts) != 3:
            head = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n"
            self._transport.write(head + b"Invalid HTTP request received.")
            self._transport.close()
            return
        fields = (line.partition(":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _unused, value in fields}
        body = self._body(headers, end + 4)
        if body is None:
            return
        self._request = Request(parts[0], parts[1], headers, body)
        self._handler(self._request, self)

    def _body(self, headers: dict[str, str], start: int) -> bytes | None:
        """Remove the request from the buffer and return its body, or return None if the body is incomplete."""
        if headers.get("expect") and len(self._buffer) == start:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in headers.get("transfer-encoding", ""):
            return self._chunked_body(start)
        length = int(headers.get("content-length") or 0)
        if len(self._buffer) < start + length:
            return None
        body = bytes(self._buffer[start : start + length])
        del self._buffer[: start + length]
        return body

    def _chunked_body(self, start: int) -> bytes | None:
        body = b""
        while True:
            line = self._buffer.find(b"\r\n", start)
            if line < 0:
                return None
            size = int(bytes(self._buffer[start:line]).split(b";")[0], 16)
            start = line + 2 + size + 2
            if len(self._buffer) < start:
                return None
            body += self._buffer[line + 2 : line + 2 + size]
            if size == 0:
                del self._buffer[:start]
                return body
