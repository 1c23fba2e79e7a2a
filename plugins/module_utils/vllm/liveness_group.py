# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the liveness services of several nodes restart one vLLM server together.

The head decides. Its workers ask it every few seconds over the private network and report the start of their container.
No node needs access to another one. All containers stop before any starts, because a head that still runs would accept
workers that were started again. A worker that does not reach the head does nothing.
"""

from __future__ import annotations

import json
import threading
import time
import typing as t
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

#: Text for a container that does not run.
_STOPPED: t.Final = "-"


@dataclass(frozen=True)
class GroupOrder:
    """The order to the workers: run containers that were started in the restart number ``round``, or run none."""

    round: int = 0
    run: bool = True

    @classmethod
    def from_json(cls, text: bytes) -> GroupOrder | None:
        """Return the order in the response of the head, or None if it is not an order."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None


class GroupHead:
    """The workers as the head knows them. ``report`` may be called from another thread.

    ``order`` is what the workers are to do, or None before the first sample of the server, when it is unknown.

    :param size: number of nodes of the server, including the head.
    """

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.order: GroupOrder | None = None
        self._size, self._clock = size, clock
        #: For each rank, the start of its container, or None if it does not run, and since when this is so.
        self._reports: dict[int, tuple[str | None, float]] = {}
        #: For each rank, the start of the container that belongs to the running server.
        self._belonging: dict[int, str] = {}

    def report(self, rank: int, server: str | None) -> GroupOrder | None:
        """Record the start of a worker's container, and return ``order``."""
        if rank not in self._reports or self._reports[rank][0] != server:
            self._reports[rank] = (server, self._clock())
        return self.order

    def confirm(self) -> None:
        """Record that the engine has completed a step, so that the containers that run now belong to this server."""
        self._belonging = {rank: server for rank, (server, _since) in self._reports.items() if server is not None}

    def fault(self, limit: float) -> str | None:
        """Return why the server has lost a worker, or None.

        :param limit: seconds for which a container may be stopped; Docker starts a container again that has exited.
        """
        for rank, expected in sorted(self._belonging.items()):
            server, since = self._reports[rank]
            if server is None and self._clock() - since >= limit:
                return f"the container of rank {rank} is not running"
            if server is not None and server != expected:
                return f"the container of rank {rank} was started again without the others"
        return None

    def begin_restart(self, number: int) -> None:
        """Order all workers to stop their container, for the restart ``number``."""
        self.order, self._belonging = GroupOrder(number, run=False), {}

    @property
    def all_stopped(self) -> bool:
        """Whether every worker has reported that its container does not run."""
        return all(self._reports.get(rank, ("", 0.0))[0] is None for rank in range(1, self._size))


def report_path(rank: int, server: str | None) -> str:
    """Return the path of the request with which a worker reports and gets its order."""
    return f"/rank/{rank}/{quote(server or _STOPPED, safe='')}"


def serve(head: GroupHead, address: str, port: int) -> ThreadingHTTPServer:
    """Answer the requests of the workers at ``address`` in a thread. Return the server.

    :raises OSError: if the address is not one of this node, or the port is in use.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0

        def do_GET(self) -> None:
            _root, kind, rank, server = [*self.path.split("/"), "", "", ""][:4]
            if kind != "rank" or not rank.isdecimal() or not server:
                self.send_error(404)
                return
            order = head.report(int(rank), None if server == _STOPPED else unquote(server))
            if order is None:
                self.send_error(503)
                return
            body = json.dumps(asdict(order)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: t.Any) -> None:
            pass

    listener = ThreadingHTTPServer((address, port), Handler)
    listener.daemon_threads = True
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    return listener
