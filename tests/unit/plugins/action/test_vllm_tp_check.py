# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from unittest import mock

from ansible import constants
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible_collections.multigpu.vllm.plugins.action.vllm_tp_check import ActionModule


def test_module_runs_as_it_is_and_is_spoken_of(run_action, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr("ansible.plugins.action.display", mock.Mock(verbosity=0))
    monkeypatch.setattr(NormalAction, "run", lambda self, tmp=None, task_vars=None: {"args": dict(self._task.args)})
    assert run_action(ActionModule, {"key": "value"}) == {"args": {"key": "value"}}
    assert ActionModule.words == "asking vLLM"
