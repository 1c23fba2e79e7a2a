# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.vllm_wait``: run the module repeatedly and print each new stage of the startup.

Each call of the module is short. A broken connection therefore affects only one call and not the whole deployment.
The tasks of the hosts of a group run in separate processes, which share their states in files on the controller.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import typing as t
from pathlib import Path

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.multigpu.vllm.plugins.module_utils.files import replace_text
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import startup
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.wait import DEAD, READY, STARTING, label
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import one_line

#: Maximum time that one call of the module waits, in seconds.
CALL_TIMEOUT: t.Final = 20.0
MODULE: t.Final = "multigpu.vllm.vllm_wait"


class MemberStates:
    """States of the hosts of a group that wait for the same server, in files that all processes of this run share."""

    def __init__(self, members: list[str], task: str, root: str | None = None) -> None:
        """Use separate files for each group and each ``task``, whose id is the same on all hosts.

        :param root: directory of the files; by default that for temporary files of this run of Ansible.
        """
        name = hashlib.sha256(json.dumps([task, members]).encode()).hexdigest()
        self._members, self._files = members, Path(root or vars(constants)["DEFAULT_LOCAL_TMP"]) / f"vllm_wait-{name}"

    def join(self, host: str, result: dict[str, t.Any], expired: bool) -> dict[str, t.Any]:
        """Record the state of ``host``, and return its result, which depends on the states of the other hosts.

        If the server of another host has exited, or its state cannot be read, this server cannot become ready either. A
        server without an API is ready when that of the head is.

        :param expired: whether ``host`` waits no longer.
        """
        broken = bool(result.get("failed") or result.get("unreachable"))
        state = DEAD if broken or (expired and result["state"] == STARTING) else result["state"]
        line = result.get("msg") if broken else (result.get("cause") or {}).get("line")
        self._files.mkdir(mode=0o700, exist_ok=True)
        replace_text(str(self._files / str(self._members.index(host))), json.dumps([state, line]))
        if broken or result["state"] == DEAD:
            return result
        for rank, member in enumerate(self._members):
            other, reason = self._read(rank)
            if other == DEAD and member != host:
                cause = {"line": f"{member} does not start: {reason}", "summary": None, "remedy": None}
                return {**result, "state": DEAD, "cause": cause}
        return {**result, "state": READY, "stage": startup.READY} if self._read(0)[0] == READY else result

    def _read(self, rank: int) -> tuple[str, str | None]:
        try:
            state, line = json.loads((self._files / str(rank)).read_text("utf-8"))
        except FileNotFoundError:
            return STARTING, None
        return state, line


class ActionModule(ActionBase):
    """Wait until a vLLM container is ready. To do so, call the ``vllm_wait`` module repeatedly."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if self._task.check_mode or "known_stage" in arguments:
            return self._call(arguments, task_vars)
        try:
            timeout = float(arguments.get("timeout", 1800.0))
        except (TypeError, ValueError):
            timeout = math.nan
        if not 0 <= timeout < math.inf:
            raise AnsibleActionFail(
                f"timeout must be a finite number of seconds, 0 or more, got {arguments['timeout']!r}."
            )
        started, host = time.monotonic(), str((task_vars or {}).get("inventory_hostname"))
        members: list[str] = arguments.get("members") or []
        arguments["headless"] = host in members[1:]
        states = MemberStates(members, str(self._task._uuid)) if members else None
        known_stage, printed = "", ""
        while True:
            left = timeout - (time.monotonic() - started)
            # In the last call, omit known_stage (the stage that was printed last). Without known_stage, the module also
            # returns the cause of the delay.
            limits = {"timeout": min(left, CALL_TIMEOUT), "known_stage": known_stage} if left > 0 else {"timeout": 0.0}
            result = self._call({**arguments, **limits}, task_vars)
            if states:
                result = states.join(host, result, expired=left <= 0)
            if result.get("failed") or result.get("unreachable"):
                return result
            elapsed, known_stage = time.monotonic() - started, result["stage"]
            if label(result) != printed and left > 0:
                printed = label(result)
                self._display.display(f"{host}: {elapsed:4.0f} s  {one_line(printed)}")
            if result["state"] != STARTING or left <= 0:
                return {**result, "elapsed": round(elapsed, 1)}

    def _call(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", self._execute_module(MODULE, module_args=arguments, task_vars=task_vars))
