# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load on all nodes while it runs: phase, time, tokens a second until now, GPU utilisation."""

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.screen import Size
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.view import (
    NodeProgress,
    cell,
    clock,
    cut,
    labels,
    name_width,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import UNICODE, Style

Nodes = Mapping[str, NodeProgress]

#: Columns of a row beside the node's name, the phase and the gauge.
_FIXED: t.Final = 38
_TIME: t.Final = 14
_NAME: t.Final = 24
_PHASE: t.Final = 32
_BAR: t.Final = 30
#: More nodes than these get one line together where nothing can be drawn anew.
_LINES: t.Final = 12


@dataclass(frozen=True)
class LoadView:
    """Live pictures of the module ``throughput_probe``."""

    style: Style = UNICODE

    def table(self, nodes: Nodes, size: Size) -> list[str]:
        """Title, head and one row a node; where they do not fit, those that still run come first."""
        width = min(size.columns, 140)
        room = name_width({"node": NodeProgress(0.0), **nodes}, min(_NAME, (width - _FIXED) // 3))
        phase = min(_PHASE, (width - _FIXED - room) * 3 // 5, max(5, *(len(_short(node)) for node in nodes.values())))
        gauge = max(1, min(_BAR, width - _FIXED - room - phase))
        head = f" {'node':<{room}}  {'phase':<{phase}}  {'time':<{_TIME}}   tokens/s  {'GPU utilisation':<{gauge}}"
        ordered = sorted(nodes, key=lambda name: nodes[name].ended is not None)
        shown = labels(nodes, room, self.style)
        rows = [self._row(shown[name], nodes[name], (room, phase, gauge), width) for name in ordered]
        title = " " + self.style.fit(self._title(nodes), width - 1)
        lines = [title, head[:width].rstrip(), *cut(rows, size.rows - 2, self.style)]
        return [self.style.clean(line) for line in lines[: size.rows]]

    def plain(self, nodes: Nodes) -> list[str]:
        """One line a node that runs; of a large fleet one line altogether."""
        running = {name: node for name, node in nodes.items() if node.ended is None}
        if len(nodes) <= _LINES:
            return [self.style.clean(f"{name}: {self._plain(node)}") for name, node in running.items()]
        speeds = [speed for node in running.values() if not node.quiet and (speed := rate(node.progress)) is not None]
        busy = [value for node in running.values() if not node.quiet for value in _busy(node)]
        parts = [
            self._title(nodes),
            *([f"{min(speeds):.0f} to {max(speeds):.0f} tokens/s a node"] if speeds else []),
            *([f"GPU {statistics.fmean(busy):.0f} %"] if busy else []),
        ]
        return [self.style.clean(", ".join(parts))]

    def closing(self, name: str, result: Mapping[str, t.Any]) -> list[str]:
        """Nothing: the result is printed, and judged, right after."""
        return []

    def _title(self, nodes: Nodes) -> str:
        ended = sum(node.ended is not None for node in nodes.values())
        elapsed = max((node.elapsed for node in nodes.values() if node.ended is None), default=0.0)
        parts = [f"load on {len(nodes)} node{'s' if len(nodes) != 1 else ''}", clock(elapsed)]
        return self.style.dot.join([*parts, *([f"{ended} done"] if ended else [])])

    def _row(self, name: str, node: NodeProgress, rooms: tuple[int, int, int], width: int) -> str:
        room, phase, gauge = rooms
        label = f" {name:<{room}}"
        words = node.quiet or node.ended
        if words:
            text = f"{label}  {self.style.fit(words, width - len(label) - 2)}"
            return self.style.paint(text, "fail") if node.failed else text
        told = node.progress
        busy = _busy(node)
        mean = statistics.fmean(busy) if busy else None
        utilisation = "" if mean is None else f"{self.style.gauge(mean / 100, gauge)} {cell(mean, 3)} %"
        return (
            f"{label}  {self.style.fit(_short(node), phase):<{phase}}  {self.style.fit(_time(node), _TIME):<{_TIME}}"
            f"  {cell(rate(told), 9, ',.0f')}  {utilisation}"
        ).rstrip()

    def _plain(self, node: NodeProgress) -> str:
        if node.quiet:
            return node.quiet
        told = node.progress
        speed, busy = rate(told), _busy(node)
        parts = [
            _phase(told),
            _time(node),
            *([f"{speed:,.0f} tokens/s"] if speed is not None else []),
            *([f"GPU {' '.join(f'{value:.0f}' for value in busy)} %"] if busy else []),
        ]
        return ", ".join(parts)


def rate(told: Mapping[str, t.Any]) -> float | None:
    """Output tokens a second of the step until now; ``None`` before there is anything to tell."""
    if told.get("phase") == "preparing" or not told.get("tokens") or not told.get("elapsed"):
        return None
    return float(told["tokens"] / told["elapsed"])


def _phase(told: Mapping[str, t.Any]) -> str:
    if told["phase"] == "preparing":
        return str(told.get("name") or "preparing")
    return f"step {told['number']} of {told['count']}: {told['name']}"


def _short(node: NodeProgress) -> str:
    told = node.progress
    if "number" in told:
        return f"{told['number']}/{told['count']} {told['name']}"
    return str(told.get("name") or "preparing")


def _time(node: NodeProgress) -> str:
    """Elapsed of total where the step has a duration, requests of all where it has those, else the time until now."""
    told, age = node.progress, node.age or 0.0
    if told["phase"] == "counting":
        return "counting"
    if told["phase"] == "load" and told["total"]:
        return f"{clock(min(told['elapsed'] + age, told['total']))} of {clock(told['total'])}"
    if told["phase"] == "load":
        return f"{told['finished']}/{told['requests']} req"
    return clock(told["since"] + age)


def _busy(node: NodeProgress) -> list[float]:
    gpus = node.progress.get("gpus") or ()
    return [gpu["utilization_gpu"] for gpu in gpus if gpu["utilization_gpu"] is not None]
