# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.gpu_monitor``: run the module, show the GPU samples and save them on the controller."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.monitor import (
    ARGUMENT_SPEC,
    InvalidOption,
    check_times,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.action import ProgressAction, Result, State
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.record import InvalidRecord, Recorder, check_record
from ansible_collections.multigpu.vllm.plugins.plugin_utils.results import InvalidResult, checked_result

#: Ansible adds its settings to the module ``constants`` at run time.
_CONSTANTS: t.Any = constants


class ActionModule(ProgressAction):
    """Show the GPU samples of all nodes if ``live`` is set. Save the samples on the controller if ``record`` is set."""

    def run(self, tmp: str | None = None, task_vars: Result | None = None) -> Result:
        live, path = self._options()
        if self._task.async_val or not (live or path):
            return t.cast(Result, super().run(tmp, task_vars))
        variables = task_vars or {}
        recorder = None
        if path is not None and not self._task.check_mode:
            recorder = Recorder(path, variables["inventory_hostname"])
            with _write_errors(path):
                recorder.begin(Path(_CONSTANTS.DEFAULT_LOCAL_TMP) / f"record-{self._task._uuid}")
        show = self.announce(variables, "gpu_monitor") if live else None
        result = self.run_module(variables, lambda state: _handle(state, show, recorder))
        try:
            checked = checked_result("gpu_monitor", result)
        except InvalidResult as error:
            return {"failed": True, "msg": f"invalid result of gpu_monitor: {error}"}
        if path is not None and recorder is not None:
            with _write_errors(path):
                recorder.add(checked)
            result["record"] = str(path)
        return result

    def _options(self) -> tuple[bool, Path | None]:
        """Check all options. Return ``live`` (whether to show the samples) and ``record`` (the file to save them in).

        Invalid options fail here, before an existing file is replaced.

        :raises AnsibleActionFail: if an option is invalid.
        """
        _result, options = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        path = None if options["record"] is None else Path(options["record"])
        try:
            check_times(options["duration"], options["interval"])
            if path is not None:
                check_record(path)
        except (InvalidOption, InvalidRecord) as error:
            raise AnsibleActionFail(str(error)) from error
        return options["live"], path


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AnsibleActionFail(f"cannot write the samples to {path}: {error.strerror}") from error


def _handle(state: State, show: Callable[[State], None] | None, recorder: Recorder | None) -> None:
    try:
        checked = checked_result("gpu_monitor", state)
    except InvalidResult:
        return
    if recorder is not None:
        # Ignore a failed write here. The same samples are written again when the module has finished, and a failure of
        # that second write is reported.
        with contextlib.suppress(OSError):
            recorder.add(checked)
    if show is not None:
        show({**state, "samples": (checked.get("samples") or [])[-1:]})
