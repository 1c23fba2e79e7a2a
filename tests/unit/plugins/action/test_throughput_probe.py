# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from unittest import mock

import pytest
from ansible import constants
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible_collections.multigpu.vllm.plugins.action import throughput_probe


@pytest.fixture(autouse=True)
def arguments(monkeypatch, tmp_path):
    """Stands in for the module; gives the arguments with which it was called."""
    calls = []
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr("ansible.plugins.action.display", mock.Mock(verbosity=0))

    def run(self, tmp=None, task_vars=None):
        calls.append(dict(self._task.args))
        return {"results": []}

    monkeypatch.setattr(NormalAction, "run", run)
    return calls


def test_progress_is_asked_for(run_action, arguments):
    assert run_action(throughput_probe.ActionModule, {"base_url": "http://127.0.0.1"}) == {"results": []}
    assert set(arguments[0]) == {"base_url", "progress_path"}


def test_check_mode_makes_no_load_and_needs_no_progress(run_action, arguments):
    run_action(throughput_probe.ActionModule, {"base_url": "http://127.0.0.1"}, check_mode=True)
    assert arguments == [{"base_url": "http://127.0.0.1"}]
