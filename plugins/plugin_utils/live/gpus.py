# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the GPUs of all nodes while ``gpu_monitor`` runs, as a table on a terminal or as plain lines."""

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import LOADED
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device_health import HARMLESS_REASONS
from ansible_collections.multigpu.vllm.plugins.module_utils.units import GIB, counted
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import view
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.screen import Size
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.view import NodeProgress, Nodes, View, cell

Gpu = Mapping[str, t.Any]

#: Width of a row without the node's name and the utilisation gauge.
_FIXED: t.Final = 51
#: Maximum widths of the gauge and of a row.
_GAUGE: t.Final = 40
_WIDEST: t.Final = 160


@dataclass(frozen=True)
class GpuView(View):
    """Table and plain-text views of the ``gpu_monitor`` module's progress."""

    def closing(self, name: str, result: Mapping[str, t.Any]) -> list[str]:
        """Return one line per GPU that summarises its utilisation, memory use, power draw and temperature."""
        if result.get("error") and not result.get("samples"):
            return [f"{name}: {result['error']}"]
        totals = _totals(result)
        return [
            self.style.clean(f"{name} GPU {gpu['index']}: {_mean_and_max(gpu, totals.get(gpu['index']))}")
            for gpu in result.get("summary") or ()
        ]

    def _table(self, nodes: Nodes, size: Size) -> list[str]:
        """Return one row per GPU. If not all GPUs fit, return one row per node instead."""
        width, latest = min(size.columns, _WIDEST), _latest_of_all(nodes)
        name, labels = view.labels(nodes, (width - _FIXED) // 2, self.style)
        gauge = max(1, min(_GAUGE, width - _FIXED - len(name) + 1))
        utilisation = f"{'utilisation':<{gauge + 6}}"
        header = f"{name}  GPU  {utilisation}   memory GiB     W   °C   MHz   PCIe"
        title, reasons = [f"GPUs of {counted(len(nodes), 'node')}"], slowed_by(latest)
        legend = [f"! slowed by {', '.join(reasons)}"] if reasons else []
        rows = [row for name, node in nodes.items() for row in self._gpu_rows(labels[name], node, width, gauge)]
        if len(rows) > size.rows - 2 - len(legend):
            rows = [self._node_row(labels[name], node, width, gauge) for name, node in nodes.items()]
            header = f"{name} GPUs  {utilisation}  least  most  memory      W   °C"
        if started := [node for node in nodes.values() if node.progress]:
            # Show the elapsed time of the node that started last, because this node also ends last.
            title.append(_time(min(started, key=lambda node: node.progress["elapsed"] + node.age)))
        return self._fit([*title, *_busy(latest)], header, rows, legend, width, size)

    def _summary(self, nodes: Nodes) -> list[str]:
        latest, watched = _latest_of_all(nodes), sum(node.quiet is None for node in nodes.values())
        return [f"{watched} of {len(nodes)} nodes watched", *_busy(latest), *_extremes(latest)]

    def _values(self, node: NodeProgress) -> list[str]:
        latest = _latest(node)
        utilisation, reasons = " ".join(cell(gpu["utilization_gpu"], 0) for gpu in latest), slowed_by(latest)
        slowed = [f"slowed by {' and '.join(reasons)}"] if reasons else []
        return [_time(node), f"GPU {utilisation} %", *_extremes(latest), *slowed]

    def _status(self, node: NodeProgress) -> str | None:
        if node.quiet or _latest(node):
            return node.quiet
        return "no GPU" if node.progress.get("samples") else "starting"

    def _gpu_rows(self, label: str, node: NodeProgress, width: int, gauge: int) -> Iterator[str]:
        if self._status(node):
            yield self._status_row(label, node, width)
            return
        totals = _totals(node.progress)
        for gpu in _latest(node):
            yield f"{label}  {self._gpu(gpu, totals.get(gpu['index']), gauge)}"
            label = " " * len(label)

    def _gpu(self, gpu: Gpu, memory_total: int | None, gauge: int) -> str:
        slowed = slowed_by([gpu])
        text = (
            f"{gpu['index']:>3}  {self._utilisation(gpu['utilization_gpu'], gauge)}"
            f"  {_memory(gpu['memory_used'], memory_total):>11}  {cell(gpu['power_draw'], 4)}"
            f"  {cell(gpu['temperature'], 3)}  {cell(gpu['clocks']['sm'], 4)}{'!' if slowed else ' '}"
            f"  {_link(gpu['pcie']):>4}"
        )
        return self.style.paint(text, "warn") if slowed else text

    def _utilisation(self, percent: float | None, gauge: int) -> str:
        return f"{self.style.gauge(None if percent is None else percent / 100, gauge)} {cell(percent, 3)} %"

    def _node_row(self, label: str, node: NodeProgress, width: int, gauge: int) -> str:
        if self._status(node):
            return self._status_row(label, node, width)
        latest = _latest(node)
        busy, used = _values(latest, "utilization_gpu"), _values(latest, "memory_used")
        totals = [total for total in _totals(node.progress).values() if total]
        text = (
            f" {len(latest):>4}  {self._utilisation(statistics.fmean(busy) if busy else None, gauge)}"
            f"  {cell(min(busy, default=None), 3)} % {cell(max(busy, default=None), 3)} %"
            f"  {cell(100 * sum(used) / sum(totals) if used and totals else None, 4)} %"
            f"  {cell(sum(_values(latest, 'power_draw')) or None, 5)}"
            f"  {cell(max(_values(latest, 'temperature'), default=None), 3)}"
        )
        return label + (self.style.paint(f"{text} !", "warn") if slowed_by(latest) else text)


def slowed_by(gpus: Iterable[Gpu]) -> list[str]:
    """Return the reasons why clocks of GPUs are reduced. Omit normal reasons: a GPU is idle or at its power limit."""
    reasons = {reason for gpu in gpus for reason in gpu["throttle_reasons"] or ()} - set(HARMLESS_REASONS)
    return sorted(reason.replace("_", " ") for reason in reasons)


def _time(node: NodeProgress) -> str:
    return view.time_of(node.progress["elapsed"] + node.age, node.progress["total"])


def _latest(node: NodeProgress) -> Sequence[Gpu]:
    samples = node.progress.get("samples") or [{"gpus": []}]
    return t.cast("Sequence[Gpu]", samples[-1]["gpus"])


def _latest_of_all(nodes: Nodes) -> list[Gpu]:
    return [gpu for node in nodes.values() if not node.quiet for gpu in _latest(node)]


def _totals(state: Mapping[str, t.Any]) -> dict[int, int | None]:
    return {gpu["index"]: gpu["memory_total"] for gpu in state.get("gpus") or ()}


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


def _mean_and_max(gpu: Gpu, total: int | None) -> str:
    """Format the mean and maximum values of one GPU.

    Example: ``93 % busy on average, up to 98 %, 18.4 of 20.0 GiB, 118 W, up to 131 W, up to 64 °C``.
    """
    busy, memory, power, heat = (gpu[key] for key in ("utilization_gpu", "memory_used", "power_draw", "temperature"))
    parts = [
        *([f"{busy['mean']:.0f} % busy on average, up to {busy['max']:.0f} %"] if busy else []),
        *([f"{memory['max'] / GIB:.1f}{f' of {total / GIB:.1f}' if total else ''} GiB"] if memory else []),
        *([f"{power['mean']:.0f} W, up to {power['max']:.0f} W"] if power else []),
        *([f"up to {heat['max']:.0f} °C"] if heat else []),
    ]
    return ", ".join(parts) or "no values"
