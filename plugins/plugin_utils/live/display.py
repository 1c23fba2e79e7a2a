# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the progress of running tasks, as a table on a terminal or as timestamped lines elsewhere.

This code runs in Ansible's main process.
"""

from __future__ import annotations

import select
import threading
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils import background
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import channel
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.gpus import GpuView
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.load import LoadView
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.screen import Screen, Size
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.view import NodeProgress, View, clock
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import Style
from ansible_collections.multigpu.vllm.plugins.plugin_utils.results import SENSELESS

#: Seconds between two updates of the table on a terminal.
REDRAW: t.Final = 1.0
#: Seconds between two progress lines if there is no terminal.
REPORT: t.Final = 2.5
#: Tasks that take less than this number of seconds print no progress.
SHORT: t.Final = 1.0
#: Seconds without output after which the name of the running task is printed.
SILENCE: t.Final = 30.0


@dataclass
class _Task:
    """A task and the hosts on which it has started."""

    view: View
    due: float
    nodes: dict[str, NodeProgress] = field(default_factory=dict)

    def running(self) -> bool:
        return any(node.ended is None for node in self.nodes.values())

    def lines(self, now: float, size: Size | None) -> list[str]:
        nodes = dict(sorted(self.nodes.items()))
        for node in nodes.values():
            node.now = now
        try:
            return self.view.lines(nodes, size)
        except SENSELESS:
            # Nodes are untrusted. Forget the progress that cannot be shown, so that the other nodes are shown.
            for node in [node for node in nodes.values() if not self._can_show(node, size)] or nodes.values():
                node.progress, node.received = {}, None
            return self.view.lines(nodes, size)

    def _can_show(self, node: NodeProgress, size: Size | None) -> bool:
        try:
            self.view.lines({"node": node}, size)
        except SENSELESS:
            return False
        return True


class LiveDisplay:
    """Live display of all running tasks, updated from the progress records that worker processes send.

    :param print_text: function that prints text as Ansible's display does.
    """

    def __init__(
        self, screen: Screen, print_text: Callable[[str], None], style: Style, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._screen = screen
        self._print_text = print_text
        self._now = now
        self._views: dict[str, View] = {"gpu_monitor": GpuView(style), "throughput_probe": LoadView(style)}
        self._receiver = channel.open_receiver()
        self._lock = threading.Lock()
        self._tasks: dict[str, _Task] = {}
        self._current: tuple[str, float] | None = None

    def start(self) -> None:
        """Start the thread that reads progress records and updates the display."""
        background.start(threading.Thread(target=self._work, name="live-display", daemon=True))

    def begin_task(self, name: str | None) -> None:
        """Store the name of the task that Ansible has started, so that ``refresh`` can report the task's run time.

        :param name: None if no run time is to be reported.
        """
        self._current = None if name is None else (name, self._now())

    def end_host(self, task: str, host: str, result: Mapping[str, t.Any]) -> None:
        """Record that a task has ended on ``host``, and print the task's summary for this host, if there is one."""
        with self._lock:
            self._receive()
            node = self._tasks[task].nodes.get(host) if task in self._tasks else None
            if node is None or node.ended is not None:
                return
            failed = result.get("failed") or result.get("unreachable")
            node.ended = " ".join(str(result.get("msg") or "failed").split()) if failed else "done"
            if not self._tasks[task].running():
                self._screen.clear()
            if self._now() - node.started >= SHORT:
                try:
                    self._print(self._tasks[task].view.closing(host, result))
                except SENSELESS:
                    self._print([f"{host}: invalid result"])

    def refresh(self) -> None:
        """Process the records that have arrived, and show the progress of all tasks whose next update is due."""
        with self._lock:
            self._receive()
            now, size = self._now(), self._screen.size()
            running = [task for task in self._tasks.values() if task.running()]
            due = [task for task in running if task.due <= now]
            for task in due:
                task.due = now + (REPORT if size is None else REDRAW)
            if due and size is not None:
                self._screen.draw([line for task in running for line in task.lines(now, size)][: size.rows])
            elif due:
                self._print([line for task in due for line in task.lines(now, None)])
            elif self._current is not None and now - self._screen.written_at >= SILENCE:
                name, started = self._current
                self._print([f"{name}: running for {clock(now - started)}"])

    def _work(self) -> None:
        while True:
            select.select([self._receiver], [], [], REDRAW / 2)
            self.refresh()

    def _receive(self) -> None:
        now = self._now()
        for record in channel.receive(self._receiver):
            task = self._tasks.setdefault(record["task"], _Task(self._views[record["view"]], now + SHORT))
            node = task.nodes.get(record["host"])
            if record["progress"] is None:
                task.nodes[record["host"]] = NodeProgress(now, run=record["run"])
            elif node is not None and node.run == record["run"]:
                node.received, node.progress = now, record["progress"]

    def _print(self, lines: Sequence[str]) -> None:
        if lines:
            moment = time.strftime("%H:%M:%S")
            self._print_text("\n".join(f"{moment} {line}" for line in lines))
