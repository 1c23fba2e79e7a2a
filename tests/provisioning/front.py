# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake API on a socket, and a front proxy that injects faults and counts violations of the API document.

    collection -> Front (faults, counts sl-violations) -> prism proxy (Linode's API document) -> FakeLinode (state)

Without Prism, the front forwards to the fake directly, and the form of the requests is not validated.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from fake_linode import FakeLinode, Reply
from faults import Fault, FaultPlan


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: type[BaseHTTPRequestHandler], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def handle_error(self, request, client_address) -> None:
        """Print nothing: broken connections are intended here."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> _Server:
        self._thread.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are separate packets: Nagle's algorithm and delayed ACK would add 40 ms to each request.
    disable_nagle_algorithm = True

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.answer(self.rfile.read(length) if length else None)

    do_POST = do_PUT = do_DELETE = do_GET

    def send(self, reply: Reply, truncate: bool = False) -> None:
        text = isinstance(reply.body, str)
        payload = reply.body.encode() if text else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", "text/html" if text else "application/json")
        self.send_header("Content-Length", str(len(payload)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload[: len(payload) // 2] if truncate else payload)
        if truncate:
            self.hang_up()

    def hang_up(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve_fake(fake: FakeLinode) -> _Server:
    """Return a server for the fake alone, as the upstream of Prism."""

    class Handler(_Handler):
        def answer(self, body: bytes | None) -> None:
            self.send(fake.handle(self.command, self.path, dict(self.headers), body))

    return _Server(Handler)


class Front(_Server):
    """The front proxy.

    ``requests``: number of forwarded requests; ``violations``: their violations of the API document; ``plans``: fault
    plans by token.
    """

    def __init__(self, fake: FakeLinode, prism_url: str | None = None, port: int = 0) -> None:
        self.requests = 0
        self.violations: list[dict] = []
        self.plans: dict[str, FaultPlan] = {}
        self._fake = fake
        self._prism = urlsplit(prism_url).netloc if prism_url else None
        self._lock = threading.Lock()
        front = self

        class Handler(_Handler):
            def answer(self, body: bytes | None) -> None:
                front.respond(self, body)

        super().__init__(Handler, port)

    def respond(self, handler: _Handler, body: bytes | None) -> None:
        token = (handler.headers.get("Authorization") or "").removeprefix("Bearer ")
        path = urlsplit(handler.path).path.removeprefix("/v4")
        fault = self.plans.get(token, FaultPlan()).next(handler.command, path) or Fault(times=0)
        if fault.meanwhile:
            fault.meanwhile()
        strikes_first = not fault.after and (fault.reply or fault.drop or fault.stall)
        reply = Reply(200, {}) if strikes_first else self._forward(handler, body)
        if fault.hold:
            fault.hold()
        if fault.stall or fault.slow:
            time.sleep(fault.stall or fault.slow)
        if fault.drop or fault.stall:
            handler.hang_up()
            return
        handler.send(fault.reply or reply, fault.truncate)

    def _forward(self, handler: _Handler, body: bytes | None) -> Reply:
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in ("host", "connection")}
        with self._lock:
            self.requests += 1
        if self._prism is None:
            return self._fake.handle(handler.command, handler.path, headers, body)
        connection = http.client.HTTPConnection(self._prism, timeout=30)
        try:
            connection.request(handler.command, handler.path, body, headers)
            answer = connection.getresponse()
            payload = answer.read()
        finally:
            connection.close()
        self._note(handler, answer.getheader("sl-violations"), payload)
        kept = {name: value for name, value in answer.getheaders() if name.lower() == "retry-after"}
        return Reply(answer.status, json.loads(payload) if payload else {}, kept)

    def _note(self, handler: _Handler, header: str | None, payload: bytes) -> None:
        violations = [entry for entry in json.loads(header or "[]") if entry["location"][:1] == ["request"]]
        # Prism itself responds to a route that is not in the document.
        if b"stoplight.io/prism" in payload:
            violations.append({"location": ["request"], "message": payload.decode()[:300]})
        with self._lock:
            self.violations += [{**entry, "request": f"{handler.command} {handler.path}"} for entry in violations]
