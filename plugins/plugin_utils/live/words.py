# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is being done on which node, of modules that tell nothing on their way."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.screen import Size
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.view import NodeProgress, clock
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import UNICODE, Style

#: Nodes that are named; of more their number is told.
_NAMED: t.Final = 4


@dataclass(frozen=True)
class WordsView:
    """``words`` say what is done, as in "reading the logs"."""

    words: str
    style: Style = UNICODE

    def table(self, nodes: Mapping[str, NodeProgress], size: Size) -> list[str]:
        """One line: time, words, and the nodes that are not done."""
        return [f" {self.style.fit(line, size.columns - 1)}" for line in self.plain(nodes)]

    def plain(self, nodes: Mapping[str, NodeProgress]) -> list[str]:
        """The same; nothing where all are done."""
        running = {name: node for name, node in nodes.items() if node.ended is None}
        if not running:
            return []
        names = ", ".join(running) if len(running) <= _NAMED else f"{len(running)} nodes"
        elapsed = max(node.elapsed for node in running.values())
        return [self.style.clean(f"{names}: {self.words}, {clock(elapsed)}")]

    def closing(self, name: str, result: Mapping[str, t.Any]) -> list[str]:
        return []
