# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide what the live views share: a node's progress, and the formatting of durations, numbers and node names."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import Style

#: Seconds without progress after which a node is shown as not responding.
SILENT: t.Final = 10.0
#: Maximum number of nodes with separate lines if output cannot be redrawn.
MANY_NODES: t.Final = 12
#: Maximum width of the column with the node names.
NAME_WIDTH: t.Final = 24


@dataclass(frozen=True)
class NodeProgress:
    """Progress of a task on one node.

    ``elapsed``: seconds since the task started on the node. ``age``: seconds since ``progress`` last arrived, or None
    if none has arrived yet. ``ended``: None while the task runs, then ``done`` or the reason why it failed.
    """

    elapsed: float
    age: float | None = None
    progress: Mapping[str, t.Any] = field(default_factory=dict)
    ended: str | None = None

    @property
    def failed(self) -> bool:
        return self.ended not in (None, "done")

    @property
    def quiet(self) -> str | None:
        """Return the text to show in place of progress values, or None if the values are current."""
        if self.failed or (self.ended and self.age is None):
            return self.ended
        if self.age is None:
            return "starting" if self.elapsed < SILENT else f"no response for {clock(self.elapsed)}"
        if self.ended is None and self.age >= SILENT:
            return f"no response for {clock(self.age)}"
        return None


Nodes = Mapping[str, NodeProgress]


def clock(seconds: float) -> str:
    """Format a duration in seconds as ``0:07``, ``12:30`` or ``1:00:00``."""
    minutes, remaining = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{remaining:02}" if hours else f"{minutes}:{remaining:02}"


def cell(value: float | None, width: int, form: str = ".0f") -> str:
    """Format a number right-aligned in ``width`` columns; an unknown number becomes a dash."""
    return f"{'-' if value is None else format(value, form):>{width}}"


def name_width(nodes: Nodes, limit: int) -> int:
    """Return the width of the ``node`` column: enough for the header and all node names, but at most ``limit``."""
    return min(max(len("node"), *map(len, nodes)) if nodes else len("node"), limit)


def labels(nodes: Nodes, width: int, style: Style) -> dict[str, str]:
    """Return the name to show for each node, shortened to at most ``width`` columns if necessary.

    If a name is too long, the domain that all names share is removed first, then the middle of each name.
    """
    if max(map(len, nodes), default=0) > width:
        domain = _common_domain(list(nodes))
        return {name: _middle_out(name.removesuffix(domain), width, style) for name in nodes}
    return {name: style.clean(name) for name in nodes}


def _common_domain(names: Sequence[str]) -> str:
    """Return the domain that all names share, such as ``.example.com``, or an empty string if they share no domain.

    A single name has no shared domain, and neither have IP addresses.
    """
    parts = [name.split(".")[1:] for name in names]
    shared = 0
    for last in zip(*(reversed(part) for part in parts), strict=False):
        if len(names) < 2 or len(set(last)) > 1 or last[0].isdigit():
            break
        shared += 1
    return "".join(f".{part}" for part in parts[0][len(parts[0]) - shared :]) if shared else ""


def _middle_out(name: str, width: int, style: Style) -> str:
    if len(name) <= width:
        return style.clean(name)
    kept = width - len(style.ellipsis)
    tail = kept * 2 // 3
    return style.clean(name[: kept - tail] + style.ellipsis + name[len(name) - tail :])


def cut(lines: Sequence[str], rows: int, style: Style) -> list[str]:
    """Reduce ``lines`` to at most ``rows`` lines. If lines are left out, the last line states how many."""
    if len(lines) <= rows:
        return list(lines)
    kept = max(rows - 1, 0)
    return [*lines[:kept], f" {style.ellipsis} {len(lines) - kept} more; enlarge the window"][:rows]
