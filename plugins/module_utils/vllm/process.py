# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the process of a vLLM server by its port or container, and read its command line, environment and workers.

This code reads only /proc; see ``man 5 proc`` for the format of the files.
"""

from __future__ import annotations

import ipaddress
import os
import re
import typing as t
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import engine_args

#: Default port of vLLM.
DEFAULT_PORT: t.Final = 8000

#: Command names (at most 15 characters) of programs that listen on the published ports of containers.
PORT_FORWARDERS: t.Final = frozenset({"docker-proxy", "rootlessport", "rootlesskit", "slirp4netns", "pasta"})

_LISTEN, _ESTABLISHED = "0A", "01"  # states in /proc/net/tcp
_SOCKET = re.compile(r"socket:\[(\d+)\]")
#: Pattern of the titles that vLLM gives its processes, such as "VLLM::Worker_TP1" or, with PP, "VLLM::Worker_PP0_TP1".
_TITLE = re.compile(r"VLLM::(?P<kind>[A-Za-z]+)(?P<parts>(?:_[A-Z]*\d+)*)")
_PART = re.compile(r"_([A-Z]+)(\d+)")


def _address(field: str) -> str:
    """Return the address in a field of /proc/net/tcp, such as ``0C00000A:733D``; its 32-bit words are little-endian."""
    words = bytes.fromhex(field.partition(":")[0])
    address = ipaddress.ip_address(b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4)))
    return str(getattr(address, "ipv4_mapped", None) or address)


class ProcessUnavailable(Exception):
    """The vLLM server's process was not found or cannot be read. The message states the reason."""


@dataclass(frozen=True)
class Worker:
    """A vLLM worker process.

    ``ranks`` maps ``TP``, ``PP``, ``DP`` or ``EP`` to the rank in the process title. ``state`` is the letter in
    /proc/PID/stat, such as ``T`` for a stopped process, or None if it cannot be read. ``nccl`` describes why the
    process does not take part in NCCL's collectives, or is None if NCCL was not asked or reports no problem.
    """

    pid: int
    title: str
    ranks: dict[str, int] = field(default_factory=dict)
    state: str | None = None
    nccl: str | None = None


@dataclass(frozen=True)
class ServerProcess:
    """The process of a running vLLM server.

    ``argv`` is the unmasked command line and may hold secrets: never return it. ``environment`` is None if this user
    may not read it. ``pids`` are the process IDs of the server and all its descendants. ``found_by`` shows how
    the process was found. ``connections`` has the addresses of both ends of the workers' TCP connections to other
    addresses than the loopback, or is None if this user may not see them.
    """

    pid: int
    argv: tuple[str, ...]
    environment: dict[str, str] | None
    pids: frozenset[int]
    workers: tuple[Worker, ...]
    found_by: str
    connections: frozenset[tuple[str, str]] | None = None

    @property
    def arguments(self) -> dict[str, t.Any]:
        """The options on the server's command line, with secrets masked."""
        return engine_args.parse(self.argv) or {}


def worker_of(pid: int, title: str, state: str | None = None) -> Worker | None:
    """Create a ``Worker`` from the title of a worker process. Return None for the title of any other process."""
    match = _TITLE.match(title)
    if match is None or "worker" not in match["kind"].lower():
        return None
    return Worker(pid, match[0], {name: int(rank) for name, rank in _PART.findall(match["parts"])}, state)


class ProcessTable:
    """The processes listed in /proc. Tests use another directory with the same structure."""

    def __init__(self, root: str = "/proc") -> None:
        self._root = Path(root)

    def server_on(self, port: int) -> ServerProcess:
        """Find the vLLM server for ``port``: first by its listening socket, then by its ``--port`` option.

        A container engine may forward ``port`` to another port in the container. In this case, return the vLLM server
        if there is only one.

        :raises ProcessUnavailable: if no server is found.
        """
        servers = dict(self._servers())
        listeners = self._listeners(port)
        if listening := [pid for pid in listeners if pid in servers]:
            return self._describe(self._topmost(listening), "listening socket")
        by_option = [pid for pid, options in servers.items() if options.get("port", DEFAULT_PORT) == port]
        if by_option:
            return self._describe(self._topmost(by_option), "--port")
        # One ``vllm serve`` command may fork several API processes. Count only the topmost process.
        roots = {pid for pid in servers if servers.keys().isdisjoint(self._ancestors(pid))}
        if len(roots) == 1 and any(self._name(pid) in PORT_FORWARDERS for pid in listeners):
            return self._describe(roots.pop(), "only vLLM server behind a published port")
        if roots:
            raise ProcessUnavailable(f"none of the {len(roots)} vLLM servers on this host uses port {port}")
        raise ProcessUnavailable("no vLLM server process is visible on this host")

    def headless_server(self, log_path: str | None = None) -> ServerProcess:
        """Return the vLLM server without an API, which serves as a part of a server on another host.

        If there are several, return the one that writes to ``log_path``.

        :raises ProcessUnavailable: if there is none, or more than one.
        """
        headless = {pid for pid, options in self._servers() if options.get("headless")}
        roots = [pid for pid in headless if headless.isdisjoint(self._ancestors(pid))]
        if len(roots) > 1 and log_path is not None:
            roots = [pid for pid in roots if self._stdout(pid) == os.path.realpath(log_path)] or roots
        if len(roots) != 1:
            count = f"{len(roots)} vLLM servers run" if roots else "no vLLM server runs"
            raise ProcessUnavailable(f"{count} with --headless on this host")
        return self._describe(roots[0], "--headless")

    def server_below(self, pid: int) -> ServerProcess:
        """Return the vLLM server that is process ``pid`` or one of its descendants.

        Pass the first process of a container to find the server in the container.

        :raises ProcessUnavailable: if there is no such server.
        """
        family = self._family(pid)
        servers = [server for server, _options in self._servers() if server in family]
        if not servers:
            raise ProcessUnavailable(f"no vLLM server is visible below process {pid}")
        return self._describe(self._topmost(servers), "container")

    def inner_pid(self, pid: int) -> int:
        """Return the process ID of ``pid`` in its own PID namespace, for example in its container."""
        match = re.search(r"^NSpid:.*\s(\d+)$", self._text(pid, "status"), re.M)
        return int(match[1]) if match else pid

    def _describe(self, pid: int, found_by: str) -> ServerProcess:
        pids = self._family(pid)
        titles = ((member, " ".join(self._argv(member)) or self._name(member)) for member in sorted(pids))
        workers = tuple(worker for member, title in titles if (worker := worker_of(member, title, self._state(member))))
        connections = self._connections([worker.pid for worker in workers])
        return ServerProcess(pid, tuple(self._argv(pid)), self._environment(pid), pids, workers, found_by, connections)

    def _pids(self) -> list[int]:
        try:
            return sorted(int(entry.name) for entry in self._root.iterdir() if entry.name.isdigit())
        except OSError as problem:
            raise ProcessUnavailable(f"{self._root} cannot be read: {problem.strerror}") from problem

    def _servers(self) -> Iterator[tuple[int, dict[str, t.Any]]]:
        for pid in self._pids():
            options = engine_args.parse(self._argv(pid))
            if options is not None:
                yield pid, options

    def _text(self, pid: int, name: str) -> str:
        """Return the content of a file in /proc/PID, or an empty string if the file cannot be read."""
        try:
            return (self._root / str(pid) / name).read_bytes().decode("utf-8", "replace")
        except OSError:
            return ""

    def _argv(self, pid: int) -> list[str]:
        text = self._text(pid, "cmdline")
        return text.rstrip("\0").split("\0") if text else []

    def _name(self, pid: int) -> str:
        return self._text(pid, "comm").strip()

    def _environment(self, pid: int) -> dict[str, str] | None:
        text = self._text(pid, "environ")
        if not text:
            return None
        return {name: value for name, _equals, value in (item.partition("=") for item in text.split("\0")) if name}

    def _stdout(self, pid: int) -> str | None:
        try:
            return os.readlink(self._root / str(pid) / "fd" / "1")
        except OSError:
            return None

    def _stat(self, pid: int) -> list[str]:
        """Return the state, the parent and the further fields of /proc/PID/stat, or an empty list."""
        # The command name is in parentheses and may itself contain spaces and parentheses.
        return self._text(pid, "stat").rpartition(")")[2].split()

    def _state(self, pid: int) -> str | None:
        return next(iter(self._stat(pid)), None)

    def _parent(self, pid: int) -> int | None:
        fields = self._stat(pid)
        return int(fields[1]) if len(fields) > 1 else None

    def _family(self, pid: int) -> frozenset[int]:
        """Return ``pid`` and all its descendants."""
        parents = {candidate: self._parent(candidate) for candidate in self._pids()}
        family, size = {pid}, 0
        while len(family) > size:
            size = len(family)
            family.update(child for child, parent in parents.items() if parent in family)
        return frozenset(family)

    def _topmost(self, pids: Iterable[int]) -> int:
        """Return the lowest process ID in ``pids`` that is not a descendant of another process in ``pids``."""
        candidates = sorted(pids)
        others = set(candidates)
        return next((pid for pid in candidates if not others.intersection(self._ancestors(pid))), candidates[0])

    def _ancestors(self, pid: int) -> list[int]:
        ancestors: list[int] = []
        parent = self._parent(pid)
        while parent and parent not in ancestors:
            ancestors.append(parent)
            parent = self._parent(parent)
        return ancestors

    def _connections(self, pids: Sequence[int]) -> frozenset[tuple[str, str]] | None:
        """Return the local and the remote address of the TCP connections of processes, without those on this host."""
        inodes = {inode for pid in pids for inode in self._sockets(pid)}
        if not inodes:
            return None
        # A container may have its own network, so read the tables of the process itself.
        tables = (self._text(pids[0], f"net/{table}") for table in ("tcp", "tcp6"))
        rows = [line.split() for text in tables for line in text.splitlines()[1:]]
        ends = ((_address(row[1]), _address(row[2])) for row in rows if row[9] in inodes and row[3] == _ESTABLISHED)
        return frozenset(pair for pair in ends if not ipaddress.ip_address(pair[1]).is_loopback and pair[0] != pair[1])

    def _listeners(self, port: int) -> list[int]:
        """Return the processes that listen on TCP ``port``. Only root can see the sockets of other users' processes."""
        inodes = {inode for table in ("tcp", "tcp6") for inode in self._listening_inodes(table, port)}
        return [pid for pid in self._pids() if inodes and not inodes.isdisjoint(self._sockets(pid))]

    def _listening_inodes(self, table: str, port: int) -> Iterator[str]:
        try:
            lines = (self._root / "net" / table).read_text().splitlines()[1:]
        except OSError:
            return
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]

    def _sockets(self, pid: int) -> Iterator[str]:
        directory = self._root / str(pid) / "fd"
        try:
            names = os.listdir(directory)
        except OSError:
            return
        for name in names:
            try:
                match = _SOCKET.fullmatch(os.readlink(directory / name))
            except OSError:
                continue
            if match:
                yield match[1]
