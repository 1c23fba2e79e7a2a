# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from ansible.executor.stats import AggregateStats
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as DefaultCallback
from ansible_collections.multigpu.vllm.plugins.callback import concise as subject
from ansible_collections.multigpu.vllm.plugins.callback.concise import (
    MANY_HOSTS,
    CallbackModule,
    counts,
    debug_message,
    total,
    verdict,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.printable import printable

SUMMARY = {"ok": 3, "changed": 1, "unreachable": 0, "failures": 2, "skipped": 9, "rescued": 0, "ignored": 4}


@pytest.mark.parametrize(
    ("action", "result", "expected"),
    [
        ("ansible.builtin.fail", {"msg": "a: too slow\n"}, "a: too slow"),
        ("ansible.builtin.assert", {"msg": "plan g2-gpu-x is unknown"}, "plan g2-gpu-x is unknown"),
        ("multigpu.vllm.check_options", {"msg": "over the limit"}, "over the limit"),
        ("multigpu.vllm.node_measurements", {"msg": "gpu_facts failed: x", "measurements": {}}, "gpu_facts failed: x"),
        ("multigpu.vllm.node_measurements", {"msg": "no Python"}, None),
        ("ansible.builtin.assert", {"msg": "Assertion failed", "assertion": "1 == 2"}, None),
        ("ansible.builtin.command", {"msg": "non-zero return code"}, None),
        ("ansible.builtin.fail", {"msg": "one failed", "results": [{}]}, None),
        ("ansible.builtin.fail", {"msg": ["a", "b"]}, "a\nb"),
        ("ansible.builtin.fail", {}, None),
        (
            "ansible.builtin.validate_argument_spec",
            {"msg": "x", "argument_errors": ["a is b", "c is d"]},
            "a is b\nc is d",
        ),
        ("ansible.builtin.validate_argument_spec", {"msg": "incorrect type for argument_spec"}, None),
        ("multigpu.vllm.vllm_wait", {"cause": {"summary": "KV cache too small", "line": "x"}}, "KV cache too small"),
        ("multigpu.vllm.vllm_wait", {"cause": {"summary": None, "line": "exit status 1"}}, "exit status 1"),
        ("multigpu.vllm.vllm_wait", {"cause": None, "msg": "no container"}, None),
    ],
)
def test_verdict_is_the_message_of_a_deliberate_failure(action, result, expected):
    assert verdict(action, result) == expected


def test_counts_omits_rare_counts_that_are_zero():
    assert counts(SUMMARY) == "ok=3 changed=1 unreachable=0 failed=2 ignored=4"


def test_total_adds_up_the_hosts():
    assert total([SUMMARY, SUMMARY])["ok"] == 6


@pytest.mark.parametrize(
    ("action", "result", "expected"),
    [
        ("ansible.builtin.debug", {"msg": "8 GPUs"}, "8 GPUs"),
        ("debug", {"msg": ["8 GPUs", 7.14]}, "8 GPUs\n7.14"),
        ("ansible.builtin.debug", {"msg": 0}, "0"),
        ("ansible.builtin.debug", {"msg": {"gpus": 8}}, None),
        ("ansible.builtin.debug", {"gpus": 8}, None),
        ("ansible.builtin.debug", {"msg": "All items completed", "results": []}, None),
        ("ansible.builtin.command", {"msg": "8 GPUs"}, None),
    ],
)
def test_debug_message_is_a_text_or_lines(action, result, expected):
    assert debug_message(action, result) == expected


@pytest.fixture
def callback(monkeypatch):
    """The callback; ``lines`` has what it printed, ``default`` the calls of Ansible's default callback."""
    callback = CallbackModule()
    callback.lines = []

    def display(line, screen_only=False, log_only=False, **_how):
        if not log_only:
            callback.lines.append(line)

    callback._display = SimpleNamespace(verbosity=0, display=display, banner=callback.lines.append)
    callback.default = mock.Mock()
    for name in (
        "v2_runner_on_failed",
        "v2_runner_item_on_failed",
        "v2_runner_on_unreachable",
        "v2_runner_on_ok",
        "v2_runner_item_on_ok",
        "v2_playbook_on_start",
        "v2_playbook_on_task_start",
        "v2_playbook_on_handler_task_start",
        "v2_runner_retry",
        "v2_playbook_on_include",
        "v2_playbook_on_no_hosts_remaining",
    ):
        monkeypatch.setattr(DefaultCallback, name, getattr(callback.default, name))
    monkeypatch.setattr(DefaultCallback, "v2_playbook_on_stats", callback.default.stats)
    monkeypatch.setattr(callback, "_print_task_banner", lambda _task: callback.lines.append("TASK"))
    monkeypatch.setattr(callback, "get_option", lambda _name: False)
    return callback


def outcome(action="ansible.builtin.fail", **result):
    host = SimpleNamespace(get_name=lambda: "gpu-1")
    return SimpleNamespace(
        task=SimpleNamespace(action=action, _uuid="1", delegate_to=None), result=result, host=host, is_failed=bool
    )


def test_failure_is_one_line_with_the_host(callback):
    callback.v2_runner_on_failed(outcome(msg="gpu-1: vLLM uses 1 of 4 GPUs"))
    assert callback.lines == ["TASK", "fatal: [gpu-1]: FAILED! vLLM uses 1 of 4 GPUs"]
    assert not callback.default.v2_runner_on_failed.called


@pytest.mark.parametrize("verbosity", [0, 1])
def test_end_of_the_hosts_is_shown_only_with_verbosity(callback, verbosity):
    callback._display.verbosity = verbosity
    callback.v2_playbook_on_no_hosts_remaining()
    assert callback.default.v2_playbook_on_no_hosts_remaining.call_count == verbosity


def test_failure_indents_further_lines(callback):
    callback.v2_runner_on_failed(outcome(msg="one\ntwo"), ignore_errors=True)
    assert callback.lines == ["TASK", "fatal: [gpu-1]: FAILED! one\n    two", "...ignoring"]


def test_failure_by_accident_is_shown_as_ansible_does(callback):
    result = outcome("ansible.builtin.command", msg="non-zero return code")
    callback.v2_runner_on_failed(result, ignore_errors=True)
    callback.default.v2_runner_on_failed.assert_called_once_with(result, ignore_errors=True)
    assert callback.lines == []


def test_unreachable_host_is_one_line(callback):
    callback.v2_runner_on_unreachable(outcome(msg="Task failed: Failed to connect"))
    assert callback.lines == ["TASK", "fatal: [gpu-1]: UNREACHABLE! Failed to connect"]


def test_unreachable_host_without_message_is_shown_as_ansible_does(callback):
    callback.v2_runner_on_unreachable(outcome())
    assert callback.default.v2_runner_on_unreachable.called


def test_unreachable_host_of_a_loop_is_one_line(callback):
    unreachable = {"unreachable": True, "msg": "Task failed: Failed to connect"}
    callback.v2_runner_item_on_failed(outcome("multigpu.vllm.clock_offset", item="load-2", **unreachable))
    callback.v2_runner_on_unreachable(outcome(results=[unreachable], msg="All items completed"))
    assert callback.lines == ["TASK", "fatal: [gpu-1]: UNREACHABLE! Failed to connect"]
    failed = outcome("multigpu.vllm.clock_offset", item="load-2", msg="no time")
    callback.v2_runner_item_on_failed(failed)
    callback.default.v2_runner_item_on_failed.assert_called_once_with(failed)


def test_poll_of_a_job_is_hidden(callback):
    callback.v2_runner_retry(outcome("ansible.builtin.async_status"))
    assert not callback.default.v2_runner_retry.called
    callback.v2_runner_retry(outcome("ansible.builtin.uri"))
    assert callback.default.v2_runner_retry.called


def test_included_files_are_hidden(callback):
    callback.v2_runner_on_ok(SimpleNamespace(task=TaskInclude()))
    callback.v2_playbook_on_include(mock.Mock())
    assert callback.lines == []
    assert not callback.default.mock_calls


def test_ok_result_is_shown_as_ansible_does(callback):
    callback.v2_runner_on_ok(outcome("ansible.builtin.ping"))
    assert callback.default.v2_runner_on_ok.called


@pytest.mark.parametrize(("changed", "shown"), [(False, 1), (True, 0)])
def test_warning_of_a_hidden_task_is_shown(callback, monkeypatch, changed, shown):
    """If the task changed something, Ansible's default callback shows both."""
    warned = mock.Mock()
    monkeypatch.setattr(callback, "_handle_warnings", warned)
    callback.v2_runner_on_ok(outcome("ansible.builtin.ping", changed=changed, warnings=["no option"]))
    assert warned.call_count == shown


def test_verbose_output_is_as_ansible_does(callback):
    callback._display.verbosity = 1
    callback.v2_runner_on_failed(outcome(msg="no"))
    callback.v2_runner_on_unreachable(outcome(msg="no"))
    callback.v2_runner_item_on_failed(outcome(msg="no", unreachable=True))
    callback.v2_runner_retry(outcome("async_status"))
    callback.v2_runner_on_ok(SimpleNamespace(task=TaskInclude()))
    callback.v2_playbook_on_include(mock.Mock())
    callback.v2_playbook_on_stats(AggregateStats())
    assert len(callback.default.mock_calls) == 7
    assert callback.lines == []


def stats(hosts, failed=()):
    statistics = AggregateStats()
    for host in hosts:
        statistics.increment("failures" if host in failed else "ok", host)
    return statistics


def test_recap_of_few_hosts_has_a_line_per_host(callback):
    callback.v2_playbook_on_stats(stats(["gpu-1", "gpu-20"], failed=["gpu-20"]))
    assert callback.lines == [
        "PLAY RECAP",
        "gpu-1  : ok=1 changed=0 unreachable=0 failed=0",
        "gpu-20 : ok=0 changed=0 unreachable=0 failed=1",
        "",
    ]


def test_recap_of_many_hosts_lists_failed_hosts(callback):
    hosts = [f"gpu-{number}" for number in range(MANY_HOSTS + 1)]
    callback.v2_playbook_on_stats(stats(hosts, failed=["gpu-3"]))
    assert callback.lines == [
        "PLAY RECAP",
        "gpu-3 : ok=0 changed=0 unreachable=0 failed=1",
        f"{MANY_HOSTS} other hosts : ok={MANY_HOSTS} changed=0 unreachable=0 failed=0",
        "",
    ]


def test_recap_of_many_healthy_hosts_is_one_line(callback):
    callback.v2_playbook_on_stats(stats([f"gpu-{number}" for number in range(MANY_HOSTS + 1)]))
    assert callback.lines[1:-1] == [f"{MANY_HOSTS + 1} hosts : ok={MANY_HOSTS + 1} changed=0 unreachable=0 failed=0"]


def test_custom_stats_are_shown_as_ansible_does(callback, monkeypatch):
    monkeypatch.setattr(callback, "get_option", lambda name: name == "show_custom_stats")
    statistics = stats(["gpu-1"])
    statistics.custom = {"_run": {"cost": 1}}
    callback.v2_playbook_on_stats(statistics)
    assert callback.default.stats.called


@pytest.mark.parametrize("event", ["v2_runner_on_ok", "v2_runner_item_on_ok"])
def test_debug_message_is_printed_without_header(callback, event):
    getattr(callback, event)(outcome("ansible.builtin.debug", msg=["8 GPUs", "7.14 USD an hour"]))
    assert callback.lines == ["8 GPUs\n7.14 USD an hour"]
    assert not getattr(callback.default, event).called


def test_item_of_another_task_is_shown_as_ansible_does(callback):
    callback.v2_runner_item_on_ok(outcome("ansible.builtin.ping"))
    assert callback.default.v2_runner_item_on_ok.called


@pytest.fixture
def live(callback):
    callback._live = mock.Mock()
    return callback._live


@pytest.mark.parametrize(
    ("action", "name"), [("ansible.builtin.apt", "Install the driver"), ("ansible.builtin.pause", None)]
)
def test_start_of_a_task_is_passed_to_the_live_display(callback, live, action, name):
    task = SimpleNamespace(action=action, get_name=lambda: "Install the driver")
    callback.v2_playbook_on_task_start(task, False)
    callback.v2_playbook_on_handler_task_start(task)
    assert live.begin_task.call_args_list == 2 * [mock.call(name)]
    callback.default.v2_playbook_on_task_start.assert_called_once_with(task, False)
    callback.default.v2_playbook_on_handler_task_start.assert_called_once_with(task)


@pytest.mark.parametrize(
    "event",
    [
        "v2_runner_on_ok",
        "v2_runner_on_failed",
        "v2_runner_on_unreachable",
        "v2_runner_item_on_ok",
        "v2_runner_item_on_failed",
    ],
)
def test_result_of_a_host_is_passed_to_the_live_display(callback, live, event):
    getattr(callback, event)(outcome("ansible.builtin.ping", msg="no", changed=True))
    live.end_host.assert_called_once_with("1", "gpu-1", {"msg": "no", "changed": True})


def test_start_of_the_playbook_starts_the_live_display(callback, monkeypatch):
    made = mock.Mock()
    monkeypatch.setattr(subject, "LiveDisplay", made)
    monkeypatch.setattr(subject.Screen, "install", mock.Mock())
    callback.v2_playbook_on_start(mock.Mock())
    assert callback._live is made.return_value
    assert callback._live.start.called
    assert callback.default.v2_playbook_on_start.called


#: Hosts of a playbook that prints more than a pipe holds.
HOSTS = ("a", "b", "c", "d")
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Print many lines
      ansible.builtin.debug:
        msg: "{{ range(5000) | map('string') | list }}"
    - name: Print from a worker process
      many_lines:
    - name: Finish the run
      many_lines:
        marker: "{{ directory }}/{{ inventory_hostname }}"
"""
ACTION = """
from pathlib import Path

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        self._display.display("line\\n" * 50_000)
        if "marker" in self._task.args:
            Path(self._task.args["marker"]).write_text("finished")
        return {"changed": False}
"""


@pytest.mark.parametrize(("failing", "code"), [(False, 0), (True, 2)])
def test_run_finishes_if_the_reader_of_its_output_exits(tmp_path, failing, code):
    """As in ``ansible-playbook ... | head -3``: the run neither hangs nor fails for it."""
    playbook = tmp_path / "playbook.yml"
    failure = "    - ansible.builtin.fail:\n        msg: too slow\n" if failing else ""
    playbook.write_text(PLAYBOOK + failure, encoding="utf-8")
    (tmp_path / "action_plugins").mkdir()
    (tmp_path / "action_plugins/many_lines.py").write_text(ACTION, encoding="utf-8")
    variables = {"directory": str(tmp_path), "ansible_connection": "local"}
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        ",".join(HOSTS),
        "-e",
        json.dumps(variables),
    ]
    environment = {
        **os.environ,
        "ANSIBLE_STDOUT_CALLBACK": "multigpu.vllm.concise",
        "ANSIBLE_DISPLAY_OK_HOSTS": "false",
        "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp"),
        "ANSIBLE_HOME": str(tmp_path / "home"),
    }
    with subprocess.Popen(
        [*command, str(playbook)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        lines = [run.stdout.readline() for _number in range(3)]
        run.stdout.close()
        try:
            assert run.wait(timeout=60) == code
        finally:
            run.kill()
    assert lines[1].startswith("PLAY [all]")
    assert [(tmp_path / host).read_text(encoding="utf-8") for host in HOSTS] == ["finished"] * len(HOSTS)


HOSTILE = "\x1b[2J\x1b[31m\x9b2J\x07\u202ekcab"
HOSTILE_PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.debug: {msg: "{{ text }}"}
    - ansible.builtin.debug: {msg: ["{{ text }}"]}
    - ansible.builtin.debug: {var: text}
    - hostile: {}
    - hostile: {}
      loop: ["{{ text }}"]
    - block:
        - hostile: {failed: true}
      rescue:
        - ansible.builtin.fail: {msg: "{{ text }}"}
"""
HOSTILE_ACTION = """
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        text = task_vars["text"]
        self._display.warning(f"warned {text}")
        result = {"changed": True, "msg": text, "stdout": text, "list": [text], text: 1, "warnings": [text]}
        result["diff"] = {"before": "a", "after": text}
        return {**result, "failed": bool(self._task.args.get("failed"))}
"""


def test_no_control_character_of_a_node_reaches_the_output(tmp_path):
    (tmp_path / "playbook.yml").write_text(HOSTILE_PLAYBOOK, encoding="utf-8")
    (tmp_path / "action_plugins").mkdir()
    (tmp_path / "action_plugins/hostile.py").write_text(HOSTILE_ACTION, encoding="utf-8")
    variables = {"text": HOSTILE, "ansible_connection": "local"}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "a,", "--diff", "-e", json.dumps(variables)]
    environment = {
        **os.environ,
        "ANSIBLE_STDOUT_CALLBACK": "multigpu.vllm.concise",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp"),
        "ANSIBLE_HOME": str(tmp_path / "home"),
    }
    run = subprocess.run(
        [*command, str(tmp_path / "playbook.yml")], env=environment, capture_output=True, text=True, check=False
    )
    output = run.stdout + run.stderr
    assert run.returncode == 2
    assert "fatal: [a]: FAILED! �[2J" in output
    # Ansible's workers print warnings without the callback; of these, colours may remain.
    shown = [line for line in output.splitlines() if "WARNING" not in line]
    assert [line for line in shown if printable(line) != line] == []
    assert printable(output.replace("\x1b[31m", "")) == output.replace("\x1b[31m", "")
