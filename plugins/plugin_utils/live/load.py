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
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.view import NodeProgress, Nodes, View, cell, clock

#: Width of a row without the node's name, the phase and the utilisation gauge.
_FIXED: t.Final = 38
_TIME: t.Final = 14
#: Maximum widths of the phase and the gauge.
_PHASE: t.Final = 32
_GAUGE: t.Final = 30
#: Texts for a step of the load test in the table and in plain lines.
_SHORT: t.Final = "{number}/{count} {name}"
_LONG: t.Final = "step {number} of {count}: {name}"


@dataclass(frozen=True)
class LoadView(View):
    """Table and plain-text views of the ``throughput_probe`` module's progress."""

    def _table(self, nodes: Nodes, size: Size) -> list[str]:
        """Return one row per node, with running nodes first."""
        width = min(size.columns, 140)
        name, labels = view.labels(nodes, (width - _FIXED) // 3, self.style)
        left = width - _FIXED - len(name) + 1
        phase = min(_PHASE, left * 3 // 5, max(5, *(len(_phase(node.progress, _SHORT)) for node in nodes.values())))
        gauge = max(1, min(_GAUGE, left - phase))
        header = f"{name}  {'phase':<{phase}}  {'time':<{_TIME}}   tokens/s  {'GPU utilisation':<{gauge}}"
        ordered = sorted(nodes, key=lambda host: nodes[host].ended is not None)
        rows = [self._row(labels[host], nodes[host], (phase, gauge), width) for host in ordered]
        return self._fit(self._title(nodes), header, rows, [], width, size)

    def _summary(self, nodes: Nodes) -> list[str]:
        current = [node for node in nodes.values() if node.ended is None and not node.quiet]
        speeds = [speed for node in current if (speed := rate(node.progress)) is not None]
        busy = [value for node in current for value in _busy(node)]
        return [
            self.style.dot.join(self._title(nodes)),
            *([f"{min(speeds):.0f} to {max(speeds):.0f} tokens/s per node"] if speeds else []),
            *([f"GPU {statistics.fmean(busy):.0f} %"] if busy else []),
        ]

    def _values(self, node: NodeProgress) -> list[str]:
        speed, busy = rate(node.progress), _busy(node)
        return [
            _phase(node.progress, _LONG),
            _time(node),
            *([f"{speed:,.0f} tokens/s"] if speed is not None else []),
            *([f"GPU {' '.join(f'{value:.0f}' for value in busy)} %"] if busy else []),
        ]

    def _status(self, node: NodeProgress) -> str | None:
        return node.quiet or node.ended

    def _title(self, nodes: Nodes) -> list[str]:
        running = [node.elapsed for node in nodes.values() if node.ended is None]
        ended = len(nodes) - len(running)
        title = [f"load on {counted(len(nodes), 'node')}", clock(max(running, default=0.0))]
        return [*title, f"{ended} done"] if ended else title

    def _row(self, label: str, node: NodeProgress, widths: tuple[int, int], width: int) -> str:
        if self._status(node):
            return self._status_row(label, node, width)
        (phase, gauge), busy = widths, _busy(node)
        mean = statistics.fmean(busy) if busy else None
        utilisation = "" if mean is None else f"{self.style.gauge(mean / 100, gauge)} {cell(mean, 3)} %"
        return (
            f"{label}  {self.style.fit(_phase(node.progress, _SHORT), phase):<{phase}}"
            f"  {self.style.fit(_time(node), _TIME):<{_TIME}}  {cell(rate(node.progress), 9, ',.0f')}  {utilisation}"
        ).rstrip()


def rate(progress: Mapping[str, t.Any]) -> float | None:
    """Return the output tokens per second in the current load step, or None before the first token of the step."""
    if progress.get("phase") == "preparing" or not progress.get("tokens") or not progress.get("elapsed"):
        return None
    return float(progress["tokens"] / progress["elapsed"])


def _phase(progress: Mapping[str, t.Any], form: str) -> str:
    return form.format(**progress) if "number" in progress else str(progress.get("name") or "preparing")


def _time(node: NodeProgress) -> str:
    """Return the text for the ``time`` column, which shows how much of the current load step is done.

    The text has the elapsed and total time of the step, or its finished and total requests. Before the first step, it
    has the time since the probe started.
    """
    progress = node.progress
    if progress["phase"] == "counting":
        return "counting"
    if progress["phase"] == "load" and progress["total"]:
        return view.time_of(progress["elapsed"] + node.age, progress["total"])
    if progress["phase"] == "load":
        return f"{progress['finished']}/{progress['requests']} req"
    return clock(progress["since"] + node.age)


def _busy(node: NodeProgress) -> list[float]:
    gpus = node.progress.get("gpus") or ()
    return [gpu["utilization_gpu"] for gpu in gpus if gpu["utilization_gpu"] is not None]
