# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback plugin ``multigpu.vllm.concise``: a shorter version of Ansible's screen output, with live progress."""

from __future__ import annotations

DOCUMENTATION = r"""
name: concise
type: stdout
short_description: Shorter version of Ansible's screen output, with one-line results and live progress
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Shows the progress of M(multigpu.vllm.throughput_probe), and of M(multigpu.vllm.gpu_monitor) with
    O(multigpu.vllm.gpu_monitor#module:live=true). A terminal shows a table that is redrawn every second. Any
    other output gets plain lines with the time of day.
  - Prints the message of C(ansible.builtin.debug), which can be a string or a list of lines, without a task header, and
    even if O(display_ok_hosts=false).
  - Shows a task that fails on purpose (C(ansible.builtin.fail), C(ansible.builtin.assert),
    M(multigpu.vllm.check_options)), and the failure of some measurements (M(multigpu.vllm.node_measurements)), with its
    message only. Ansible's default output adds the location of the task, an excerpt of the file and all results.
  - Shows only the error messages for invalid options of a role. Ansible's default output adds the whole argument
    specification of the role.
  - Shows the warnings of a task even if the result of the task is hidden.
  - Hides the names of included files.
  - Prints one line per host in the recap. If there are more than 20 hosts, it prints one line for each failed host and
    one line for all other hosts together.
  - Shows an unreachable host in one line, even if it is only unreachable for some items of a loop.
  - Hides the polls of an asynchronous job, and the line C(NO MORE HOSTS LEFT) after the last failure.
  - Prints the name of the running task after 30 seconds without output.
  - Finishes the run even if the program that reads its output exits early, as in C(ansible-playbook ... | head).
  - Shows all other failures like Ansible's default output. With C(-v), everything is shown like in Ansible's default
    output.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration
"""

import locale
import textwrap
import typing as t
from collections.abc import Mapping
from types import SimpleNamespace

from ansible import constants, context
from ansible.executor.task_result import CallbackTaskResult
from ansible.playbook import Playbook
from ansible.playbook.included_file import IncludedFile
from ansible.playbook.task import Task
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as DefaultCallback
from ansible.utils.color import hostcolor
from ansible.utils.fqcn import add_internal_fqcns
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.display import LiveDisplay
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.screen import Screen
from ansible_collections.multigpu.vllm.plugins.plugin_utils.printable import printable_data
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import terminal_style

#: Ansible adds its settings to the module ``constants`` at run time.
_COLORS: t.Any = constants
#: Actions that fail on purpose, with a message for the user of the playbook.
_ON_PURPOSE: t.Final = frozenset((*add_internal_fqcns(("fail", "assert")), "multigpu.vllm.check_options"))
#: Name of the action whose message names the measurements that failed; its result contains those of all others.
_MEASUREMENTS: t.Final = "multigpu.vllm.node_measurements"
#: Name of the action that waits for a server; its result contains the end of the server's log.
_START: t.Final = "multigpu.vllm.vllm_wait"
#: Names of the action that prints a message for the user of the playbook.
_DEBUG: t.Final = frozenset(add_internal_fqcns(("debug",)))
#: Names of the action that prints a prompt and waits for the user or for some time.
_PAUSE: t.Final = frozenset(add_internal_fqcns(("pause",)))
#: Names of the action that checks the options of a role; its result contains the role's whole argument specification.
_ARGUMENT_SPEC: t.Final = frozenset(add_internal_fqcns(("validate_argument_spec",)))
#: Names of the action that is repeated until an asynchronous job has finished.
_WAITS: t.Final = frozenset(add_internal_fqcns(("async_status",)))
#: Maximum number of hosts for which the recap prints one line per host.
MANY_HOSTS: t.Final = 20
#: Counts that the recap always prints: key in ``AggregateStats.summarize`` -> printed name.
_ALWAYS: t.Final = {"ok": "ok", "changed": "changed", "unreachable": "unreachable", "failures": "failed"}
#: Counts that the recap prints only if they are not 0.
_SOMETIMES: t.Final = ("rescued", "ignored")


def verdict(action: str, result: Mapping[str, t.Any]) -> str | None:
    """Return the message with which an action such as ``fail`` or ``assert`` failed, or None for other actions.

    That of a server that did not start is the cause in its log.

    The default message of an assert task also returns None, because it is useless without the failed assertion, which
    only Ansible's default output prints.
    """
    message = result.get("msg")
    if isinstance(message, list):
        message = "\n".join(map(str, message))
    if action in _ARGUMENT_SPEC and (errors := result.get("argument_errors")):
        return "\n".join(map(str, errors))
    if action == _START and (cause := result.get("cause")):
        return str(cause["summary"] or cause["line"])
    measured = action == _MEASUREMENTS and "measurements" in result
    if not (measured or action in _ON_PURPOSE) or "results" in result or not isinstance(message, str):
        return None
    return None if message == "Assertion failed" else message.strip() or None


def debug_message(action: str, result: Mapping[str, t.Any]) -> str | None:
    """Return the message of a debug task as text, or None if there is no message.

    Other actions, structured data and the combined result of a loop have no message.
    """
    message = result.get("msg")
    if action not in _DEBUG or "results" in result or message is None or isinstance(message, dict):
        return None
    return "\n".join(map(str, message)) if isinstance(message, list) else str(message)


def counts(summary: Mapping[str, int]) -> str:
    """Format a host's summary from ``AggregateStats.summarize`` as ``ok=3 changed=1 unreachable=0 failed=0``."""
    parts = [f"{name}={summary[key]}" for key, name in _ALWAYS.items()]
    return " ".join([*parts, *(f"{key}={summary[key]}" for key in _SOMETIMES if summary[key])])


def total(summaries: list[dict[str, int]]) -> dict[str, int]:
    """Add up each count, such as ``ok`` or ``failures``, across all hosts."""
    return {key: sum(summary[key] for summary in summaries) for key in summaries[0]}


class CallbackModule(DefaultCallback):
    """Print a shorter version of Ansible's default screen output, with live progress."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "multigpu.vllm.concise"

    _live: LiveDisplay | None = None
    _summaries: SimpleNamespace | None = None

    @property
    def _current_task_result(self) -> CallbackTaskResult | None:
        """The warnings, deprecations and exception of a task, which Ansible's output looks up here."""
        return t.cast(CallbackTaskResult | None, self._summaries)

    @_current_task_result.setter
    def _current_task_result(self, result: CallbackTaskResult | None) -> None:
        """Store the result that Ansible passes to the next method, and make the texts in it printable."""
        self._summaries = None
        if result is not None:
            printed = printable_data(result.result)
            result.result.clear()
            result.result.update(printed)
            self._summaries = SimpleNamespace(
                warnings=printable_data(list(result.warnings)),
                deprecations=printable_data(list(result.deprecations)),
                exception=printable_data(result.exception),
            )

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        style = terminal_style(locale.getpreferredencoding(False))
        self._live = LiveDisplay(Screen.install(), self._display.display, style)
        self._live.start()
        super().v2_playbook_on_start(playbook)

    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:
        self._begin_task(task)
        super().v2_playbook_on_task_start(task, is_conditional)

    def v2_playbook_on_handler_task_start(self, task: Task) -> None:
        self._begin_task(task)
        super().v2_playbook_on_handler_task_start(task)

    def _begin_task(self, task: Task) -> None:
        if self._live is not None:
            self._live.begin_task(None if task.action in _PAUSE else task.get_name().strip())

    def _end_host(self, result: CallbackTaskResult) -> None:
        if self._live is not None:
            self._live.end_host(result.task._uuid, result.host.get_name(), result.result)

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        self._end_host(result)
        message = None if self._display.verbosity else verdict(result.task.action, result.result)
        if message is None:
            super().v2_runner_on_failed(result, ignore_errors=ignore_errors)
            return
        self._print_failure(result, "FAILED!", message, _COLORS.COLOR_ERROR)
        if ignore_errors:
            self._display.display("...ignoring", color=_COLORS.COLOR_SKIP)

    def v2_runner_on_unreachable(self, result: CallbackTaskResult) -> None:
        self._end_host(result)
        if not self._print_unreachable(result):
            super().v2_runner_on_unreachable(result)

    def v2_runner_item_on_failed(self, result: CallbackTaskResult) -> None:
        self._end_host(result)
        if not (result.result.get("unreachable") and self._print_unreachable(result)):
            super().v2_runner_item_on_failed(result)

    def _print_unreachable(self, result: CallbackTaskResult) -> bool:
        """Print why a host is unreachable, and return whether nothing else has to be printed."""
        message = result.result.get("msg")
        if self._display.verbosity or not isinstance(message, str):
            return False
        # If the task has a loop, the message of each item has already been printed.
        if "results" not in result.result:
            text = message.removeprefix("Task failed: ")
            self._print_failure(result, "UNREACHABLE!", text, _COLORS.COLOR_UNREACHABLE)
        return True

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        # The failures are shown already, and Ansible calls this method twice in a play with ``serial``.
        if self._display.verbosity:
            super().v2_playbook_on_no_hosts_remaining()

    def v2_runner_retry(self, result: CallbackTaskResult) -> None:
        if self._display.verbosity or result.task.action not in _WAITS:
            super().v2_runner_retry(result)

    def _print_failure(self, result: CallbackTaskResult, status: str, message: str, color: str) -> None:
        if self._last_task_banner != result.task._uuid:
            self._print_task_banner(result.task)
        host = self.host_label(result)
        # The roles of this collection start their messages with the host's name. Remove the name, because the line
        # printed here already contains it.
        text = textwrap.indent(message.strip().removeprefix(f"{host}: "), "    ").lstrip()
        line = f"fatal: [{host}]: {status} {text}"
        self._display.display(line, color=color, stderr=self.get_option("display_failed_stderr"))

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        self._end_host(result)
        if isinstance(result.task, TaskInclude):
            if self._display.verbosity:
                super().v2_runner_on_ok(result)
            return
        if self._print_debug_message(result):
            return
        super().v2_runner_on_ok(result)
        # If Ansible's default output hides a task's "ok" line, it also hides the task's warnings. Print them anyway.
        if not (result.result.get("changed") or self.get_option("display_ok_hosts")):
            self._handle_warnings(result.result)

    def v2_runner_item_on_ok(self, result: CallbackTaskResult) -> None:
        self._end_host(result)
        if not self._print_debug_message(result):
            super().v2_runner_item_on_ok(result)

    def _print_debug_message(self, result: CallbackTaskResult) -> bool:
        """Print the message of a debug task, and return whether there was a message."""
        message = debug_message(result.task.action, result.result)
        if message is not None:
            self._handle_warnings(result.result)
            self._display.display(message)
        return message is not None

    def v2_playbook_on_include(self, included_file: IncludedFile) -> None:
        if self._display.verbosity:
            super().v2_playbook_on_include(included_file)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        markers = context.CLIARGS.get("check") and self.get_option("check_mode_markers")
        if self._display.verbosity or markers or (stats.custom and self.get_option("show_custom_stats")):
            super().v2_playbook_on_stats(stats)
            return
        self._display.banner("PLAY RECAP")
        summaries = {host: stats.summarize(host) for host in sorted(stats.processed)}
        failed = {host for host, summary in summaries.items() if summary["failures"] or summary["unreachable"]}
        listed = failed if len(summaries) > MANY_HOSTS else set(summaries)
        width = max(map(len, listed), default=0)
        for host in (host for host in summaries if host in listed):
            padding = " " * (width - len(host))
            name = hostcolor(host, summaries[host]).rstrip()
            self._display.display(f"{name}{padding} : {counts(summaries[host])}", screen_only=True)
            self._display.display(f"{host}{padding} : {counts(summaries[host])}", log_only=True)
        if others := [summary for host, summary in summaries.items() if host not in listed]:
            self._display.display(f"{len(others)} {'other ' * bool(failed)}hosts : {counts(total(others))}")
        self._display.display("", screen_only=True)
