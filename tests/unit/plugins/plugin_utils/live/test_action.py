# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import signal
import threading
from unittest import mock

import pytest
from ansible import constants
from ansible.errors import AnsibleConnectionFailure
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.template import Templar
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import action as subject
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import reporter

VARS = {"inventory_hostname": "node-1", "ansible_play_batch": ["node-1", "node-2"], "ansible_forks": 50}


class View:
    def table(self, nodes, size):
        return []

    def plain(self, nodes):
        return [f"{name} {node.progress.get('step')}" for name, node in nodes.items()]

    def closing(self, name, result):
        return [f"{name} closes with {result.get('figure')}"]


class Live(subject.LiveAction):
    view = View()


class Connection:
    """Answers the reading of the file with ``answer``, and remembers what was asked."""

    transport = "test"
    become = None
    allow_executable = False

    def __init__(self, answer=(0, b'{"step": 7}', b"")):
        self._shell = mock.Mock(tmpdir=None)
        self._shell.append_command = lambda command, more: command
        self.answer = answer
        self.asked = []

    def exec_command(self, command, in_data=None, sudoable=True):
        self.asked.append(command)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def set_become_plugin(self, plugin):
        self.become = plugin


@pytest.fixture(autouse=True)
def _fast(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr(subject, "TERMINAL", None)
    for name in ("TICK", "REPORT", "PATIENCE", "LONGEST_POLL"):
        monkeypatch.setattr(reporter, name, 0.001)


@pytest.fixture
def shown(monkeypatch):
    """Everything that was displayed."""
    texts = []
    monkeypatch.setattr(
        "ansible.plugins.action.display", mock.Mock(verbosity=0, display=lambda text, **_: texts.append(text))
    )
    return texts


@pytest.fixture
def make(shown):
    """An action over ``connection`` with the arguments ``args``."""

    def build(connection=None, plugin=Live, **args):
        task = Task.load({"action": "debug"})
        task.args = args
        loader = DataLoader()
        return plugin(
            task=task,
            connection=connection or Connection(),
            play_context=mock.Mock(),
            loader=loader,
            templar=Templar(loader=loader),
            shared_loader_obj=None,
        )

    return build


@pytest.fixture
def module(monkeypatch):
    """Stands in for the module: ``module(run)`` calls ``run`` with the action."""

    def replace(run):
        monkeypatch.setattr(NormalAction, "run", lambda self, tmp=None, task_vars=None: run(self))

    return replace


def test_module_gets_a_path_and_its_result_is_returned(make, module):
    seen = {}
    module(lambda action: seen.update(action._task.args) or {"figure": 1})
    action = make(base_url="http://127.0.0.1")
    assert action.run_live(VARS) == {"figure": 1}
    assert seen["base_url"] == "http://127.0.0.1"
    assert seen["progress_path"].endswith(".json")
    assert action._task.args == {"base_url": "http://127.0.0.1"}, "as the user wrote it"


def test_path_of_the_user_is_kept(make, module):
    seen = {}
    module(lambda action: seen.update(action._task.args) or {})
    make(progress_path="/run/progress.json").run_live(VARS)
    assert seen["progress_path"] == "/run/progress.json"


def test_progress_is_shown_while_the_module_runs(make, module, shown):
    told = threading.Event()
    module(lambda _action: told.wait(10) and {"figure": 2})
    connection = Connection()

    def news(state):
        if state == {"step": 7}:
            told.set()

    make(connection).run_live(VARS, news)
    assert told.is_set()
    assert "node-1 closes with 2" in shown[-1]
    command = connection.asked[0]
    assert command.startswith("cat /") and "touch -c -a /" in command


@pytest.mark.parametrize(
    "answer",
    [
        (1, b"", b"No such file"),
        (0, b"half a fi", b""),
        (0, b"[]", b""),
        AnsibleConnectionFailure("gone"),
        OSError("gone"),
    ],
    ids=["none yet", "no JSON", "no object", "connection lost", "no process"],
)
def test_reading_that_fails_costs_only_the_figures(make, module, answer):
    connection = Connection(answer)
    asked = threading.Event()
    connection.exec_command = lambda *args, **options: (
        asked.set() or Connection.exec_command(connection, *args, **options)
    )
    module(lambda _action: asked.wait(10) and {"figure": 3})
    assert make(connection).run_live(VARS) == {"figure": 3}


def test_module_and_reading_do_not_share_what_changes(make):
    connection = Connection()
    connection.become = mock.Mock()
    action = make(connection)
    with mock.patch.object(subject.copy, "copy", wraps=subject.copy.copy) as copies:
        action._reader("/tmp/x")
    copied = [call.args[0] for call in copies.call_args_list]
    assert copied == [action, connection, connection.become]


@pytest.mark.parametrize(
    ("end", "ended"),
    [
        ({"failed": True, "msg": "model\n'x' is not served"}, "model 'x' is not served"),
        ({"failed": True}, "failed"),
        ({}, "done"),
    ],
)
def test_board_says_how_it_ended(make, module, end, ended):
    module(lambda _action: end)
    action = make()
    action.run_live(VARS)
    assert action.board().states()["node-1"]["ended"] == ended


def test_node_that_is_lost_is_said_and_raised(make, module):
    def lose(_action):
        raise AnsibleConnectionFailure("no route to host")

    module(lose)
    action = make()
    with pytest.raises(AnsibleConnectionFailure):
        action.run_live(VARS)
    assert "no route to host" in action.board().states()["node-1"]["ended"]
    assert action._task.args == {}


def test_module_that_tells_nothing_is_not_asked(make, module):
    connection, seen = Connection(), {}
    module(lambda action: seen.update(action._task.args) or {"figure": 4})

    class Spoken(subject.SpokenAction):
        words = "reading the logs"

    assert make(connection, Spoken, paths=["/x"]).run(task_vars=VARS) == {"figure": 4}
    assert seen == {"paths": ["/x"]}
    assert connection.asked == []


def test_in_the_background_ansible_runs_the_module_alone(make, module, shown):
    module(lambda _action: {"figure": 5})

    class Spoken(subject.SpokenAction):
        words = "reading the logs"

    action = make(plugin=Spoken)
    action._task.async_val = 60
    assert action.run(task_vars=VARS) == {"figure": 5}
    assert shown == []


def test_silence_is_measured_over_all_tasks():
    assert subject.AnsibleOutput(mock.Mock()).silence() is None
    subject.AnsibleOutput(mock.Mock()).say(["a word"])
    assert 0 <= subject.AnsibleOutput(mock.Mock()).silence() < 60


def test_output_of_a_pipeline():
    display = mock.Mock(verbosity=0)
    output = subject.AnsibleOutput(display)
    output.say(["one", "two"])
    output.say([])
    (call,) = display.display.call_args_list
    assert [line.split(" ", 1)[1] for line in call.args[0].splitlines()] == ["one", "two"]
    assert output.size() is None


def test_drawing_stays_out_of_the_log():
    display = mock.Mock(verbosity=0)
    subject.AnsibleOutput(display).draw("table")
    display.display.assert_called_once_with("table", screen_only=True, newline=False)


def test_no_table_where_every_poll_is_reported(monkeypatch):
    monkeypatch.setattr(subject, "size_of", lambda terminal: "a window")
    assert subject.AnsibleOutput(mock.Mock(verbosity=2)).size() == "a window"
    assert subject.AnsibleOutput(mock.Mock(verbosity=3)).size() is None


def test_progress_is_json_from_the_node(make):
    read = make(Connection((0, json.dumps({"phase": "loading"}).encode(), b"")))._reader("/tmp/with space")
    assert read() == {"phase": "loading"}


def test_signal_to_end_waits_for_a_message(monkeypatch):
    ended, sending, seen = threading.Event(), threading.RLock(), []
    monkeypatch.setattr(subject, "_SEND", 3600)

    def handler(_number, _frame):
        ended.set()

    def send():
        with sending:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
            # Time enough for a handler that does not wait.
            seen.append(ended.wait(0.1))

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with subject.ended_between_messages(sending):
            thread = threading.Thread(target=send)
            thread.start()
            thread.join()
            assert ended.wait(10)
        assert seen == [False]
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_signal_does_not_wait_for_ever(monkeypatch):
    ended, sending, release = threading.Event(), threading.RLock(), threading.Event()
    monkeypatch.setattr(subject, "_SEND", 0.001)
    before = signal.signal(signal.SIGTERM, lambda *_: ended.set())
    held = threading.Event()

    def hold():
        with sending:
            held.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    try:
        with subject.ended_between_messages(sending):
            signal.raise_signal(signal.SIGTERM)
        assert ended.is_set()
    finally:
        release.set()
        thread.join()
        signal.signal(signal.SIGTERM, before)


def test_worker_ends_with_the_main_process(monkeypatch):
    monkeypatch.setattr(subject, "_LOOK", 0.001)
    parents, killed = iter([7, 7, 1]), []
    monkeypatch.setattr(
        subject.os, "kill", lambda process, number: killed.append((process, number, next(parents, None)))
    )
    subject.end_with(7, lambda: next(parents))
    assert killed == [(subject.os.getpid(), signal.SIGTERM, None)], "not before the parent is another one"
