# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write start-up lines, NCCL lines, access log and statistics to ``vllm.log``, in the emulated vLLM version's format.

Start-up lines are templates from ``data/versions/boot-*.log`` or the key ``then`` of a scenario. The first word of a
template names the processes that write the line:

- ``main``: the main process, which is the API server if there is only one; ``api``: each API server
- ``core``: the first engine core; ``cores``: each engine core
- ``first``, ``each``: the first rank of each engine on the node, or every rank, with a prefix without the rank
- ``one``, ``all``: the first rank of each engine on the node, or every rank, with a prefix that contains the rank
- ``nccl``: every rank, in NCCL's log format
- ``raw``: a line without a prefix; ``apiraw``, ``oneraw``: the main process or rank 0, with a prefix but no timestamp

``?NAME`` before this word omits the line unless the fact ``NAME`` is true. ``%nccl`` inserts NCCL's start-up lines,
``%wait N`` advances the log's timestamps by N seconds, and any other ``%name`` is a marker at which the lines can end.
"""

from __future__ import annotations

import string
import sys
import time
import typing as t
from dataclasses import dataclass, field

from .layout import Layout, Rank


@dataclass
class Log:
    """Write log lines to stdout, which is redirected to ``vllm.log``.

    ``core_pids``: one per engine. ``worker_pids``: one per rank of ``layout``, in the order of its ranks.
    """

    version: str
    api_pid: int
    core_pids: list[int]
    worker_pids: list[int]
    layout: Layout = field(default_factory=Layout)
    hostname: str = "gpu-node"
    #: Age of the log's timestamps in seconds.
    age: float = 0.0
    #: One per API server; by default, the main process is the only one.
    server_pids: list[int] = field(default_factory=list)

    def write(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def api(self, level: str, place: str, text: str) -> None:
        self._line(self._server_prefixes[0], level, place, text)

    def access(self, peer: str, request: str, status: int) -> None:
        phrase = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed"}
        line = f'INFO:     {peer} - "{request}" {status} {phrase.get(status, "")}'
        # Access log lines have a process prefix in vLLM 0.27, but not in 0.32.
        self.write(line if self.version >= "0.32" else f"{self._server_prefixes[0]} {line}")

    def nccl(self, rank: Rank, text: str, level: str = "INFO") -> None:
        pid = self._pid(rank)
        self.write(f"{self.hostname}:{pid}:{pid} [{rank.gpu}] NCCL {level} {text}")

    def boot(self, template: t.Iterable[str], facts: t.Mapping[str, t.Any], until: str | None = None) -> None:
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
            if source.startswith("?"):
                if not facts.get(source[1:]):
                    continue
                source, _unused, rest = rest.partition(" ")
            for prefix, values in self._writers(source):
                self._boot_line(source, prefix, rest, {**facts, **values})

    def _run_directive(self, directive: str, facts: t.Mapping[str, t.Any]) -> None:
        name, _unused, value = directive.partition(" ")
        if name == "nccl":
            self._nccl_boot(facts)
        elif name == "wait":
            self.age -= float(value)

    def _writers(self, source: str) -> list[tuple[str | Rank, dict[str, int]]]:
        """Return the prefix of each process that writes a line, and the values of its own placeholders."""
        if source in ("main", "apiraw", "raw"):
            return [(self._main_prefix, {})]
        if source == "api":
            return [(prefix, {}) for prefix in self._server_prefixes]
        if source in ("core", "cores"):
            names = self.layout.engine_names[: 1 if source == "core" else None]
            return [(f"({name} pid={pid})", {}) for name, pid in zip(names, self.core_pids, strict=False)]
        everyone = source in ("each", "all", "nccl")
        local = self.layout.ranks
        ranks = [rank for rank in local if everyone or rank.number == local[0].number]
        early = source in ("first", "each")
        return [
            (
                rank if source == "nccl" else self._worker_prefix(rank, early),
                {
                    "rank": rank.number,
                    "local_rank": rank.gpu,
                    "gpu": rank.gpu,
                    "stage": rank.stage,
                    "tensor_rank": rank.tensor,
                    "worker_pid": self._pid(rank),
                },
            )
            for rank in ranks
        ]

    def _boot_line(self, source: str, prefix: str | Rank, template: str, facts: t.Mapping[str, t.Any]) -> None:
        text = string.Template(template).safe_substitute(facts)
        if isinstance(prefix, Rank):
            level, _unused, message = text.partition(" ")
            self.nccl(prefix, message, level)
        elif source == "raw":
            self.write(text)
        elif source in ("apiraw", "oneraw"):
            self.write(f"{prefix} {text}")
        else:
            level, _unused, rest = text.partition(" ")
            place, _unused, message = rest.partition("] ")
            self._line(prefix, level, place.lstrip("["), message)

    def _nccl_boot(self, facts: t.Mapping[str, t.Any]) -> None:
        ranks = self.layout.ranks
        if self.layout.world_size < 2:
            return
        sockets = [f"{name}:{address}<0>" for name, address in facts["nccl_sockets"].items()]
        for rank in ranks:
            self.nccl(rank, f"Bootstrap : Using {sockets[0]}")
            self.nccl(rank, f"cudaDriverVersion {facts['cuda_version']}")
        self.write(f"NCCL version {facts['nccl_version']}+cuda13.0")
        for rank in ranks:
            self.nccl(rank, "NET/Plugin: Could not find: libnccl-net.so. Using internal network plugin.")
            for name, value in facts["environment"].items():
                if name.startswith("NCCL_") and name != "NCCL_DEBUG":
                    self.nccl(rank, f"{name} set by environment to {value}.")
            self.nccl(rank, "NET/IB : No device found.")
            listed = " ".join(f"[{number}]{used}" for number, used in enumerate(sockets))
            self.nccl(rank, f"NET/Socket : Using {listed}")
            self.nccl(rank, "Using network Socket")
        for engine in range(self.layout.data):
            own = [rank for rank in self.layout.all_ranks if rank.engine == engine]
            for number, (_name, members) in enumerate(self.layout.groups):
                self._nccl_group([own[member] for member in members], number, facts)

    def _nccl_group(self, group: list[Rank], number: int, facts: t.Mapping[str, t.Any]) -> None:
        """Write the lines about the connections between the ranks of one communicator that are on this node."""
        own, size = set(self.layout.ranks), len(group)
        local = [rank for rank in group if rank in own]
        if not local:
            return
        nodes = 1 + (len(local) < size)
        for channel in range(2):
            for position, rank in enumerate(group):
                peer = (position + 1) % size
                near = (rank in own) == (group[peer] in own)
                transport = str(facts["transport"]) if near else "NET/Socket"
                path = f"Channel {channel:02d}/0 : {position}[{rank.gpu}] -> {peer}[{group[peer].gpu}]"
                if not transport.startswith("NET"):
                    ends = ((rank, ""),)
                else:
                    ends = ((group[peer], " [receive]"), (rank, " [send]"))
                for end, direction in ends:
                    if end in own:
                        self.nccl(end, f"{path}{direction} via {transport}" + ("/0" if direction else ""))
        for position, rank in enumerate(group):
            if rank not in own:
                continue
            self.nccl(
                rank,
                f"comm 0x5{rank.gpu:x}{number:x}0c0de00 rank {position} nRanks {size} nNodes {nodes} localRanks "
                f"{len(local)} localRank {local.index(rank)} MNNVL 0",
            )
            self.nccl(rank, "Connected all rings")
            self.nccl(rank, "threadThresholds 8/8/64 | 32/8/64 | 512 | 512")
            self.nccl(
                rank,
                f"ncclCommInitRank comm 0x5{rank.gpu:x}{number:x}0c0de00 rank {position} nranks {size} cudaDev "
                f"{rank.gpu} nvmlDev {rank.gpu} busId {facts['bus_ids'][rank.gpu]} commId 0x9e11c0ffee1{number:x} - "
                "Init COMPLETE",
            )

    @property
    def _main_prefix(self) -> str:
        named = self.layout.data == 1 and self.layout.node == 0
        return f"({'APIServer' if named else 'MainProcess'} pid={self.api_pid})"

    @property
    def _server_prefixes(self) -> list[str]:
        pids = self.server_pids or [self.api_pid] * len(self.layout.server_names)
        return [f"({name} pid={pid})" for name, pid in zip(self.layout.server_names, pids, strict=True)]

    def _pid(self, rank: Rank) -> int:
        return self.worker_pids[self.layout.ranks.index(rank)]

    def _worker_prefix(self, rank: Rank, early: bool) -> str:
        """Return the log prefix of a rank's process: a worker, or the engine core if the engine has only one rank.

        :param early: whether the process does not know its rank yet.
        """
        if self.layout.world_size == 1:
            return f"({self.layout.engine_names[rank.engine]} pid={self.core_pids[rank.engine]})"
        return f"({'Worker' if early else self.layout.worker_name(rank)} pid={self._pid(rank)})"

    def _now(self) -> str:
        return time.strftime("%m-%d %H:%M:%S", time.localtime(time.time() - self.age))

    def _line(self, prefix: str, level: str, place: str, text: str) -> None:
        self.write(f"{prefix} {level} {self._now()} [{place}] {text}")
