# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Assign the ranks of a server to GPUs and name their processes, as vLLM does for models without experts.

The data-parallel engines of such a model are independent: each has its own ranks, numbered from 0, on consecutive GPUs.
Within an engine, consecutive ranks belong to the same pipeline stage. Source: multiproc_executor.py, parallel_state.py
and core.py of vLLM 0.27 and 0.32.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass


class Rank(t.NamedTuple):
    """One rank: its engine, its number in this engine, its pipeline stage, its tensor-parallel rank, and its GPU."""

    engine: int
    number: int
    stage: int
    tensor: int
    gpu: int


@dataclass(frozen=True)
class Layout:
    """Parallel sizes of a server, the indices of the GPUs that it may use, and the number of its nodes.

    ``node`` is the number of the node to which the GPUs belong. Ranks on other nodes use GPUs with the same indices.
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    gpus: t.Sequence[int] = range(16)
    nodes: int = 1
    node: int = 0

    @property
    def world_size(self) -> int:
        """Number of ranks of one engine."""
        return self.tensor * self.pipeline

    @property
    def local_size(self) -> int:
        """Number of ranks on each node."""
        return self.world_size * self.data // self.nodes

    @property
    def all_ranks(self) -> list[Rank]:
        """All ranks of the server: those of engine 0 first."""
        size, local = self.world_size, self.local_size
        return [
            Rank(
                index // size, index % size, index % size // self.tensor, index % self.tensor, self.gpus[index % local]
            )
            for index in range(size * self.data)
        ]

    @property
    def ranks(self) -> list[Rank]:
        """The ranks on this node."""
        return self.all_ranks[self.node * self.local_size : (self.node + 1) * self.local_size]

    @property
    def engine_names(self) -> list[str]:
        """Names of the engine cores on this node. Only the first node of a server with several nodes has one."""
        if self.node:
            return []
        return [f"EngineCore_DP{engine}" if self.data > 1 else "EngineCore" for engine in range(self.data)]

    @property
    def server_names(self) -> list[str]:
        """Names of the processes that serve the API: one for each engine, and none on a headless node."""
        if self.node:
            return []
        return [f"ApiServer_{number}" for number in range(self.data)] if self.data > 1 else ["APIServer"]

    def worker_name(self, rank: Rank) -> str:
        """Return the name of a rank's worker process. It contains the numbers that differ between workers."""
        stage = f"_PP{rank.stage}" if self.pipeline > 1 else ""
        return f"Worker{stage}" + (f"_TP{rank.tensor}" if self.tensor > 1 else "")

    @property
    def groups(self) -> list[tuple[str, list[int]]]:
        """Name and rank numbers of each group of an engine that communicates through NCCL: ``tp:0``, ``pp:0``, ..."""
        ranks = range(self.world_size)
        tensor = [[rank for rank in ranks if rank // self.tensor == stage] for stage in range(self.pipeline)]
        pipeline = [[rank for rank in ranks if rank % self.tensor == column] for column in range(self.tensor)]
        named = [("tp", tensor), ("pp", pipeline)]
        return [
            (f"{kind}:{number}", group)
            for kind, groups in named
            for number, group in enumerate(groups)
            if len(group) > 1
        ]

    @property
    def text(self) -> str:
        """The sizes above 1 as in a fingerprint: ``tp2-pp2``; empty if all sizes are 1."""
        sizes = {"tp": self.tensor, "pp": self.pipeline, "dp": self.data}
        return "-".join(f"{name}{size}" for name, size in sizes.items() if size > 1)
