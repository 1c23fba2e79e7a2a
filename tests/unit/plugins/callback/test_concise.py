# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import SimpleNamespace
from unittest import mock

import pytest
from ansible.executor.stats import AggregateStats
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as DefaultCallback
from ansible_collections.multigpu.vllm.plugins.callback.concise import (
    MANY_HOSTS,
    CallbackModule,
    counts,
    total,
    verdict,
)

SUMMARY = {"ok": 3, "changed": 1, "unreachable": 0, "failures": 2, "skipped": 9, "rescued": 0, "ignored": 4}


@pytest.mark.parametrize(
    ("action", "result", "expected"),
    [
        ("ansible.builtin.fail", {"msg": "a: too slow\n"}, "a: too slow"),
        ("ansible.builtin.assert", {"msg": "plan g2-gpu-x is unknown"}, "plan g2-gpu-x is unknown"),
        ("multigpu.vllm.tell", {"msg": "over the limit"}, "over the limit"),
        ("ansible.builtin.assert", {"msg": "Assertion failed", "assertion": "1 == 2"}, None),
        ("ansible.builtin.command", {"msg": "non-zero return code"}, None),
        ("ansible.builtin.fail", {"msg": "one failed", "results": [{}]}, None),
        ("ansible.builtin.fail", {"msg": ["a", "b"]}, None),
        ("ansible.builtin.fail", {}, None),
        (
            "ansible.builtin.validate_argument_spec",
            {"msg": "x", "argument_errors": ["a is b", "c is d"]},
            "a is b\nc is d",
        ),
        ("ansible.builtin.validate_argument_spec", {"msg": "incorrect type for argument_spec"}, None),
    ],
)
def test_verdict(action, result, expected):
    assert verdict(action, result) == expected


def test_counts_names_what_is_rare_only_where_it_happened():
    assert counts(SUMMARY) == "ok=3 changed=1 unreachable=0 failed=2 ignored=4"


def test_total():
    assert total([SUMMARY, SUMMARY])["ok"] == 6


@pytest.fixture
def callback(monkeypatch):
    """The callback with a terminal of lines; what Ansible's own output is asked to show is in ``default``."""
    made = CallbackModule()
    made.lines = []

    def display(line, screen_only=False, log_only=False, **_how):
        if not log_only:
            made.lines.append(line)

    made._display = SimpleNamespace(verbosity=0, display=display, banner=made.lines.append)
    made.default = mock.Mock()
    for name in (
        "v2_runner_on_failed",
        "v2_runner_item_on_failed",
        "v2_runner_on_unreachable",
        "v2_runner_on_ok",
        "v2_runner_retry",
        "v2_playbook_on_include",
    ):
        monkeypatch.setattr(DefaultCallback, name, getattr(made.default, name))
    monkeypatch.setattr(DefaultCallback, "v2_playbook_on_stats", made.default.stats)
    monkeypatch.setattr(made, "_print_task_banner", lambda _task: made.lines.append("TASK"))
    monkeypatch.setattr(made, "get_option", lambda _name: False)
    return made


def outcome(action="ansible.builtin.fail", **result):
    host = SimpleNamespace(get_name=lambda: "gpu-1")
    return SimpleNamespace(
        task=SimpleNamespace(action=action, _uuid="1", delegate_to=None), result=result, host=host, is_failed=bool
    )


def test_a_verdict_is_one_line_and_names_the_host_once(callback):
    callback.v2_runner_on_failed(outcome(msg="gpu-1: vLLM uses 1 of 4 GPUs"))
    assert callback.lines == ["TASK", "fatal: [gpu-1]: FAILED! vLLM uses 1 of 4 GPUs"]
    assert not callback.default.v2_runner_on_failed.called


def test_lines_of_a_verdict_stand_under_it(callback):
    callback.v2_runner_on_failed(outcome(msg="one\ntwo"), ignore_errors=True)
    assert callback.lines == ["TASK", "fatal: [gpu-1]: FAILED! one\n    two", "...ignoring"]


def test_an_unexpected_failure_keeps_all_its_details(callback):
    result = outcome("ansible.builtin.command", msg="non-zero return code")
    callback.v2_runner_on_failed(result, ignore_errors=True)
    callback.default.v2_runner_on_failed.assert_called_once_with(result, ignore_errors=True)
    assert callback.lines == []


def test_an_unreachable_host_is_one_line(callback):
    callback.v2_runner_on_unreachable(outcome(msg="Task failed: Failed to connect"))
    assert callback.lines == ["TASK", "fatal: [gpu-1]: UNREACHABLE! Failed to connect"]


def test_an_unreachable_host_without_a_message(callback):
    callback.v2_runner_on_unreachable(outcome())
    assert callback.default.v2_runner_on_unreachable.called


def test_of_a_loop_each_lost_host_is_one_line(callback):
    lost = {"unreachable": True, "msg": "Task failed: Failed to connect"}
    callback.v2_runner_item_on_failed(outcome("multigpu.vllm.clock_offset", item="load-2", **lost))
    callback.v2_runner_on_unreachable(outcome(results=[lost], msg="All items completed"))
    assert callback.lines == ["TASK", "fatal: [gpu-1]: UNREACHABLE! Failed to connect"]
    failed = outcome("multigpu.vllm.clock_offset", item="load-2", msg="no time")
    callback.v2_runner_item_on_failed(failed)
    callback.default.v2_runner_item_on_failed.assert_called_once_with(failed)


def test_a_job_that_goes_on_is_no_news(callback):
    callback.v2_runner_retry(outcome("ansible.builtin.async_status"))
    assert not callback.default.v2_runner_retry.called
    callback.v2_runner_retry(outcome("ansible.builtin.uri"))
    assert callback.default.v2_runner_retry.called


def test_included_files_are_not_news(callback):
    callback.v2_runner_on_ok(SimpleNamespace(task=TaskInclude()))
    callback.v2_playbook_on_include(mock.Mock())
    assert callback.lines == []
    assert not callback.default.mock_calls


def test_other_results_are_shown_as_ansible_does(callback):
    callback.v2_runner_on_ok(outcome("ansible.builtin.ping"))
    assert callback.default.v2_runner_on_ok.called


@pytest.mark.parametrize(("changed", "shown"), [(False, 1), (True, 0)])
def test_a_warning_is_shown_although_its_task_is_not(callback, monkeypatch, changed, shown):
    """Where the task changed something, Ansible's own output shows both."""
    warned = mock.Mock()
    monkeypatch.setattr(callback, "_handle_warnings", warned)
    callback.v2_runner_on_ok(outcome("ansible.builtin.ping", changed=changed, warnings=["no option"]))
    assert warned.call_count == shown


def test_verbose_shows_everything_as_ansible_does(callback):
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
    gathered = AggregateStats()
    for host in hosts:
        gathered.increment("failures" if host in failed else "ok", host)
    return gathered


def test_the_recap_of_a_few_hosts_names_each(callback):
    callback.v2_playbook_on_stats(stats(["gpu-1", "gpu-20"], failed=["gpu-20"]))
    assert callback.lines == [
        "PLAY RECAP",
        "gpu-1  : ok=1 changed=0 unreachable=0 failed=0",
        "gpu-20 : ok=0 changed=0 unreachable=0 failed=1",
        "",
    ]


def test_the_recap_of_a_fleet_names_those_that_failed(callback):
    hosts = [f"gpu-{number}" for number in range(MANY_HOSTS + 1)]
    callback.v2_playbook_on_stats(stats(hosts, failed=["gpu-3"]))
    assert callback.lines == [
        "PLAY RECAP",
        "gpu-3 : ok=0 changed=0 unreachable=0 failed=1",
        f"{MANY_HOSTS} other hosts : ok={MANY_HOSTS} changed=0 unreachable=0 failed=0",
        "",
    ]


def test_the_recap_of_a_healthy_fleet_is_one_line(callback):
    callback.v2_playbook_on_stats(stats([f"gpu-{number}" for number in range(MANY_HOSTS + 1)]))
    assert callback.lines[1:-1] == [f"{MANY_HOSTS + 1} hosts : ok={MANY_HOSTS + 1} changed=0 unreachable=0 failed=0"]


def test_custom_stats_are_shown_where_asked_for(callback, monkeypatch):
    monkeypatch.setattr(callback, "get_option", lambda name: name == "show_custom_stats")
    gathered = stats(["gpu-1"])
    gathered.custom = {"_run": {"cost": 1}}
    callback.v2_playbook_on_stats(gathered)
    assert callback.default.stats.called
