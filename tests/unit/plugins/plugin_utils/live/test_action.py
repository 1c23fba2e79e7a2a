# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import threading
from unittest import mock

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.template import Templar
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import action as subject
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import channel

VARS = {"inventory_hostname": "node-1", "ansible_play_batch": ["node-1", "node-2"], "ansible_forks": 50}


class Connection:
    """Answers each command with ``answer``; ``commands`` has the commands, ``asked`` is set with the first."""

    def __init__(self, answer=(0, b'{"step": 7}', b"")):
        self.answer = answer
        self.commands = []
        self.asked = threading.Event()

    def exec_command(self, command, in_data=None, sudoable=True):
        assert not sudoable
        self.commands.append(command)
        self.asked.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(subject, "poll_interval", lambda _hosts: 0.001)


@pytest.fixture
def make(monkeypatch):
    """Returns an action whose module is the function ``module``, called with the module's arguments."""

    def build(module, connection=None, **args):
        task = Task.load({"action": "debug"})
        task.args = args
        loader = DataLoader()
        action = subject.ProgressAction(
            task=task,
            connection=connection or Connection(),
            play_context=mock.Mock(),
            loader=loader,
            templar=Templar(loader=loader),
            shared_loader_obj=None,
        )
        monkeypatch.setattr(action, "_execute_module", lambda module_args, task_vars: module(module_args))
        return action

    return build


def test_run_module_adds_a_progress_path(make):
    arguments = {}
    action = make(lambda args: arguments.update(args) or {"figure": 1}, base_url="http://127.0.0.1")
    assert action.run_module(VARS, mock.Mock()) == {"figure": 1}
    assert arguments["base_url"] == "http://127.0.0.1"
    assert arguments["progress_path"].startswith("/tmp/multigpu-progress-")
    assert action._task.args == {"base_url": "http://127.0.0.1"}, "as the user wrote it"


def test_run_module_keeps_the_progress_path_of_the_user(make):
    arguments = {}
    make(lambda args: arguments.update(args) or {}, progress_path="/run/p.json").run_module(VARS, mock.Mock())
    assert arguments["progress_path"] == "/run/p.json"


def test_run_module_reports_progress_and_sends_heartbeats(make):
    shown = threading.Event()
    states = []

    def show(state):
        states.append(state)
        shown.set()

    connection = Connection()
    make(lambda _args: shown.wait(10), connection, progress_path="/run/with space").run_module(VARS, show)
    assert states[0] == {"step": 7}
    assert connection.commands[0] == "touch -c '/run/with space'.heartbeat; cat '/run/with space'"


@pytest.mark.parametrize(
    "answer",
    [
        (1, b"", b"No such file"),
        (0, b"half a fi", b""),
        (0, b"[]", b""),
        AnsibleConnectionFailure("unreachable"),
        OSError("no process"),
    ],
    ids=["no file", "no JSON", "no object", "connection lost", "no process"],
)
def test_run_module_survives_a_failed_poll(make, answer):
    connection, show = Connection(answer), mock.Mock()
    assert make(lambda _args: connection.asked.wait(10), connection).run_module(VARS, show) is True
    assert not show.called


def test_run_module_polls_with_another_connection_object(make):
    connection = Connection()
    with mock.patch.object(subject.copy, "copy", return_value=Connection()) as copied:
        make(lambda _args: copied.return_value.asked.wait(10), connection).run_module(VARS, mock.Mock())
    copied.assert_called_once_with(connection)
    assert connection.commands == []


def test_run_module_stops_polling_if_the_node_is_unreachable(make):
    def lose(_args):
        raise AnsibleConnectionFailure("no route to host")

    before = set(threading.enumerate())
    with pytest.raises(AnsibleConnectionFailure):
        make(lose, Connection()).run_module(VARS, mock.Mock())
    pollers = set(threading.enumerate()) - before
    for poller in pollers:
        poller.join(30)
    assert not any(poller.is_alive() for poller in pollers)


@pytest.mark.parametrize(("hosts", "interval"), [(1, 2), (20, 2), (60, 3), (100, 5), (1000, 5)])
def test_poll_interval_grows_with_the_fleet(monkeypatch, hosts, interval):
    monkeypatch.undo()
    assert subject.poll_interval(hosts) == interval


@pytest.fixture
def receiver(monkeypatch):
    monkeypatch.setattr(channel, "_sender", None)
    with channel.open_receiver() as receiver:
        yield receiver
        channel._sender.close()


def test_announce_sends_records_of_one_run(make, receiver):
    action = make(mock.Mock())
    show = action.announce(VARS, "gpu_monitor")
    show({"step": 7})
    begin, state = channel.receive(receiver)
    assert begin == {
        "task": action._task._uuid,
        "host": "node-1",
        "run": mock.ANY,
        "view": "gpu_monitor",
        "progress": None,
    }
    assert state == {**begin, "progress": {"step": 7}}


def test_announce_without_live_display_does_nothing(make, monkeypatch):
    monkeypatch.setattr(channel, "_sender", None)
    make(mock.Mock()).announce(VARS, "gpu_monitor")({"step": 7})


def test_worker_ends_if_the_main_process_was_killed(make, receiver, monkeypatch):
    killed = mock.Mock()
    monkeypatch.setattr(subject.os, "kill", killed)
    show = make(mock.Mock()).announce(VARS, "gpu_monitor")
    receiver.close()
    show({"step": 7})
    killed.assert_called_once_with(os.getpid(), signal.SIGTERM)
