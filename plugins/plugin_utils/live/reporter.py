# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells of one host while its task runs, together with the processes of the other hosts."""

from __future__ import annotations

import threading
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils import background
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.board import Board, State
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.screen import Size, redrawn
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.view import NodeProgress

#: Seconds between two looks whether it is time to draw, and between two drawings on a terminal.
TICK: t.Final = 0.25
REDRAW: t.Final = 1.0
#: Seconds between two plain reports. Nobody should wait for more than five, and a busy controller may be late.
REPORT: t.Final = 2.5
#: What ends within this time, in seconds, is not worth a word.
PATIENCE: t.Final = 1.0
#: Seconds in which the result of a host that has ended can be printed before the table comes back.
PAUSE: t.Final = 0.6
#: Polls a second over all hosts, and the longest time between two polls of one host.
POLL_RATE: t.Final = 20.0
LONGEST_POLL: t.Final = 5.0


def poll_interval(hosts: int, shortest: float) -> float:
    """Seconds between two polls of one of ``hosts`` hosts: a large fleet is asked less often."""
    return min(max(shortest, hosts / POLL_RATE), LONGEST_POLL)


class View(t.Protocol):
    """How the hosts of a task look, as lines; pure."""

    def table(self, nodes: Mapping[str, NodeProgress], size: Size) -> list[str]: ...

    def plain(self, nodes: Mapping[str, NodeProgress]) -> list[str]: ...

    def closing(self, name: str, result: Mapping[str, t.Any]) -> list[str]: ...


class Output(t.Protocol):
    """Where the lines go. ``size`` is ``None`` where nothing can be drawn anew; then ``draw`` is not called.

    ``silence`` is seconds since something was last said by any task, ``None`` where nothing was.
    """

    def size(self) -> Size | None: ...

    def silence(self) -> float | None: ...

    def say(self, lines: Sequence[str]) -> None: ...

    def draw(self, text: str) -> None: ...


class Reporter:
    """Keeps the state of ``host`` on the board while the block runs, and draws the board when it is due.

    Whoever first sees that a drawing is due makes it, so that it does not matter which host ends when.

    :param news: called with every answer, with the board locked.
    """

    def __init__(
        self,
        board: Board,
        host: str,
        view: View,
        output: Output,
        news: Callable[[State], None] = lambda _progress: None,
    ) -> None:
        self._board = board
        self._host = host
        self._view = view
        self._output = output
        self._news = news
        self._over = threading.Event()
        self._state: State = {"started": time.monotonic(), "received": None, "progress": {}, "ended": None}

    def start(self, poll: Callable[[], State | None] | None = None, interval: float = 0.0) -> None:
        """The task begins on this host.

        :param poll: asks the node for its progress, every ``interval`` seconds; ``None`` where it does not tell. It may
            take long, and runs in a thread that nobody waits for.
        """
        with self._board.locked():
            self._board.put(self._host, self._state)
        self._ticker = threading.Thread(target=self._tick, name="live-draw", daemon=True)
        background.start(self._ticker)
        if poll is not None:
            listener = threading.Thread(target=self._listen, args=(poll, interval), name="live-poll", daemon=True)
            background.start(listener)

    def stop(self, ended: str, closing: Sequence[str]) -> None:
        """The task has ended on this host: ``ended`` is ``done``, or why it failed; ``closing`` is said last."""
        self._over.set()
        self._ticker.join()
        with self._board.locked():
            self._state["ended"] = ended
            self._board.put(self._host, self._state)
            shared = self._board.shared()
            now = time.monotonic()
            if shared.get("lines"):
                # What Ansible prints now shall stand where the table stood.
                self._output.draw(redrawn([], shared["lines"]))
            self._board.share({**shared, "lines": 0, "due": max(shared.get("due", 0.0), now + PAUSE)})
            if now - self._state["started"] >= PATIENCE:
                self._output.say(closing)

    def _listen(self, poll: Callable[[], State | None], interval: float) -> None:
        while not self._over.wait(interval):
            progress = poll()
            if progress is None or self._over.is_set():
                continue
            with self._board.locked():
                self._state.update(received=time.monotonic(), progress=progress)
                self._board.put(self._host, self._state)
                self._news(progress)

    def _tick(self) -> None:
        while not self._over.wait(TICK):
            with self._board.locked():
                self._draw_if_due()

    def _draw_if_due(self) -> None:
        shared = self._board.shared()
        now = time.monotonic()
        size = self._output.size()
        if now < shared.get("due", self._first_due(now, size)):
            return
        nodes = self._nodes(self._board.states())
        if size is None:
            self._output.say(self._view.plain(nodes))
            self._board.share({**shared, "lines": 0, "due": now + REPORT})
            return
        lines = self._view.table(nodes, size)
        self._output.draw(redrawn(lines, shared.get("lines", 0)))
        self._board.share({**shared, "lines": len(lines), "due": now + REDRAW})

    def _first_due(self, now: float, size: Size | None) -> float:
        """Short tasks one after another are silent one by one, and together no longer than a long one."""
        silence = None if size else self._output.silence()
        return float(self._state["started"]) + PATIENCE if silence is None else now - silence + REPORT

    @staticmethod
    def _nodes(states: Mapping[str, State]) -> dict[str, NodeProgress]:
        now = time.monotonic()
        return {
            name: NodeProgress(
                elapsed=now - state["started"],
                age=None if state["received"] is None else now - state["received"],
                progress=state["progress"],
                ended=state["ended"],
            )
            for name, state in states.items()
        }
