# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An action that runs its module as Ansible does, and shows meanwhile how far it is."""

from __future__ import annotations

import contextvars
import copy
import json
import locale
import os
import shlex
import signal
import threading
import time
import typing as t
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ansible import constants
from ansible.errors import AnsibleError
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible_collections.multigpu.vllm.plugins.module_utils import background
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.board import Board, State
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.reporter import Reporter, View, poll_interval
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.screen import TERMINAL, Size, size_of
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.words import WordsView
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import terminal_style

#: With this many -v Ansible reports every poll, and a table would be torn to pieces.
_TOO_VERBOSE: t.Final = 3
#: Where the module keeps its progress: on every node and for every user, also where Ansible makes no directory there.
#: The name cannot be guessed, and the module makes the file readable for its own user only.
_DIRECTORY: t.Final = "/tmp"
#: Longest time that a message may take, in seconds, before a signal to end does not wait for it.
_SEND: t.Final = 2.0
#: Seconds between two looks whether the main process is there.
_LOOK: t.Final = 1.0

Result = dict[str, t.Any]


@contextmanager
def ended_between_messages(sending: t.Any) -> Iterator[None]:
    """Let a signal that ends this process wait for the lock ``sending``.

    A worker that dies in the midst of a message leaves the queue to the main process locked, and Ansible, when it is
    interrupted, waits for that queue for ever.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # Only the main thread may say what a signal does, and what has no handler cannot be put off.
    here = threading.current_thread() is threading.main_thread()
    put_off = {number: handler for number, handler in before.items() if here and callable(handler)}

    def end(number: int, frame: FrameType | None) -> None:
        taken = sending.acquire(timeout=_SEND)
        t.cast("Callable[..., t.Any]", put_off[signal.Signals(number)])(number, frame)
        # Not reached where the handler ends the process.
        if taken:
            sending.release()

    for number in put_off:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in put_off.items():
            signal.signal(number, handler)


def end_with(parent: int, look: Callable[[], int] = os.getppid) -> None:
    """End this process when its parent, the process ``parent``, is gone.

    Where Ansible's main process dies at once (its terminal is closed, it is killed), nobody ends its workers, and they
    would go on, and wait for ever for someone who takes their result.
    """
    while look() == parent:
        time.sleep(_LOOK)
    os.kill(os.getpid(), signal.SIGTERM)


class AnsibleOutput:
    """Ansible's own display, which hands everything to the main process; ``sending`` is locked meanwhile."""

    def __init__(self, display: t.Any) -> None:
        self._display = display
        # The thread that gets the signal may be the one that sends.
        self.sending = threading.RLock()
        self._spoken = Path(constants.DEFAULT_LOCAL_TMP) / "live-spoken"

    def size(self) -> Size | None:
        return None if self._display.verbosity >= _TOO_VERBOSE else size_of(TERMINAL)

    def silence(self) -> float | None:
        try:
            return time.monotonic() - float(self._spoken.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def say(self, lines: Sequence[str]) -> None:
        if not lines:
            return
        clock = time.strftime("%H:%M:%S")
        with self.sending:
            self._display.display("\n".join(f"{clock} {line}" for line in lines))
        self._spoken.write_text(str(time.monotonic()), encoding="utf-8")

    def draw(self, text: str) -> None:
        with self.sending:
            self._display.display(text, screen_only=True, newline=False)


class LiveAction(NormalAction):
    """Runs the module of its own name with ``progress_path``, and polls that file over the connection of the task.

    The module runs as without this class: over the same connection, with or without become, pipelined where that is on.
    Its file is read over a second use of the connection, which costs a multiplexed SSH session, not a new login. What
    goes wrong with the reading costs the display its figures, and nothing else.
    """

    view: View
    #: Shortest time between two polls in seconds; ``None`` where the module tells nothing on its way.
    shortest_poll: float | None = 2.0

    def run_live(self, task_vars: Result, news: Callable[[State], None] = lambda _told: None) -> Result:
        """The module's result, after showing its progress.

        :param news: called with every progress and at last with the result, while no other host's process does.
        """
        host = str(task_vars["inventory_hostname"])
        board = self.board()
        given = self._task.args
        output = AnsibleOutput(self._display)
        reporter = Reporter(board, host, self.view, output, news)
        if self.shortest_poll is None:
            reporter.start()
        else:
            path = given.get("progress_path") or f"{_DIRECTORY}/multigpu-progress-{uuid.uuid4().hex}.json"
            hosts = min(len(task_vars.get("ansible_play_batch") or [host]), int(task_vars.get("ansible_forks") or 1))
            self._task.args = {**given, "progress_path": path}
            reporter.start(self._reader(str(path)), poll_interval(hosts, self.shortest_poll))
        watch = threading.Thread(target=end_with, args=(os.getppid(),), name="live-parent", daemon=True)
        background.start(watch)
        ended, closing = "interrupted", []
        with ended_between_messages(output.sending):
            try:
                result = NormalAction.run(self, None, task_vars)
                ended = str(result.get("msg") or "failed") if result.get("failed") else "done"
                closing = self.view.closing(host, result)
                with board.locked():
                    news(result)
                return result
            except AnsibleError as error:
                ended = str(error)
                raise
            finally:
                self._task.args = given
                reporter.stop(" ".join(ended.split()), closing)

    def board(self) -> Board:
        """The board of this task, in the directory that Ansible removes when it ends."""
        return Board(Path(constants.DEFAULT_LOCAL_TMP) / f"live-{self._task._uuid}")

    def _reader(self, path: str) -> Callable[[], State | None]:
        """A function that reads the module's progress over its own connection; ``None`` where there is none yet."""
        # The module is running over the task's connection: whatever a command changes in it must be a copy's.
        twin = copy.copy(self)
        twin._connection = copy.copy(self._connection)
        if twin._connection.become is not None:
            twin._connection.set_become_plugin(copy.copy(twin._connection.become))
        context = contextvars.copy_context()
        quoted = shlex.quote(path)
        # Setting the access time tells the module that somebody listens.
        command = f"cat {quoted} && touch -c -a {quoted}"

        def read() -> State | None:
            try:
                answer = context.run(twin._low_level_execute_command, command)
                told = json.loads(answer["stdout"]) if answer["rc"] == 0 else None
            except (AnsibleError, OSError, ValueError):
                return None
            return told if isinstance(told, dict) else None

        return read


class SpokenAction(LiveAction):
    """Runs a module that tells nothing on its way, and says now and then what it is and on which nodes it runs."""

    words: str
    shortest_poll = None

    def run(self, tmp: str | None = None, task_vars: Result | None = None) -> Result:
        if self._task.async_val:
            return super().run(tmp, task_vars)
        self.view = WordsView(self.words, terminal_style(locale.getpreferredencoding(False)))
        return self.run_live(task_vars or {})
