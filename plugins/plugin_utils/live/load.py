# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the phase, time, tokens/s and GPU utilisation of the load test on each node while ``throughput_probe`` runs."""

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.units import counted
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import view
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.screen import Size
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.view import NodeProgress, Nodes, cell, clock
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import UNICODE, Style

#: Width of a row without the node's name, the phase and the utilisation gauge.
_FIXED: t.Final = 38
_TIME: t.Final = 14
#: Maximum widths of the phase and the gauge.
_PHASE: t.Final = 32
_GAUGE: t.Final = 30


@dataclass(frozen=True)
class LoadView:
    """Table and plain-text views of the ``throughput_probe`` module's progress."""

    style: Style = UNICODE

    def table(self, nodes: Nodes, size: Size) -> list[str]:
        """Return a title, a header and one row per node, with running nodes first."""
        width = min(size.columns, 140)
        name = view.name_width(nodes, min(view.NAME_WIDTH, (width - _FIXED) // 3))
        phase = min(_PHASE, (width - _FIXED - name) * 3 // 5, max(5, *(len(_short(node)) for node in nodes.values())))
        gauge = max(1, min(_GAUGE, width - _FIXED - name - phase))
        header = f" {'node':<{name}}  {'phase':<{phase}}  {'time':<{_TIME}}   tokens/s  {'GPU utilisation':<{gauge}}"
        ordered = sorted(nodes, key=lambda host: nodes[host].ended is not None)
        shown = view.labels(nodes, name, self.style)
        rows = [self._row(f" {shown[host]:<{name}}", nodes[host], (phase, gauge), width) for host in ordered]
        title = " " + self.style.fit(self._title(nodes), width - 1)
        lines = [title, header[:width].rstrip(), *view.cut(rows, size.rows - 2, self.style)]
        return [self.style.clean(line) for line in lines[: size.rows]]

    def plain(self, nodes: Nodes) -> list[str]:
        """Return one line per running node, or a single line for a large fleet."""
        running = {name: node for name, node in nodes.items() if node.ended is None}
        if len(nodes) <= view.MANY_NODES:
            return [self.style.clean(f"{name}: {self._plain(node)}") for name, node in running.items()]
        current = [node for node in running.values() if not node.quiet]
        speeds = [speed for node in current if (speed := rate(node.progress)) is not None]
        busy = [value for node in current for value in _busy(node)]
        parts = [
            self._title(nodes),
            *([f"{min(speeds):.0f} to {max(speeds):.0f} tokens/s per node"] if speeds else []),
            *([f"GPU {statistics.fmean(busy):.0f} %"] if busy else []),
        ]
        return [self.style.clean(", ".join(parts))]

    def closing(self, name: str, result: Mapping[str, t.Any]) -> list[str]:
        """Return no lines about a node that has finished, because the report contains the node's result."""
        return []

    def _title(self, nodes: Nodes) -> str:
        ended = sum(node.ended is not None for node in nodes.values())
        elapsed = max((node.elapsed for node in nodes.values() if node.ended is None), default=0.0)
        parts = [f"load on {counted(len(nodes), 'node')}", clock(elapsed)]
        return self.style.dot.join([*parts, *([f"{ended} done"] if ended else [])])

    def _row(self, label: str, node: NodeProgress, widths: tuple[int, int], width: int) -> str:
        phase, gauge = widths
        if status := node.quiet or node.ended:
            text = f"{label}  {self.style.fit(status, width - len(label) - 2)}"
            return self.style.paint(text, "fail") if node.failed else text
        busy = _busy(node)
        mean = statistics.fmean(busy) if busy else None
        utilisation = "" if mean is None else f"{self.style.gauge(mean / 100, gauge)} {cell(mean, 3)} %"
        return (
            f"{label}  {self.style.fit(_short(node), phase):<{phase}}  {self.style.fit(_time(node), _TIME):<{_TIME}}"
            f"  {cell(rate(node.progress), 9, ',.0f')}  {utilisation}"
        ).rstrip()

    def _plain(self, node: NodeProgress) -> str:
        if node.quiet:
            return node.quiet
        speed, busy = rate(node.progress), _busy(node)
        parts = [
            _phase(node.progress),
            _time(node),
            *([f"{speed:,.0f} tokens/s"] if speed is not None else []),
            *([f"GPU {' '.join(f'{value:.0f}' for value in busy)} %"] if busy else []),
        ]
        return ", ".join(parts)


def rate(progress: Mapping[str, t.Any]) -> float | None:
    """Return the output tokens per second in the current load step, or None before the first token of the step."""
    if progress.get("phase") == "preparing" or not progress.get("tokens") or not progress.get("elapsed"):
        return None
    return float(progress["tokens"] / progress["elapsed"])


def _phase(progress: Mapping[str, t.Any]) -> str:
    if progress["phase"] == "preparing":
        return str(progress.get("name") or "preparing")
    return f"step {progress['number']} of {progress['count']}: {progress['name']}"


def _short(node: NodeProgress) -> str:
    progress = node.progress
    if "number" in progress:
        return f"{progress['number']}/{progress['count']} {progress['name']}"
    return str(progress.get("name") or "preparing")


def _time(node: NodeProgress) -> str:
    """Return the text for the ``time`` column, which shows how much of the current load step is done.

    The text has the elapsed and total time of the step, or its finished and total requests. Before the first step, it
    has the time since the probe started.
    """
    progress, age = node.progress, node.age or 0.0
    if progress["phase"] == "counting":
        return "counting"
    if progress["phase"] == "load" and progress["total"]:
        return f"{clock(min(progress['elapsed'] + age, progress['total']))} of {clock(progress['total'])}"
    if progress["phase"] == "load":
        return f"{progress['finished']}/{progress['requests']} req"
    return clock(progress["since"] + age)


def _busy(node: NodeProgress) -> list[float]:
    gpus = node.progress.get("gpus") or ()
    return [gpu["utilization_gpu"] for gpu in gpus if gpu["utilization_gpu"] is not None]
