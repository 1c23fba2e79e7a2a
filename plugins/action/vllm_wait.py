# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.vllm_wait``: run the module repeatedly and print each new stage of the startup.

Each call of the module is short. A broken connection therefore affects only one call and not the whole deployment.
"""

from __future__ import annotations

import math
import time
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.wait import STARTING, label
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import one_line

#: Maximum time that one call of the module waits, in seconds.
CALL_TIMEOUT: t.Final = 20.0
MODULE: t.Final = "multigpu.vllm.vllm_wait"


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
        started, host = time.monotonic(), (task_vars or {}).get("inventory_hostname")
        known_stage, printed = "", ""
        while True:
            left = timeout - (time.monotonic() - started)
            # In the last call, omit known_stage (the stage that was printed last). Without known_stage, the module also
            # returns the cause of the delay.
            limits = {"timeout": min(left, CALL_TIMEOUT), "known_stage": known_stage} if left > 0 else {"timeout": 0.0}
            result = self._call({**arguments, **limits}, task_vars)
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
