# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Base class for action plugins that run a module and display the module's progress."""

from __future__ import annotations

import copy
import json
import os
import shlex
import signal
import threading
import typing as t
import uuid
from collections.abc import Callable

from ansible.errors import AnsibleError
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible_collections.multigpu.vllm.plugins.module_utils import background
from ansible_collections.multigpu.vllm.plugins.module_utils.progress import HEARTBEAT_SUFFIX
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import channel

#: Seconds between two polls of a host in a small fleet, and the maximum in a large fleet.
POLL: t.Final = 2.0
LONGEST_POLL: t.Final = 5.0
#: Total number of polls per second for all hosts together.
POLL_RATE: t.Final = 20.0

Result = dict[str, t.Any]
State = dict[str, t.Any]


def poll_interval(hosts: int) -> float:
    """Return the seconds between two polls of the same host; ``hosts`` is the number of hosts that are polled."""
    return min(max(POLL, hosts / POLL_RATE), LONGEST_POLL)


class ProgressAction(NormalAction):
    """Action plugin that runs the module of the same name while a thread reads the module's progress file.

    The thread uses a copy of the connection and reads the file as the connection's user, without ``become``. If the
    file cannot be read, the module still runs, but the display has no values to show.
    """

    def run_module(self, task_vars: Result, on_progress: Callable[[State], None]) -> Result:
        """Run the module and return its result.

        :param on_progress: function that another thread calls with each progress state that it reads.
        """
        path = self._task.args.get("progress_path") or f"/tmp/multigpu-progress-{uuid.uuid4().hex}.json"
        hosts = len(task_vars.get("ansible_play_batch") or [None])
        interval = poll_interval(min(hosts, int(task_vars.get("ansible_forks") or 1)))
        stopped = threading.Event()
        # While a connection object runs a command, it stores the pipe that passes the SSH password.
        # Therefore, two threads must not share a connection object.
        poller = threading.Thread(
            target=_poll, args=(copy.copy(self._connection), str(path), interval, stopped, on_progress), daemon=True
        )
        background.start(poller)
        try:
            arguments = {**self._task.args, "progress_path": path}
            return t.cast(Result, self._execute_module(module_args=arguments, task_vars=task_vars))
        finally:
            stopped.set()

    def announce(self, task_vars: Result, view: str) -> Callable[[State], None]:
        """Add this host to the live display, and return a function that updates the host's state in the display."""
        record = {"task": self._task._uuid, "host": task_vars["inventory_hostname"], "run": uuid.uuid4().hex}
        record["view"] = view
        channel.send({**record, "progress": None}, wait=True)

        def show(state: State) -> None:
            try:
                channel.send({**record, "progress": state})
            except OSError:
                # The main process was killed, so end this worker process.
                # Otherwise, both this process and the load test on the node would continue.
                os.kill(os.getpid(), signal.SIGTERM)

        return show


def _poll(
    connection: t.Any, path: str, interval: float, stopped: threading.Event, on_progress: Callable[[State], None]
) -> None:
    quoted = shlex.quote(path)
    command = f"touch -c {quoted}{HEARTBEAT_SUFFIX}; cat {quoted}"
    while not stopped.wait(interval):
        try:
            status, output, _errors = connection.exec_command(command, sudoable=False)
            state = json.loads(output) if status == 0 else None
        except (AnsibleError, OSError, ValueError):
            continue
        if isinstance(state, dict) and not stopped.is_set():
            on_progress(state)
