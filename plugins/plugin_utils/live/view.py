# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What live pictures of running tasks are made of: a host's state, times, and what fits the screen."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import Style

#: Seconds without news after which a host is said to be silent.
SILENT: t.Final = 10.0


@dataclass(frozen=True)
class NodeProgress:
    """One host of a running task.

    ``elapsed`` is seconds since the task began on it, ``age`` seconds since its last news (``None``: none yet),
    ``progress`` what it told last, ``ended`` ``None`` while it runs, then ``done`` or why it failed.
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
        """What to say of a host in place of figures; ``None`` where there are figures of now."""
        if self.failed:
            return self.ended
        if self.age is None:
            return "starting" if self.elapsed < SILENT else f"no answer for {clock(self.elapsed)}"
        if self.ended is None and self.age >= SILENT:
            return f"no answer for {clock(self.age)}"
        return None


def clock(seconds: float) -> str:
    """``0:07``, ``12:30``, ``1:00:00``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def cell(value: float | None, width: int, form: str = ".0f") -> str:
    """A number flush right in ``width`` columns, a dash where it is unknown."""
    return f"{'-' if value is None else format(value, form):>{width}}"


def name_width(nodes: Mapping[str, NodeProgress], limit: int) -> int:
    return min(max((len(name) for name in nodes), default=0), limit)


def labels(nodes: Mapping[str, NodeProgress], width: int, style: Style) -> dict[str, str]:
    """Each name in ``width`` columns, so that it can be told from the others: names of a fleet begin and end alike.

    Where they do not fit, the domain that all have goes first, then what stands in the middle of each.
    """
    if name_width(nodes, width + 1) > width:
        domain = _common_domain(list(nodes))
        return {name: _middle_out(name.removesuffix(domain), width, style) for name in nodes}
    return {name: style.clean(name) for name in nodes}


def _common_domain(names: Sequence[str]) -> str:
    """``.example.com``; nothing of one name alone, nor of addresses, whose end is no domain."""
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
    """``lines``, the last ones replaced by their number where they do not fit."""
    if len(lines) <= rows:
        return list(lines)
    kept = max(rows - 1, 0)
    return [*lines[:kept], f" {style.ellipsis} {len(lines) - kept} more; enlarge the window"][:rows]
