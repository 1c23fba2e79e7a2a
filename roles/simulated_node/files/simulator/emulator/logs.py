# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write start-up lines, NCCL lines, access log and statistics to ``vllm.log``, in the emulated vLLM version's format.

Start-up lines are templates from ``data/versions/boot-*.log`` or the key ``then`` of a scenario. The first word of a
template names the process that writes the line:

- ``api``: the API server; ``core``: the engine core; ``many``: the engine core, if there are several ranks
- ``first``, ``each``: rank 0 or every rank, with a prefix that does not contain the rank yet
- ``one``, ``all``: rank 0 or every rank, with a prefix that contains the rank
- ``nccl``: every rank, in NCCL's log format
- ``raw``: a line without a prefix; ``apiraw``, ``oneraw``: the API server or rank 0, with a prefix but no timestamp

``%nccl`` inserts NCCL's start-up lines, ``%wait N`` advances the log's timestamps by N seconds, and any other ``%name``
is a marker at which a failed start can end.
"""

from __future__ import annotations

import string
import sys
import time
import typing as t
from dataclasses import dataclass, field


@dataclass
class Log:
    """Write log lines to stdout, which is redirected to ``vllm.log``."""

    version: str
    api_pid: int
    core_pid: int
    worker_pids: list[int] = field(default_factory=list)
    hostname: str = "gpu-node"
    #: Age of the log's timestamps in seconds.
    age: float = 0.0

    def write(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def api(self, level: str, place: str, text: str) -> None:
        self._line(self._api_prefix, level, place, text)

    def access(self, peer: str, request: str, status: int) -> None:
        phrase = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed"}
        line = f'INFO:     {peer} - "{request}" {status} {phrase.get(status, "")}'
        # Access log lines have a process prefix in vLLM 0.27, but not in 0.32.
        self.write(line if self.version >= "0.32" else f"{self._api_prefix} {line}")

    def nccl(self, rank: int, text: str, level: str = "INFO") -> None:
        pid = self.worker_pids[rank]
        self.write(f"{self.hostname}:{pid}:{pid} [{rank}] NCCL {level} {text}")

    def boot(self, template: t.Iterable[str], facts: t.Mapping[str, object], until: str | None = None) -> None:
        """Write the log lines that ``template`` describes.

        If ``until`` is given, stop at the marker of this name. A marker is a template line of the form ``%NAME``.
        """
        for line in template:
            if line.startswith("%"):
                if line[1:] == until:
                    return
                self._run_directive(line[1:], facts)
                continue
            source, _unused, rest = line.partition(" ")
            if source == "many" and len(self.worker_pids) < 2:
                continue
            ranks = range(len(self.worker_pids)) if source in ("each", "all", "nccl") else (0,)
            for rank in ranks:
                self._boot_line(source, rest, {**facts, "rank": rank, "worker_pid": self.worker_pids[rank]}, rank)

    def _run_directive(self, directive: str, facts: t.Mapping[str, object]) -> None:
        name, _unused, value = directive.partition(" ")
        if name == "nccl":
            self._nccl_boot(facts)
        elif name == "wait":
            self.age -= float(value)

    def _boot_line(self, source: str, rest: str, facts: t.Mapping[str, object], rank: int) -> None:
        text = string.Template(rest).safe_substitute(facts)
        if source == "nccl":
            level, _unused, message = text.partition(" ")
            self.nccl(rank, message, level)
        elif source == "raw":
            self.write(text)
        elif source == "apiraw":
            self.write(f"{self._api_prefix} {text}")
        elif source == "oneraw":
            self.write(f"{self._worker_prefix(0)} {text}")
        else:
            level, _unused, rest = text.partition(" ")
            place, _unused, message = rest.partition("] ")
            self._line(self._prefix(source, rank), level, place.lstrip("["), message)

    def _prefix(self, source: str, rank: int) -> str:
        if source == "api":
            return self._api_prefix
        if source in ("core", "many"):
            return self._core_prefix
        if source in ("first", "each") and len(self.worker_pids) > 1:
            return f"(Worker pid={self.worker_pids[rank]})"
        return self._worker_prefix(rank)

    def _nccl_boot(self, facts: t.Mapping[str, object]) -> None:
        transport = str(facts["transport"])
        ranks = len(self.worker_pids)
        if ranks < 2:
            return
        for rank in range(ranks):
            self.nccl(rank, "Bootstrap : Using eth0:192.0.2.10<0>")
            self.nccl(rank, f"cudaDriverVersion {facts['cuda_version']}")
        self.write(f"NCCL version {facts['nccl_version']}+cuda13.0")
        for rank in range(ranks):
            self.nccl(rank, "NET/Plugin: Could not find: libnccl-net.so. Using internal network plugin.")
            for name, value in t.cast("dict[str, str]", facts["environment"]).items():
                if name.startswith("NCCL_") and name != "NCCL_DEBUG":
                    self.nccl(rank, f"{name} set by environment to {value}.")
            self.nccl(rank, "NET/IB : No device found.")
            self.nccl(rank, "NET/Socket : Using [0]eth0:192.0.2.10<0>")
            self.nccl(rank, "Using network Socket")
        for channel in range(2):
            for rank in range(ranks):
                peer = (rank + 1) % ranks
                path = f"Channel {channel:02d}/0 : {rank}[{rank}] -> {peer}[{peer}]"
                if transport.startswith("NET"):
                    self.nccl(peer, f"{path} [receive] via {transport}/0")
                    self.nccl(rank, f"{path} [send] via {transport}/0")
                else:
                    self.nccl(rank, f"{path} via {transport}")
        for rank in range(ranks):
            self.nccl(rank, "Connected all rings")
            self.nccl(rank, "threadThresholds 8/8/64 | 32/8/64 | 512 | 512")
            bus = t.cast("list[str]", facts["bus_ids"])[rank]
            self.nccl(
                rank,
                f"ncclCommInitRank comm 0x5{rank:x}a0c0de00 rank {rank} nranks {ranks} cudaDev {rank} nvmlDev {rank} "
                f"busId {bus} commId 0x9e11c0ffee11 - Init COMPLETE",
            )

    @property
    def _api_prefix(self) -> str:
        return f"(APIServer pid={self.api_pid})"

    @property
    def _core_prefix(self) -> str:
        return f"(EngineCore pid={self.core_pid})"

    def _worker_prefix(self, rank: int) -> str:
        """Return the log prefix of a rank's process: a worker process, or the engine core if there is only one rank."""
        return f"(Worker_TP{rank} pid={self.worker_pids[rank]})" if len(self.worker_pids) > 1 else self._core_prefix

    def _now(self) -> str:
        return time.strftime("%m-%d %H:%M:%S", time.localtime(time.time() - self.age))

    def _line(self, prefix: str, level: str, place: str, text: str) -> None:
        self.write(f"{prefix} {level} {self._now()} [{place}] {text}")
