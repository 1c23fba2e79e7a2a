# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide what the live views share: a node's progress, and the layout of tables, names, durations and numbers."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.screen import Size
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import UNICODE, Style

#: Seconds without progress after which a node is shown as not responding.
SILENT: t.Final = 10.0
#: Maximum number of nodes with separate lines if output cannot be redrawn.
MANY_NODES: t.Final = 12
#: Maximum width of the column with the node names.
NAME_WIDTH: t.Final = 24


@dataclass
class NodeProgress:
    """Progress of a task on one node.

    ``started``: when the task started on the node. ``received``: when ``progress`` last arrived, or None if none has
    arrived yet. ``ended``: None while the task runs, then ``done`` or the reason why it failed. ``now``: the current
    time. ``run``: ID of this run of the task. All times are in seconds on the same clock.
    """

    started: float
    received: float | None = None
    progress: Mapping[str, t.Any] = field(default_factory=dict)
    ended: str | None = None
    now: float = 0.0
    run: str = ""

    @property
    def elapsed(self) -> float:
        return self.now - self.started

    @property
    def age(self) -> float:
        """Seconds since the last progress arrived, or since the task started if none has arrived yet."""
        return self.now - (self.started if self.received is None else self.received)

    @property
    def failed(self) -> bool:
        return self.ended not in (None, "done")

    @property
    def quiet(self) -> str | None:
        """Return the text to show in place of progress values, or None if the values are current."""
        if self.failed or (self.ended and self.received is None):
            return self.ended
        if self.ended is None and self.age >= SILENT:
            return f"no response for {clock(self.age)}"
        return "starting" if self.received is None else None


Nodes = Mapping[str, NodeProgress]


@dataclass(frozen=True)
class View:
    """Table and plain-text views of the progress of one module on all nodes."""

    style: Style = UNICODE

    def lines(self, nodes: Nodes, size: Size | None) -> list[str]:
        """Return a table for a terminal of ``size``.

        Without a size, return one line per running node, or a single line for a large fleet.
        """
        if size is not None:
            lines = self._table(nodes, size)
        elif len(nodes) > MANY_NODES:
            lines = [", ".join(self._summary(nodes))]
        else:
            running = {name: node for name, node in nodes.items() if node.ended is None}
            lines = [f"{name}: {self._status(node) or ', '.join(self._values(node))}" for name, node in running.items()]
        return [self.style.clean(line) for line in lines]

    def closing(self, name: str, result: Mapping[str, t.Any]) -> list[str]:
        """Return lines about a node that has finished. By default there are none, because the report contains them."""
        return []

    def _table(self, nodes: Nodes, size: Size) -> list[str]:
        """Return a table of all nodes."""
        raise NotImplementedError

    def _summary(self, nodes: Nodes) -> list[str]:
        """Return the values of all nodes together."""
        raise NotImplementedError

    def _values(self, node: NodeProgress) -> list[str]:
        """Return the values of a node that has no status."""
        raise NotImplementedError

    def _status(self, node: NodeProgress) -> str | None:
        """Return the text to show in place of a node's values, or None if there are values to show."""
        raise NotImplementedError

    def _status_row(self, label: str, node: NodeProgress, width: int) -> str:
        text = f"{label}  {self.style.fit(self._status(node) or '', width - len(label) - 2)}"
        return self.style.paint(text, "fail") if node.failed else text

    def _fit(
        self, title: Sequence[str], header: str, rows: Sequence[str], legend: Sequence[str], width: int, size: Size
    ) -> list[str]:
        """Return a table of at most ``size.rows`` lines. If rows are left out, a line states how many."""
        space = size.rows - 2 - len(legend)
        if len(rows) > space:
            kept = max(space - 1, 0)
            rows = [*rows[:kept], f" {self.style.ellipsis} {len(rows) - kept} more; enlarge the window"][:space]
        first, *last = (f" {self.style.fit(text, width - 1)}" for text in (self.style.dot.join(title), *legend))
        return [first, header[:width].rstrip(), *rows, *last][: size.rows]


def clock(seconds: float) -> str:
    """Format a duration in seconds as ``0:07``, ``12:30`` or ``1:00:00``."""
    minutes, remaining = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{remaining:02}" if hours else f"{minutes}:{remaining:02}"


def time_of(elapsed: float, total: float) -> str:
    """Format the elapsed part of a duration in seconds, at most all of it, as ``0:07 of 1:00``."""
    return f"{clock(min(elapsed, total))} of {clock(total)}"


def cell(value: float | None, width: int, form: str = ".0f") -> str:
    """Format a number right-aligned in ``width`` columns; an unknown number becomes a dash."""
    return f"{'-' if value is None else format(value, form):>{width}}"


def labels(names: Collection[str], limit: int, style: Style) -> tuple[str, dict[str, str]]:
    """Return the header of the column with the node names, and the text of this column for each node.

    All of them have the same width, at most ``limit`` or ``NAME_WIDTH``, and begin with a space. If a name is too long,
    the domain that all names share is removed first, then the middle of each name.
    """
    longest = max(map(len, names))
    width = min(max(len("node"), longest), limit, NAME_WIDTH)
    domain = _common_domain(names) if longest > width else ""
    shown = {name: style.clean(_middle_out(name.removesuffix(domain), width, style)) for name in names}
    return f" {'node':<{width}}", {name: f" {text:<{width}}" for name, text in shown.items()}


def _common_domain(names: Collection[str]) -> str:
    """Return the domain that all names share, such as ``.example.com``, or an empty string if they share no domain.

    A single name has no shared domain, and neither have IP addresses.
    """
    shared = ""
    for last in zip(*(reversed(name.split(".")[1:]) for name in names), strict=False):
        if len(names) < 2 or len(set(last)) > 1 or last[0].isdigit():
            break
        shared = f".{last[0]}{shared}"
    return shared


def _middle_out(name: str, width: int, style: Style) -> str:
    if len(name) <= width:
        return name
    kept = width - len(style.ellipsis)
    tail = kept * 2 // 3
    return name[: kept - tail] + style.ellipsis + name[len(name) - tail :]
