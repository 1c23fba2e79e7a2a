# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from unittest import mock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.action.tell import ActionModule


@pytest.fixture
def shown(monkeypatch):
    """What the plugin put on the terminal."""
    texts = []
    monkeypatch.setattr("ansible.plugins.action.display", mock.Mock(verbosity=0, display=texts.append))
    return texts


def tell(**options):
    task = mock.Mock(args=options, async_val=0, check_mode=False, diff=False)
    action = ActionModule(task, mock.Mock(), mock.Mock(), mock.Mock(), mock.Mock(), mock.Mock())
    return action.run(task_vars={})


def test_lines_are_printed_as_they_are(shown):
    assert tell(lines=["one", "two"]) == {"changed": False, "lines": ["one", "two"]}
    assert shown == ["one\ntwo"]


def test_lines_are_printed_before_the_failure(shown):
    with pytest.raises(AnsibleActionFail, match="not ready"):
        tell(lines=["what exists"], failed_because="not ready")
    assert shown == ["what exists"]
