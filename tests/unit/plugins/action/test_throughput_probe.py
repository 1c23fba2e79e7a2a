# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from unittest import mock

import pytest
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible_collections.multigpu.vllm.plugins.action import throughput_probe


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Replaces the module; returns ``alone`` or ``polled`` for every call."""
    calls = []
    action = throughput_probe.ActionModule
    monkeypatch.setattr(NormalAction, "run", lambda *_args: calls.append("alone") or {"results": []})
    monkeypatch.setattr(action, "run_module", lambda *_args: calls.append("polled") or {"results": []})
    monkeypatch.setattr(action, "announce", mock.Mock())
    return calls


@pytest.mark.parametrize(("check_mode", "call"), [(False, "polled"), (True, "alone")])
def test_throughput_probe_is_polled_outside_check_mode(run_action, calls, check_mode, call):
    options = {"base_url": "http://127.0.0.1"}
    assert run_action(throughput_probe.ActionModule, options, check_mode=check_mode) == {"results": []}
    assert calls == [call]
    assert throughput_probe.ActionModule.announce.called == (call == "polled")
