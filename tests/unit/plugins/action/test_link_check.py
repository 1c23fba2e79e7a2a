# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import multiprocessing
import typing as t

import pytest
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible_collections.multigpu.vllm.plugins.action import link_check

HOSTVARS = {
    "alone": {"vllm_group": ""},
    "b2": {"vllm_group": "b", "vllm_private_address": "10.0.0.4"},
    "a1": {"vllm_group": "a", "vllm_private_address": "10.0.0.1"},
    "b1": {"vllm_group": "b", "vllm_private_address": "10.0.0.3"},
    "b3": {"vllm_group": "b"},
}
VARIABLES = {
    "hostvars": HOSTVARS,
    "groups": {"all": ["alone", "a1", "b1", "b2", "b3"]},
    "ansible_play_batch": ["alone", "a1", "b1", "b3"],
}


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the action return the options with which it runs the module."""
    monkeypatch.setattr(NormalAction, "run", lambda self, *_args: dict(self._task.args))


@pytest.mark.usefixtures("arguments")
def test_members_are_the_hosts_of_the_group_in_inventory_order(run_action: t.Callable[..., dict]) -> None:
    options = run_action(link_check.ActionModule, {"port": 1}, host="b3", variables=VARIABLES)
    assert options == {
        "name": "b3",
        "port": 1,
        "token": link_check.TOKEN,
        "members": [
            {"name": "b1", "address": "10.0.0.3", "takes_part": True},
            {"name": "b2", "address": "10.0.0.4", "takes_part": False},
            {"name": "b3", "address": None, "takes_part": True},
        ],
    }


@pytest.mark.usefixtures("arguments")
def test_options_of_the_task_take_precedence(run_action: t.Callable[..., dict]) -> None:
    members = [{"name": "x", "address": "10.0.0.9"}]
    given = {"name": "x", "token": "own", "members": members, "interface": None}
    interface = {"vllm_private_interface": "eth7"}
    options = run_action(link_check.ActionModule, given, variables=VARIABLES | interface)
    assert options == {"name": "x", "token": "own", "members": members, "interface": "eth7"}


@pytest.mark.usefixtures("arguments")
def test_host_without_group_has_no_members(run_action: t.Callable[..., dict]) -> None:
    assert run_action(link_check.ActionModule, {}, host="alone", variables=VARIABLES)["members"] == []


def _send_token(pipe: t.Any) -> None:
    pipe.send(link_check.TOKEN)


def test_workers_have_the_same_token() -> None:
    here, there = multiprocessing.Pipe()
    for _worker in range(2):
        worker = multiprocessing.get_context("fork").Process(target=_send_token, args=(there,))
        worker.start()
        worker.join()
        assert here.recv() == link_check.TOKEN
    assert len(link_check.TOKEN) == 32
