# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connect the simulated nodes of one server: which nodes have joined, and the work that their GPUs do together.

The nodes share a directory beside their own, whose name is the address of the first node. This stands for the network.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import pathlib

from . import processes
from .engine import Load

#: Seconds between two looks at the other nodes.
POLL: float = 0.05


class Rendezvous:
    """The nodes of one server, which meet at ``address``. ``node`` is the number of this node, of ``nodes``.

    :param directory: directory of this node.
    """

    def __init__(self, directory: pathlib.Path, address: str, nodes: int, node: int) -> None:
        self._place = directory.parent / f"group-{address}"
        self._nodes, self._node = nodes, node
        self._total, self._taken = Load(), Load()

    def join(self) -> None:
        """Announce this process as its node's part of the server."""
        if self._node == 0:
            for name in ("met", "load"):
                (self._place / name).unlink(missing_ok=True)
        self._write(str(self._node), str(os.getpid()))

    def leave(self) -> None:
        """Withdraw the announcement of this process."""
        (self._place / str(self._node)).unlink(missing_ok=True)

    @property
    def complete(self) -> bool:
        """Whether all nodes have joined and still run."""
        return all(self._runs(node) for node in range(self._nodes))

    async def wait(self) -> None:
        """Wait until all nodes have joined, and the first node has seen the others."""
        while not (self.complete and (self._node == 0 or (self._place / "met").exists())):
            await asyncio.sleep(POLL)
        self._write("met", "")

    def publish(self, load: Load) -> None:
        """Publish further work of the server's engine, from which the other nodes derive the load of their GPUs."""
        if load.busy:
            pairs = zip(dataclasses.astuple(self._total), dataclasses.astuple(load), strict=True)
            self._total = Load(*(total + new for total, new in pairs))
            self._write("load", json.dumps(dataclasses.astuple(self._total)))

    def take(self) -> Load:
        """Return the work that the first node has published since the last call."""
        try:
            total = Load(*json.loads((self._place / "load").read_text("utf-8")))
        except FileNotFoundError:
            return Load()
        pairs = zip(dataclasses.astuple(total), dataclasses.astuple(self._taken), strict=True)
        self._taken = total
        return Load(*(max(0.0, new - old) for new, old in pairs))

    def _runs(self, node: int) -> bool:
        try:
            return processes.exists(int((self._place / str(node)).read_text("utf-8")))
        except FileNotFoundError:
            return False

    def _write(self, name: str, text: str) -> None:
        self._place.mkdir(exist_ok=True)
        temporary = self._place / f".{name}-{os.getpid()}"
        temporary.write_text(text, "utf-8")
        os.replace(temporary, self._place / name)
