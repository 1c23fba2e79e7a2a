# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the client of NCCL's RAS service against a server that sends recorded reports."""

from __future__ import annotations

import os
import socketserver
import threading
import typing as t
from collections.abc import Iterator

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.nccl import ras
from ansible_collections.multigpu.vllm.tests.support.recorded import FIXTURES

RECORDED: t.Final = FIXTURES / "nccl/h200x2"
HEALTHY: t.Final = (RECORDED / "ras-healthy.txt").read_text("utf-8")
STOPPED: t.Final = (RECORDED / "ras-stopped.txt").read_text("utf-8")
#: Written after the formats in client_support.cc.
DEAD: t.Final = """\
DEAD
  1 job process is considered dead (unreachable via the RAS network)
  Process 2158 on node 192.0.2.2 managing GPU 1

"""
BEHIND: t.Final = """\
#0-0 (43447225915e8f93) MISMATCH
  Communicator ranks have different AllReduce operation counts
  3 ranks have launched up to operation 58
  Rank 1 has launched up to operation 57 -- GPU 1 managed by process 2158 on node 192.0.2.2

  Communicator ranks have different AllGather operation counts
  Rank 0 has launched up to operation 2 -- GPU 0 managed by process 2157 on node 192.0.2.2
  Rank 3 has not launched any operations -- GPU 3 (NVML 5) managed by process 2160 on node 192.0.2.2

"""


@pytest.mark.parametrize(
    ("report", "stuck"),
    [
        (HEALTHY, {}),
        (STOPPED, {2158: "does not respond"}),
        (DEAD, {2158: "does not respond"}),
        (
            BEHIND,
            {2158: "has launched 57 of 58 AllReduce operations", 2160: "has launched 0 of 2 AllGather operations"},
        ),
        ("", {}),
    ],
)
def test_read_report_names_processes(report: str, stuck: dict[int, str]) -> None:
    assert ras.read_report(report) == stuck


class Service(socketserver.ThreadingTCPServer):
    """The processes of a job. The first ``silent`` connections reach a stopped process, which never answers."""

    daemon_threads = True

    def __init__(self, report: str, silent: int = 0, greeting: str = "SERVER PROTOCOL 2\n") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.report, self.silent, self.greeting = report, silent, greeting
        self.received: list[str] = []
        self.closing = threading.Event()
        self.address = "localhost:{1}".format(*self.server_address)


class Handler(socketserver.StreamRequestHandler):
    server: Service

    def handle(self) -> None:
        if self.server.silent > 0:
            self.server.silent -= 1
            self.server.closing.wait(60)
            return
        for raw in self.rfile:
            line = raw.decode().rstrip("\n")
            self.server.received.append(line)
            if line.lower().startswith("client protocol "):
                self.wfile.write(self.server.greeting.encode())
            elif line.lower().startswith("timeout "):
                self.wfile.write(b"OK\n")
            elif line.lower() == "verbose status":
                self.wfile.write(self.server.report.encode())
                return
            else:
                self.wfile.write(f"ERROR: Unknown command {line}\n".encode())


@pytest.fixture
def serve() -> Iterator[t.Callable[..., Service]]:
    services: list[Service] = []

    def start(*args: t.Any, **options: t.Any) -> Service:
        service = Service(*args, **options)
        threading.Thread(target=service.serve_forever, args=(0.01,), daemon=True).start()
        services.append(service)
        return service

    yield start
    for service in services:
        service.closing.set()
        service.shutdown()
        service.server_close()


def test_stuck_processes_asks_another_process_if_one_is_stopped(
    serve: t.Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ras, "HANDSHAKE", 0.1)
    service = serve(STOPPED, silent=2)
    assert ras.stuck_processes(service.address, os.getpid(), 60) == {2158: "does not respond"}
    assert service.received[-3:] == ["CLIENT PROTOCOL 2", "TIMEOUT 3", "VERBOSE STATUS"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"silent": 1000}, "no process of the job answers"),
        ({"greeting": "SSH-2.0-OpenSSH\n"}, "another program listens"),
    ],
)
def test_stuck_processes_without_report_is_unavailable(
    serve: t.Callable[..., Service], monkeypatch: pytest.MonkeyPatch, options: dict[str, t.Any], words: str
) -> None:
    monkeypatch.setattr(ras, "HANDSHAKE", 0.1)
    service = serve(HEALTHY, **options)
    with pytest.raises(ras.RasUnavailable, match=words):
        ras.stuck_processes(service.address, os.getpid(), 0.5 if "silent" in options else 60)


@pytest.mark.parametrize(
    ("address", "pid"),
    [("localhost:1", os.getpid()), ("localhost", os.getpid()), ("localhost:1", 2**22 + 1)],
    ids=["nothing listens", "no port", "no process"],
)
def test_stuck_processes_without_service_is_unavailable(address: str, pid: int) -> None:
    with pytest.raises(ras.RasUnavailable):
        ras.stuck_processes(address, pid)
