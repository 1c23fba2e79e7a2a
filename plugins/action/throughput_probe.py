# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.throughput_probe``: run the module and show the progress of the load test."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.action import ProgressAction


class ActionModule(ProgressAction):
    """During the load test, show the phase, the time, the tokens/s and the GPU utilisation of every node.

    In check mode no load is generated, so no progress is shown.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        if self._task.async_val or self._task.check_mode:
            return t.cast("dict[str, t.Any]", super().run(tmp, task_vars))
        variables = task_vars or {}
        return self.run_module(variables, self.announce(variables, "throughput_probe"))
