# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action ``multigpu.vllm.throughput_probe``: the module of that name, and how far it is while it runs."""

from __future__ import annotations

import locale
import typing as t

from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.action import LiveAction
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.load import LoadView
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import terminal_style


class ActionModule(LiveAction):
    """Shows phase, time, tokens a second and GPU utilisation of every node."""

    view = LoadView(terminal_style(locale.getpreferredencoding(False)))

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        if self._task.async_val or self._task.check_mode:
            return super().run(tmp, task_vars)
        return self.run_live(task_vars or {})
