# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the GPUs of all nodes while ``gpu_monitor`` runs, as a table on a terminal or as plain lines."""

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import LOADED
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device_health import HARMLESS_REASONS
from ansible_collections.multigpu.vllm.plugins.module_utils.units import GIB, counted
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import view
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.screen import Size
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.view import NodeProgress, Nodes, cell, clock
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import UNICODE, Style

Gpu = Mapping[str, t.Any]

#: Width of a row without the node's name and the utilisation gauge.
_FIXED: t.Final = 51
#: Maximum widths of the gauge and of a row.
_GAUGE: t.Final = 40
_WIDEST: t.Final = 160


class _Columns(t.NamedTuple):
    """Widths of a table row, its node name and its utilisation gauge, in characters."""

    row: int
    name: int
    gauge: int


@dataclass(frozen=True)
class GpuView:
    """Table and plain-text views of the ``gpu_monitor`` module's progress."""

    style: Style = UNICODE

    def table(self, nodes: Nodes, size: Size) -> list[str]:
        """Return a title, a header and one row per GPU. If not all GPUs fit, return one row per node instead."""
        free = (width := min(size.columns, _WIDEST)) - _FIXED
        name_width = view.name_width(nodes, min(view.NAME_WIDTH, free // 2))
        columns = _Columns(width, name_width, max(1, min(_GAUGE, free - name_width)))
        legend = self._legend(nodes, width)
        shown = view.labels(nodes, columns.name, self.style)
        rows = [line for name, node in nodes.items() for line in self._gpu_rows(shown[name], node, columns)]
        name = f" {'node':<{columns.name}}"
        utilisation = f"{'utilisation':<{columns.gauge + 6}}"
        header = f"{name}  GPU  {utilisation}   memory GiB     W   °C   MHz   PCIe"
        space = size.rows - 2 - len(legend)
        if len(rows) > space:
            rows = [self._node_row(shown[name], node, columns) for name, node in nodes.items()]
            header = f"{name} GPUs  {utilisation}  least  most  memory      W   °C"
        title = " " + self.style.fit(self._title(nodes), width - 1)
        lines = [title, header[:width], *view.cut(rows, space, self.style), *legend]
        return [self.style.clean(line) for line in lines[: size.rows]]

    def plain(self, nodes: Nodes) -> list[str]:
        """Return one line per running node, or a single line for a large fleet."""
        if len(nodes) <= view.MANY_NODES:
            running = {name: node for name, node in nodes.items() if node.ended is None}
            return [self.style.clean(f"{name}: {self._plain(node)}") for name, node in running.items()]
        latest = _latest_of_all(nodes)
        watched = sum(node.quiet is None for node in nodes.values())
        parts = [f"{watched} of {len(nodes)} nodes watched", *_busy(latest), *_extremes(latest)]
        return [self.style.clean(", ".join(parts))]

    def closing(self, name: str, result: Mapping[str, t.Any]) -> list[str]:
        """Return one line per GPU that summarises its utilisation, memory use, power draw and temperature."""
        if result.get("error") and not result.get("samples"):
            return [f"{name}: {result['error']}"]
        static = {gpu["index"]: gpu for gpu in result.get("gpus") or ()}
        return [
            self.style.clean(f"{name} GPU {gpu['index']}: {_mean_and_max(gpu, static.get(gpu['index'], {}))}")
            for gpu in result.get("summary") or ()
        ]

    def _title(self, nodes: Nodes) -> str:
        parts = [f"GPUs of {counted(len(nodes), 'node')}"]
        if started := [node for node in nodes.values() if node.progress]:
            # Show the elapsed time of the node that started last, because this node also ends last.
            parts.append(_time(min(started, key=lambda node: node.progress["elapsed"] + (node.age or 0.0))))
        return self.style.dot.join([*parts, *_busy(_latest_of_all(nodes))])

    def _legend(self, nodes: Nodes, width: int) -> list[str]:
        """Return one line that explains the ``!`` after a clock rate, or no lines if no GPU has this mark."""
        reasons = sorted({reason for gpu in _latest_of_all(nodes) for reason in slowed_by(gpu)})
        return [" " + self.style.fit(f"! slowed by {', '.join(reasons)}", width - 1)] if reasons else []

    def _gpu_rows(self, name: str, node: NodeProgress, columns: _Columns) -> Iterator[str]:
        label = f" {name:<{columns.name}}"
        if status := _status(node):
            yield f"{label}  {self.style.fit(status, columns.row - len(label) - 2)}"
            return
        totals = _totals(node)
        for gpu in _latest(node):
            yield f"{label}  {self._gpu(gpu, totals.get(gpu['index']), columns)}"
            label = " " * len(label)

    def _gpu(self, gpu: Gpu, memory_total: int | None, columns: _Columns) -> str:
        reasons = slowed_by(gpu)
        text = "  ".join(
            (
                f"{gpu['index']:>3}",
                self._utilisation(gpu["utilization_gpu"], columns.gauge),
                f"{_memory(gpu['memory_used'], memory_total):>11}",
                cell(gpu["power_draw"], 4),
                cell(gpu["temperature"], 3),
                cell(gpu["clocks"]["sm"], 4) + ("!" if reasons else " "),
                f"{_link(gpu['pcie']):>4}",
            )
        )
        return self.style.paint(text, "warn") if reasons else text

    def _utilisation(self, percent: float | None, gauge: int) -> str:
        return f"{self.style.gauge(None if percent is None else percent / 100, gauge)} {cell(percent, 3)} %"

    def _node_row(self, name: str, node: NodeProgress, columns: _Columns) -> str:
        label = f" {name:<{columns.name}}"
        if status := _status(node):
            return f"{label}  {self.style.fit(status, columns.row - len(label) - 2)}"
        latest = _latest(node)
        busy, used = _values(latest, "utilization_gpu"), _values(latest, "memory_used")
        totals = [total for total in _totals(node).values() if total]
        text = (
            f" {len(latest):>4}  {self._utilisation(statistics.fmean(busy) if busy else None, columns.gauge)}"
            f"  {cell(min(busy, default=None), 3)} % {cell(max(busy, default=None), 3)} %"
            f"  {cell(100 * sum(used) / sum(totals) if used and totals else None, 4)} %"
            f"  {cell(sum(_values(latest, 'power_draw')) or None, 5)}"
            f"  {cell(max(_values(latest, 'temperature'), default=None), 3)}"
        )
        slowed = any(slowed_by(gpu) for gpu in latest)
        return label + (self.style.paint(f"{text} !", "warn") if slowed else text)

    def _plain(self, node: NodeProgress) -> str:
        if status := _status(node):
            return status
        latest = _latest(node)
        utilisation = " ".join(cell(gpu["utilization_gpu"], 0) for gpu in latest)
        reasons = sorted({reason for gpu in latest for reason in slowed_by(gpu)})
        parts = [_time(node), f"GPU {utilisation} %", *_extremes(latest)]
        return ", ".join([*parts, *([f"slowed by {' and '.join(reasons)}"] if reasons else [])])


def slowed_by(gpu: Gpu) -> list[str]:
    """Return the reasons why a GPU's clock is reduced. Omit normal reasons: the GPU is idle or at its power limit."""
    return [reason.replace("_", " ") for reason in gpu["throttle_reasons"] or () if reason not in HARMLESS_REASONS]


def _time(node: NodeProgress) -> str:
    total = node.progress["total"]
    return f"{clock(min(node.progress['elapsed'] + (node.age or 0.0), total))} of {clock(total)}"


def _status(node: NodeProgress) -> str | None:
    """Return the text to show in place of a node's GPUs, or None if there are GPU samples to show."""
    if node.quiet or _latest(node):
        return node.quiet
    return "no GPU" if node.progress.get("samples") else "starting"


def _latest(node: NodeProgress) -> Sequence[Gpu]:
    samples = node.progress.get("samples") or [{"gpus": []}]
    return t.cast("Sequence[Gpu]", samples[-1]["gpus"])


def _latest_of_all(nodes: Nodes) -> list[Gpu]:
    return [gpu for node in nodes.values() if not node.quiet for gpu in _latest(node)]


def _totals(node: NodeProgress) -> dict[int, int | None]:
    return {gpu["index"]: gpu["memory_total"] for gpu in node.progress.get("gpus") or ()}


def _values(gpus: Sequence[Gpu], key: str) -> list[float]:
    return [gpu[key] for gpu in gpus if gpu[key] is not None]


def _busy(gpus: Sequence[Gpu]) -> list[str]:
    busy = _values(gpus, "utilization_gpu")
    return [f"{sum(value >= LOADED for value in busy)} of {len(gpus)} GPUs busy"] if busy else []


def _extremes(gpus: Sequence[Gpu]) -> list[str]:
    """Format the highest memory use of a GPU, the total power draw and the highest temperature. Omit unknown values."""
    memory, power, heat = (_values(gpus, key) for key in ("memory_used", "power_draw", "temperature"))
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
    """Format the mean and maximum values of one GPU.

    Example: ``93 % busy on average, up to 98 %, 18.4 of 20.0 GiB, 118 W, up to 131 W, up to 64 °C``.
    """
    busy, memory, power, heat = (gpu[key] for key in ("utilization_gpu", "memory_used", "power_draw", "temperature"))
    total = static.get("memory_total")
    parts = [
        *([f"{busy['mean']:.0f} % busy on average, up to {busy['max']:.0f} %"] if busy else []),
        *([f"{memory['max'] / GIB:.1f}{f' of {total / GIB:.1f}' if total else ''} GiB"] if memory else []),
        *([f"{power['mean']:.0f} W, up to {power['max']:.0f} W"] if power else []),
        *([f"up to {heat['max']:.0f} °C"] if heat else []),
    ]
    return ", ".join(parts) or "no values"
