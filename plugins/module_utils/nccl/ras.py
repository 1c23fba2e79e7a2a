# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the RAS service of a running NCCL job which of its processes do not respond or lag behind.

All processes of a job listen on the same port. A client sends lines of text and receives ``OK`` for each; after
``VERBOSE STATUS``, the service sends its report and closes the connection. Sources: src/ras/client.cc and
client_support.cc of NCCL 2.26 to 2.30. NCCL 2.28.7 and newer also write JSON, but that of 2.28 is invalid if a rank is
missing (recorded with 2.28.9).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import os
import re
import socket
import time
import typing as t
from pathlib import Path

#: Address of the service if NCCL_RAS_ADDR is not set.
DEFAULT_ADDRESS: t.Final = "localhost:28028"
#: Maximum duration of ``stuck_processes`` in seconds.
DEADLINE: t.Final = 15.0
#: Seconds after which a process that accepted a connection but sent nothing counts as stopped. The kernel accepts
#: connections for stopped processes. The next connection may reach another process.
HANDSHAKE: t.Final = 0.5
#: Seconds that the service waits for other processes. It may take 5 seconds longer (RAS_COLLECTIVE_EXTRA_TIMEOUT_SEC).
PEER_TIMEOUT: t.Final = 3
#: Maximum size of a report in bytes.
MAX_REPORT: t.Final = 8 * 1024 * 1024

_CLONE_NEWNET: t.Final = 0x40000000
_COUNTS: t.Final = re.compile(r"different (\w+) operation counts\n((?:  .*\n)+)")
_COUNT: t.Final = re.compile(r"Rank \d+ has (?:not launched any|launched up to) operations? ?(\d*) -- .*process (\d+) ")


class RasUnavailable(Exception):
    """The service does not answer; the message states the reason."""


def stuck_processes(address: str, pid: int, deadline: float = DEADLINE) -> dict[int, str]:
    """Return the processes that do not take part in collectives: process ID -> description.

    The process IDs are those of the processes' own PID namespace.

    :param address: host and port of the service, as in NCCL_RAS_ADDR.
    :param pid: process of the job, whose network namespace is used. Another namespace requires root.
    :param deadline: maximum duration in seconds.
    :raises RasUnavailable: if nothing listens or the report does not arrive in time.
    """
    # A namespace applies to a thread, and this thread ends with the query.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        try:
            report = thread.submit(_query, address, pid, time.monotonic() + deadline).result()
        except (OSError, ValueError) as error:
            raise RasUnavailable(f"NCCL's RAS service at {address}: {error}") from error
    return read_report(report)


def _query(address: str, pid: int, end: float) -> str:
    host, _colon, port = address.rpartition(":")
    _enter_network(pid)
    while (left := end - time.monotonic()) > 0:
        with (
            contextlib.suppress(TimeoutError),
            socket.create_connection((host.strip("[]"), int(port)), timeout=left) as connection,
        ):
            greeting = _command(connection, "CLIENT PROTOCOL 2", time.monotonic() + HANDSHAKE)
            if not greeting.startswith("SERVER PROTOCOL"):
                raise OSError("another program listens")
            _command(connection, f"TIMEOUT {PEER_TIMEOUT}", end)
            connection.sendall(b"VERBOSE STATUS\n")
            return _receive(connection, end)
    raise TimeoutError("no process of the job answers")


def _enter_network(pid: int) -> None:
    """Move this thread to the network namespace of a process, for example of a container."""
    own, other = (Path(f"/proc/{name}/ns/net") for name in ("thread-self", pid))
    if own.stat().st_ino == other.stat().st_ino:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    with other.open("rb") as namespace:
        if libc.setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _command(connection: socket.socket, line: str, end: float) -> str:
    connection.sendall(f"{line}\n".encode())
    return _receive(connection, end, b"\n")


def _receive(connection: socket.socket, end: float, until: bytes | None = None) -> str:
    """Return the received text up to ``until``, or up to the end of the connection."""
    data = b""
    while until is None or not data.endswith(until):
        connection.settimeout(max(end - time.monotonic(), 0.001))
        part = connection.recv(65536)
        data += part
        if not part or len(data) > MAX_REPORT:
            break
    return data.decode(errors="replace")


def read_report(report: str) -> dict[int, str]:
    """Return the processes that do not take part in collectives, from the text of a verbose report.

    The report counts the collectives of each rank whose number differs from that of most others.
    """
    stuck: dict[int, str] = {}
    for name, ranks in _COUNTS.findall(report):
        most = max(map(int, re.findall(r"up to operation (\d+)", ranks)), default=0)
        for count, pid in _COUNT.findall(ranks):
            if int(count or 0) < most:
                stuck[int(pid)] = f"has launched {count or 0} of {most} {name} operations"
    # Only the sections INCOMPLETE and DEAD of the report list processes in this way.
    return stuck | dict.fromkeys(map(int, re.findall(r"^  Process (\d+) on node", report, re.M)), "does not respond")
