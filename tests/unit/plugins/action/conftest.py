# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An action plugin as a task would run it, without a connection."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping
from unittest import mock

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.plugins.action import ActionBase
from ansible.template import Templar

Run = Callable[..., dict[str, t.Any]]


@pytest.fixture(autouse=True)
def _plugin_loader(plugin_loader: None) -> None:
    """Let every test of this folder find plugins."""


@pytest.fixture
def run_action() -> Run:
    """``run_action(plugin, args, check_mode=False, host="node-01", variables={})`` gives the result of the action."""

    def run(
        plugin: type[ActionBase],
        args: dict[str, t.Any],
        *,
        check_mode: bool = False,
        host: str = "node-01",
        variables: Mapping[str, t.Any] | None = None,
    ) -> dict[str, t.Any]:
        task = Task.load({"action": "debug", "check_mode": check_mode, "async_val": 0})
        task.args = args
        loader = DataLoader()
        task_vars = {"inventory_hostname": host, **(variables or {})}
        action = plugin(
            task=task,
            connection=mock.Mock(),
            play_context=mock.Mock(check_mode=check_mode),
            loader=loader,
            templar=Templar(loader=loader, variables=task_vars),
            shared_loader_obj=None,
        )
        return action.run(task_vars=task_vars)

    return run
