# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action ``multigpu.vllm.gpu_monitor``: the module of that name, and what it says while it runs."""

from __future__ import annotations

import locale
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.monitor import InvalidOption, check_times
from ansible_collections.multigpu.vllm.plugins.modules.gpu_monitor import ARGUMENT_SPEC
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import record
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.action import LiveAction
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.board import State
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.gpus import GpuView, Silent
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import terminal_style


class ActionModule(LiveAction):
    """Shows the GPUs of all nodes with ``live``, and keeps their samples on the controller with ``record``."""

    view = GpuView(terminal_style(locale.getpreferredencoding(False)))
    shortest_poll = 1.0

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        live, path = self._options()
        if self._task.async_val or not (live or path):
            return super().run(tmp, task_vars)
        if not live:
            self.view = Silent()
        if path is None or self._task.check_mode:
            return self.run_live(task_vars or {})
        return self._run_recorded(path, task_vars or {})

    def _options(self) -> tuple[bool, Path | None]:
        """``live`` and ``record``, after a look at all options: nothing is replaced for a run that cannot begin.

        :raises AnsibleActionFail: for an option that is not possible.
        """
        _result, options = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        path = None if options["record"] is None else Path(options["record"])
        try:
            check_times(options["duration"], options["interval"])
            if path is not None:
                record.check_record(path)
        except (InvalidOption, record.InvalidRecord) as error:
            raise AnsibleActionFail(str(error)) from error
        return options["live"], path

    def _run_recorded(self, path: Path, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        recorder = record.Recorder(path, task_vars["inventory_hostname"])
        failures: list[OSError] = []

        def keep(told: State) -> None:
            try:
                recorder.add(told)
            except OSError as error:
                failures.append(error)

        self._begin(path)
        result = self.run_live(task_vars, keep)
        if failures:
            raise AnsibleActionFail(f"cannot write the samples to {path}: {failures[0].strerror}")
        return {**result, "record": str(path)}

    def _begin(self, path: Path) -> None:
        """An empty table, made by the first host of the task.

        :raises AnsibleActionFail: where it cannot be written.
        """
        board = self.board()
        with board.locked():
            shared = board.shared()
            if shared.get("recorded"):
                return
            try:
                record.begin(path)
            except OSError as error:
                raise AnsibleActionFail(f"cannot write the samples to {path}: {error.strerror}") from error
            board.share({**shared, "recorded": True})
