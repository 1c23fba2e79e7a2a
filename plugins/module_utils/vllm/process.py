# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vLLM server as Linux processes: which one listens on a port, how it was started, what its workers are.

Reads /proc only; field layout: ``man 5 proc``.
"""

from __future__ import annotations

import os
import re
import typing as t
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import engine_args

#: vLLM's own default port.
DEFAULT_PORT: t.Final = 8000

#: Programs that listen on the published ports of containers, by their command name (15 characters at most).
PORT_FORWARDERS: t.Final[frozenset[str]] = frozenset(
    {"docker-proxy", "rootlessport", "rootlesskit", "slirp4netns", "pasta"}
)

_LISTEN = "0A"  # state TCP_LISTEN in /proc/net/tcp
_SOCKET = re.compile(r"socket:\[(\d+)\]")
#: Titles that vLLM gives its processes, for example "VLLM::Worker_TP1" or, with PP, "VLLM::Worker_PP0_TP1".
_TITLE = re.compile(r"VLLM::(?P<kind>[A-Za-z]+)(?P<parts>(?:_[A-Z]*\d+)*)")
_PART = re.compile(r"_([A-Z]+)(\d+)")


class ProcessUnavailable(Exception):
    """No vLLM process can be read here; the message says why, in words a user understands."""


@dataclass(frozen=True)
class Worker:
    """A vLLM worker process by its title: ``ranks`` maps ``TP``, ``PP``, ``DP``, ``EP`` to the rank."""

    pid: int
    title: str
    ranks: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ServerProcess:
    """A running vLLM server.

    ``argv`` is the command line as it is, secrets included: never return it. ``environment`` is ``None`` where this
    user may not read it. ``pids`` are the server and all its descendants.
    """

    pid: int
    argv: tuple[str, ...]
    environment: dict[str, str] | None
    pids: frozenset[int]
    workers: tuple[Worker, ...]
    found_by: str

    @property
    def arguments(self) -> dict[str, t.Any]:
        """Options of the command line, secrets masked."""
        return engine_args.parse(self.argv) or {}


def worker_of(pid: int, title: str) -> Worker | None:
    """A worker from its process title; ``None`` for other processes, the engine core among them."""
    match = _TITLE.match(title)
    if match is None or "worker" not in match["kind"].lower():
        return None
    return Worker(pid, match[0], {name: int(rank) for name, rank in _PART.findall(match["parts"])})


class ProcessTable:
    """What /proc tells. ``root`` is another directory of the same layout in tests."""

    def __init__(self, root: str = "/proc") -> None:
        self._root = Path(root)

    def server_on(self, port: int) -> ServerProcess:
        """The vLLM server that listens on ``port``, else the one whose ``--port`` says so.

        Where a container engine forwards ``port``, the port inside may be another: then the only server there is.

        :raises ProcessUnavailable: where none is found.
        """
        servers = dict(self._servers())
        listening = [pid for pid in self._listeners(port) if pid in servers]
        if listening:
            return self._describe(self._topmost(listening), "listening socket")
        by_option = [pid for pid, options in servers.items() if options.get("port", DEFAULT_PORT) == port]
        if by_option:
            return self._describe(self._topmost(by_option), "--port")
        roots = {self._topmost(self._line(pid, servers)) for pid in servers}
        if len(roots) == 1 and any(self._name(pid) in PORT_FORWARDERS for pid in self._listeners(port)):
            return self._describe(roots.pop(), "only vLLM server behind a published port")
        if roots:
            raise ProcessUnavailable(f"none of the {len(roots)} vLLM servers on this host has port {port}")
        raise ProcessUnavailable("no vLLM server process is visible on this host")

    def server_below(self, pid: int) -> ServerProcess:
        """The vLLM server that process ``pid`` is or has started, as a container's first process.

        :raises ProcessUnavailable: where there is none.
        """
        servers = [found for found, _options in self._servers() if found in self._family(pid)]
        if not servers:
            raise ProcessUnavailable(f"process {pid} runs no vLLM server that is visible here")
        return self._describe(self._topmost(servers), "container")

    def _describe(self, pid: int, found_by: str) -> ServerProcess:
        pids = self._family(pid)
        titles = ((member, " ".join(self._argv(member)) or self._name(member)) for member in sorted(pids))
        workers = tuple(worker for member, title in titles if (worker := worker_of(member, title)))
        return ServerProcess(pid, tuple(self._argv(pid)), self._environment(pid), pids, workers, found_by)

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
        """Content of a file of process ``pid``; empty where it ended meanwhile or belongs to somebody else."""
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

    def _parent(self, pid: int) -> int | None:
        # The command name stands in parentheses and may hold blanks and parentheses itself.
        words = self._text(pid, "stat").rpartition(")")[2].split()
        return int(words[1]) if len(words) > 1 else None

    def _family(self, pid: int) -> frozenset[int]:
        """``pid`` and all its descendants."""
        children: dict[int | None, list[int]] = {}
        for candidate in self._pids():
            children.setdefault(self._parent(candidate), []).append(candidate)
        family, pending = {pid}, [pid]
        while pending:
            found = [child for child in children.get(pending.pop(), []) if child not in family]
            family.update(found)
            pending += found
        return frozenset(family)

    def _topmost(self, pids: Iterable[int]) -> int:
        """The one of ``pids`` that is no descendant of another, the lowest of several."""
        candidates = sorted(pids)
        others = set(candidates)
        return next((pid for pid in candidates if not others.intersection(self._ancestors(pid))), candidates[0])

    def _line(self, pid: int, servers: t.Container[int]) -> list[int]:
        """``pid`` and those of its ancestors that are servers too: API processes forked by one command."""
        return [pid, *(ancestor for ancestor in self._ancestors(pid) if ancestor in servers)]

    def _ancestors(self, pid: int) -> list[int]:
        line: list[int] = []
        parent = self._parent(pid)
        while parent and parent not in line:
            line.append(parent)
            parent = self._parent(parent)
        return line

    def _listeners(self, port: int) -> list[int]:
        """Processes with a socket that listens on TCP ``port``; those of other users only as root."""
        inodes = {inode for table in ("tcp", "tcp6") for inode in self._listening_inodes(table, port)}
        return [pid for pid in self._pids() if inodes and not inodes.isdisjoint(self._sockets(pid))]

    def _listening_inodes(self, table: str, port: int) -> Iterator[str]:
        try:
            lines = (self._root / "net" / table).read_text().splitlines()[1:]
        except OSError:
            return
        for line in lines:
            words = line.split()
            if len(words) > 9 and words[3] == _LISTEN and int(words[1].rpartition(":")[2], 16) == port:
                yield words[9]

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
