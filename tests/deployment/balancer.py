# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small load balancer with draining, and a load generator that counts failed requests."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Balancer:
    """A round robin over ``nodes`` (name to port); ``GET /_drain/NAME`` and ``/_enable/NAME`` switch one off and on."""

    def __init__(self, nodes: dict[str, int]) -> None:
        self.nodes, self.drained, self.most_drained = nodes, set(), 0
        self.busy = dict.fromkeys(nodes, 0)
        self.changed = threading.Condition()
        self._turn = itertools.count()
        balancer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                action, _unused, name = self.path.lstrip("/_").partition("/")
                getattr(balancer, action)(name)
                self._answer(200, b"{}")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(*balancer.forward(self.path, body))

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_words: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Balancer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def hooks(self) -> dict[str, object]:
        """Variables with which role vllm drains a node before a change and restores it afterwards."""
        return {
            "vllm_before_change": {"role": "balancer", "tasks_from": "drain"},
            "vllm_after_change": {"role": "balancer", "tasks_from": "enable"},
            "balancer_url": self.url,
        }

    def drain(self, name: str) -> None:
        with self.changed:
            self.drained.add(name)
            self.most_drained = max(self.most_drained, len(self.drained))
            self.changed.wait_for(lambda: not self.busy[name], timeout=50)

    def enable(self, name: str) -> None:
        with self.changed:
            self.drained.discard(name)

    def forward(self, path: str, body: bytes) -> tuple[int, bytes]:
        with self.changed:
            active = [name for name in self.nodes if name not in self.drained]
            name = active[next(self._turn) % len(active)]
            self.busy[name] += 1
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.nodes[name], timeout=30)
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 502, b""
        finally:
            with self.changed:
                self.busy[name] -= 1
                self.changed.notify_all()


class Load:
    """``streams`` clients that send one request after the other while the block runs."""

    def __init__(self, url: str, body: dict[str, object], streams: int) -> None:
        self._url, self._body = f"{url}/v1/completions", json.dumps(body).encode()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _unused in range(streams)]
        self._lock = threading.Lock()
        self.completed = self.failed = 0

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._over.wait(0.2):
            request = urllib.request.Request(self._url, self._body, {"Content-Type": "application/json"})
            try:
                with DIRECT.open(request, timeout=60) as response:
                    good = response.status == 200 and bool(json.load(response)["choices"])
            except (OSError, ValueError, KeyError):
                good = False
            with self._lock:
                self.completed += good
                self.failed += not good
