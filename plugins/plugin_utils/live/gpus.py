# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All GPUs of all nodes while they are watched: a table as high and wide as the terminal, or a line a node."""

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import LOADED
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device_health import HARMLESS_REASONS
from ansible_collections.multigpu.vllm.plugins.module_utils.units import GIB
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

Gpu = Mapping[str, t.Any]
Nodes = Mapping[str, NodeProgress]

#: Columns of a row beside the node's name, the gauge and the note.
_FIXED: t.Final = 51
#: Widest name, gauge and note.
_NAME: t.Final = 24
_BAR: t.Final = 40
_NOTE: t.Final = 24
#: From this width on there is room to name what slows a GPU down.
_WIDE: t.Final = 100
#: More nodes than these get one line together where nothing can be drawn anew.
_LINES: t.Final = 12


@dataclass(frozen=True)
class GpuView:
    """Live pictures of the module ``gpu_monitor``."""

    style: Style = UNICODE

    def table(self, nodes: Nodes, size: Size) -> list[str]:
        """Title, head and one row a GPU; one row a node where the GPUs do not fit."""
        width = min(size.columns, 160)
        title = " " + self.style.fit(self._title(nodes), width - 1)
        foot = [] if width >= _WIDE else self._legend(nodes, width)
        shown = labels(nodes, self._room(nodes, width)[0], self.style)
        rows = [line for name, node in nodes.items() for line in self._gpu_rows(shown[name], node, nodes, width)]
        head = self._head(nodes, width)
        room = size.rows - 2 - len(foot)
        if len(rows) > room:
            rows = [self._node_row(shown[name], node, nodes, width) for name, node in nodes.items()]
            head = self._node_head(nodes, width)
        lines = [title, head, *cut(rows, room, self.style), *foot]
        return [self.style.clean(line) for line in lines[: size.rows]]

    def plain(self, nodes: Nodes) -> list[str]:
        """One line a node; of a large fleet one line altogether."""
        if len(nodes) <= _LINES:
            running = {name: node for name, node in nodes.items() if node.ended is None}
            return [self.style.clean(f"{name}: {self._plain(node)}") for name, node in running.items()]
        latest = [gpu for node in nodes.values() if not node.quiet for gpu in _latest(node)]
        quiet = sum(node.quiet is not None for node in nodes.values())
        parts = [f"{len(nodes) - quiet} of {len(nodes)} nodes watched", *_busy(latest), *_extremes(latest)]
        return [self.style.clean(", ".join(parts))]

    def closing(self, name: str, result: Mapping[str, t.Any]) -> list[str]:
        """Mean and highest figures of every GPU over the whole time."""
        if result.get("error") and not result.get("samples"):
            return [f"{name}: {result['error']}"]
        totals = {gpu["index"]: gpu for gpu in result.get("gpus") or ()}
        return [
            self.style.clean(f"{name} GPU {gpu['index']}: {_mean_and_max(gpu, totals.get(gpu['index'], {}))}")
            for gpu in result.get("summary") or ()
        ]

    def _title(self, nodes: Nodes) -> str:
        latest = [gpu for node in nodes.values() if not node.quiet for gpu in _latest(node)]
        running = [node for node in nodes.values() if node.progress]
        parts = [f"GPUs of {len(nodes)} node{'s' if len(nodes) != 1 else ''}"]
        if running:
            # The node that began last ends last.
            told = min(running, key=lambda node: node.progress["elapsed"] + (node.age or 0.0))
            total = told.progress["total"]
            parts.append(f"{clock(min(told.progress['elapsed'] + (told.age or 0.0), total))} of {clock(total)}")
        return self.style.dot.join([*parts, *_busy(latest)])

    def _legend(self, nodes: Nodes, width: int) -> list[str]:
        """What the mark behind the clock means here; nothing where no GPU has it."""
        latest = [gpu for node in nodes.values() if not node.quiet for gpu in _latest(node)]
        slowed = sorted({reason for gpu in latest for reason in slowed_by(gpu)})
        return [" " + self.style.fit(f"! slowed by {', '.join(slowed)}", width - 1)] if slowed else []

    def _room(self, nodes: Nodes, width: int) -> tuple[int, int, int]:
        """Columns for name, gauge and note."""
        note = min(_NOTE, width - _WIDE + _NOTE // 2) if width >= _WIDE else 0
        free = width - _FIXED - (note + 2 if note else 0)
        name = name_width({"node": NodeProgress(0.0), **nodes}, min(_NAME, free // 2))
        return name, max(1, min(_BAR, free - name)), note

    def _head(self, nodes: Nodes, width: int) -> str:
        name, gauge, note = self._room(nodes, width)
        head = f" {'node':<{name}}  GPU  {'utilisation':<{gauge + 6}}   memory GiB     W   °C   MHz   PCIe"
        return (head + ("  slowed by" if note else ""))[:width]

    def _gpu_rows(self, name: str, node: NodeProgress, nodes: Nodes, width: int) -> Iterator[str]:
        room, gauge, note = self._room(nodes, width)
        label = f" {name:<{room}}"
        latest = _latest(node)
        if words := _words(node):
            yield f"{label}  {self.style.fit(words, width - len(label) - 2)}"
            return
        totals = _totals(node)
        for gpu in latest:
            yield f"{label}  {self._gpu(gpu, totals, gauge, note)}"
            label = " " * len(label)

    def _gpu(self, gpu: Gpu, totals: Mapping[int, int | None], gauge: int, note: int) -> str:
        busy, slowed = gpu["utilization_gpu"], slowed_by(gpu)
        text = "  ".join(
            (
                f"{gpu['index']:>3}",
                f"{self.style.gauge(None if busy is None else busy / 100, gauge)} {cell(busy, 3)} %",
                f"{_memory(gpu['memory_used'], totals.get(gpu['index'])):>11}",
                cell(gpu["power_draw"], 4),
                cell(gpu["temperature"], 3),
                cell(gpu["clocks"]["sm"], 4) + ("!" if slowed else " "),
                f"{_link(gpu['pcie']):>4}",
            )
        )
        if note and slowed:
            text += f"  {self.style.fit(', '.join(slowed), note)}"
        return self.style.paint(text, "warn") if slowed else text

    def _node_head(self, nodes: Nodes, width: int) -> str:
        name, gauge, _note = self._room(nodes, width)
        head = f" {'node':<{name}} GPUs  {'utilisation':<{gauge + 6}}  least  most  memory      W   °C"
        return head[:width]

    def _node_row(self, name: str, node: NodeProgress, nodes: Nodes, width: int) -> str:
        room, gauge, _note = self._room(nodes, width)
        label = f" {name:<{room}}"
        latest = _latest(node)
        if words := _words(node):
            return f"{label}  {self.style.fit(words, width - len(label) - 2)}"
        busy = _known(latest, "utilization_gpu")
        mean = statistics.fmean(busy) if busy else None
        used, totals = _known(latest, "memory_used"), [total for total in _totals(node).values() if total]
        share = 100 * sum(used) / sum(totals) if used and totals else None
        text = (
            f" {len(latest):>4}  {self.style.gauge(None if mean is None else mean / 100, gauge)} {cell(mean, 3)} %"
            f"  {cell(min(busy, default=None), 3)} % {cell(max(busy, default=None), 3)} %  {cell(share, 4)} %"
            f"  {cell(sum(_known(latest, 'power_draw')) or None, 5)}"
            f"  {cell(max(_known(latest, 'temperature'), default=None), 3)}"
        )
        slowed = any(slowed_by(gpu) for gpu in latest)
        return label + (self.style.paint(f"{text} !", "warn") if slowed else text)

    def _plain(self, node: NodeProgress) -> str:
        latest = _latest(node)
        if words := _words(node):
            return words
        progress = node.progress
        elapsed = min(progress["elapsed"] + (node.age or 0.0), progress["total"])
        busy = " ".join(cell(gpu["utilization_gpu"], 0) for gpu in latest)
        slowed = sorted({reason for gpu in latest for reason in slowed_by(gpu)})
        parts = [f"{clock(elapsed)} of {clock(progress['total'])}", f"GPU {busy} %", *_extremes(latest)]
        return ", ".join([*parts, *([f"slowed by {' and '.join(slowed)}"] if slowed else [])])


class Silent:
    """Shows nothing."""

    def table(self, nodes: Nodes, size: Size) -> list[str]:
        return []

    def plain(self, nodes: Nodes) -> list[str]:
        return []

    def closing(self, name: str, result: Mapping[str, t.Any]) -> list[str]:
        return []


def slowed_by(gpu: Gpu) -> list[str]:
    """What keeps the clocks down, in words; that a GPU is idle or at its power limit is normal."""
    return [reason.replace("_", " ") for reason in gpu["throttle_reasons"] or () if reason not in HARMLESS_REASONS]


def _words(node: NodeProgress) -> str | None:
    """What to say of a node in place of its GPUs; ``None`` where there are samples to show."""
    if node.quiet or _latest(node):
        return node.quiet
    return "no GPU" if node.progress.get("samples") else "starting"


def _latest(node: NodeProgress) -> Sequence[Gpu]:
    samples = node.progress.get("samples") or [{"gpus": []}]
    return t.cast("Sequence[Gpu]", samples[-1]["gpus"])


def _totals(node: NodeProgress) -> dict[int, int | None]:
    return {gpu["index"]: gpu["memory_total"] for gpu in node.progress.get("gpus") or ()}


def _known(gpus: Sequence[Gpu], key: str) -> list[float]:
    return [gpu[key] for gpu in gpus if gpu[key] is not None]


def _busy(gpus: Sequence[Gpu]) -> list[str]:
    busy = _known(gpus, "utilization_gpu")
    return [f"{sum(value >= LOADED for value in busy)} of {len(gpus)} GPUs busy"] if busy else []


def _extremes(gpus: Sequence[Gpu]) -> list[str]:
    """Most memory on one GPU, power of all, highest temperature; what no GPU tells is left out."""
    memory, power, heat = (_known(gpus, key) for key in ("memory_used", "power_draw", "temperature"))
    return [
        *([f"up to {max(memory) / GIB:.1f} GiB"] if memory else []),
        *([f"{sum(power):.0f} W"] if power else []),
        *([f"up to {max(heat):.0f} °C"] if heat else []),
    ]


def _memory(used: float | None, total: float | None) -> str:
    if used is None and total is None:
        return "-"
    parts = [
        "-" if part is None else f"{part / GIB:.1f}" if part < 100 * GIB else f"{part / GIB:.0f}"
        for part in (used, total)
    ]
    return " / ".join(parts if total is not None else parts[:1])


def _link(pcie: Mapping[str, int | None]) -> str:
    return "-" if None in pcie.values() else f"{pcie['generation']}x{pcie['width']}"


def _mean_and_max(gpu: Gpu, static: Gpu) -> str:
    """``93 % (up to 98 %), 18.4 of 20.0 GiB, 118 W (up to 131 W), up to 64 °C``."""
    busy, memory, power, heat = (gpu[key] for key in ("utilization_gpu", "memory_used", "power_draw", "temperature"))
    total = static.get("memory_total")
    parts = [
        *([f"{busy['mean']:.0f} % busy on average, up to {busy['max']:.0f} %"] if busy else []),
        *([f"{memory['max'] / GIB:.1f}{f' of {total / GIB:.1f}' if total else ''} GiB"] if memory else []),
        *([f"{power['mean']:.0f} W, up to {power['max']:.0f} W"] if power else []),
        *([f"up to {heat['max']:.0f} °C"] if heat else []),
    ]
    return ", ".join(parts) or "tells nothing"
