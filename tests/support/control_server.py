# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server for control requests that replays responses of a real vLLM, or misbehaves in a chosen way.

A route is a response (``captured`` from vLLM, or an ``Answer`` built by the test), or a function that receives the
connection.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.tests.support.recorded import CAPTURES

Misbehaviour = Callable[["ControlServer", socket.socket], None]


@dataclass(frozen=True)
class Answer:
    """One HTTP response. ``length`` is the Content-Length header, if it differs from the length of the body."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None

    def raw(self) -> bytes:
        headers = {
            "content-type": self.content_type,
            "content-length": str(len(self.body) if self.length is None else self.length),
            "connection": "close",
            **self.headers,
        }
        lines = [f"HTTP/1.1 {self.status} X", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


def document(value: t.Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def captured(name: str, version: str = "0.32") -> Answer:
    """Return a response of a real vLLM; ``name`` is a file in ``tests/fixtures/captures/vllm-VERSION-tp2-http``."""
    path = CAPTURES / f"vllm-{version}-tp2-http" / name
    if path.suffix == ".prom":
        return Answer(body=path.read_bytes(), content_type="text/plain; version=0.0.4; charset=utf-8")
    text = path.read_bytes()
    while text.startswith(b"###"):
        text = text.partition(b"\n")[2]
    head, _blank, body = text.replace(b"\r\n", b"\n").partition(b"\n\n")
    status, *lines = head.decode().splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    return Answer(int(status.split()[1]), body, headers.get("content-type", "application/json"))


def healthy(version: str = "0.32") -> dict[str, Answer | Misbehaviour]:
    """Return the responses of vLLM with TP=2 for every path of a control request."""
    return {
        "/version": captured("version.txt", version),
        "/v1/models": captured("models.txt", version),
        "/health": captured("health.txt", version),
        "/metrics": captured("metrics-after.prom", version),
        "/tokenize": captured("tokenize.txt", version),
        "/detokenize": captured("detokenize.txt", version),
        "/v1/completions": captured("completion.txt", version),
    }


def everywhere(behaviour: Answer | Misbehaviour) -> dict[str, Answer | Misbehaviour]:
    """Return ``behaviour`` for every path."""
    return dict.fromkeys(healthy(), behaviour)


def hang(server: ControlServer, _connection: socket.socket) -> None:
    """Accept the request and send nothing until the server is stopped."""
    server.stopping.wait()


def stall(server: ControlServer, connection: socket.socket) -> None:
    """Start a response and never complete it."""
    connection.sendall(Answer(body=b'{"version"', length=1000).raw())
    server.stopping.wait()


def drip(server: ControlServer, connection: socket.socket) -> None:
    """Send the response byte by byte, so that no single read takes long."""
    connection.sendall(Answer(length=100000).raw())
    while not server.stopping.wait(0.02):
        connection.sendall(b" ")


def slam(_server: ControlServer, _connection: socket.socket) -> None:
    """Close the connection without a response."""


def cut(_server: ControlServer, connection: socket.socket) -> None:
    """Announce more bytes than are sent, then close the connection."""
    connection.sendall(Answer(body=b'{"version": "0.3', length=1000).raw())


def babble(_server: ControlServer, connection: socket.socket) -> None:
    """Send a response that is not HTTP."""
    connection.sendall(b"220 mail.example.com ESMTP\r\n")


HTML = Answer(body=b"<!doctype html><html><body>Please log in</body></html>", content_type="text/html")


class ControlServer:
    """Serve ``routes`` on 127.0.0.1 until the ``with`` block ends; ``requests`` records the requests."""

    def __init__(self, routes: Mapping[str, Answer | Misbehaviour], context: ssl.SSLContext | None = None) -> None:
        self.routes = dict(routes)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.stopping = threading.Event()
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def port(self) -> int:
        return self._socket.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http{'s' if self._context else ''}://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        """The requested paths, in order."""
        return [path for path, _headers, _body in self.requests]

    def __enter__(self) -> ControlServer:
        self._threads[0].start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stopping.set()
        # Closing the socket does not end a blocked accept(), but a last connection does.
        socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _accept(self) -> None:
        while True:
            connection, _address = self._socket.accept()
            if self.stopping.is_set():
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            path = self._read(connection)
            behaviour = self.routes.get(path, Answer(404, b'{"detail":"Not Found"}'))
            if isinstance(behaviour, Answer):
                connection.sendall(behaviour.raw())
            else:
                behaviour(self, connection)
        except OSError:
            pass  # The client disconnected or rejected the certificate, as some tests intend.
        finally:
            connection.close()

    def _read(self, connection: socket.socket) -> str:
        """Read one request from ``connection`` and return its path."""
        data = b""
        while b"\r\n\r\n" not in data and (piece := connection.recv(65536)):
            data += piece
            if data.startswith(b"\x16"):
                return ""  # a TLS client, to which a plain server responds with an HTTP error
        head, _blank, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        while len(body) < int(headers.get("content-length", 0)) and (piece := connection.recv(65536)):
            body += piece
        path = first.split(" ")[1] if " " in first else ""
        self.requests.append((path, headers, body))
        return path
