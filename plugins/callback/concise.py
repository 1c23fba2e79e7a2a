# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Screen output in which a verdict takes one line and everything else looks as Ansible shows it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: concise
type: stdout
short_description: Ansible's own screen output, with verdicts in a line each
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Shows a task that fails on purpose (M(ansible.builtin.fail), M(ansible.builtin.assert), M(multigpu.vllm.tell),
    M(multigpu.vllm.check_options)) with its message alone, where Ansible's default output adds the place in the role
    and an excerpt of it.
  - Shows options that a role refuses by what is wrong with them, where Ansible's default output adds the role's whole
    specification.
  - Shows warnings also of tasks that are not shown themselves.
  - Hides which files were included.
  - Ends with one line a host in the recap, and in a fleet of more than 20 hosts with those alone on which something
    failed, and a line for all others.
  - Shows a host that cannot be reached in one line, also where only a part of the task was for that host.
  - Does not show that a job in the background is not done yet.
  - Any other failure, and everything with C(-v), is shown as Ansible's default output does.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration
"""

import textwrap
import typing as t
from collections.abc import Mapping

from ansible import constants as C
from ansible import context
from ansible.executor.task_result import CallbackTaskResult
from ansible.playbook.included_file import IncludedFile
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as DefaultCallback
from ansible.utils.color import hostcolor
from ansible.utils.fqcn import add_internal_fqcns

#: Actions that fail on purpose, with a message written for the person who runs the playbook.
_ON_PURPOSE: t.Final = frozenset(
    (*add_internal_fqcns(("fail", "assert")), "multigpu.vllm.check_options", "multigpu.vllm.tell")
)
#: Checks the options of a role against its specification; its result holds that specification as a whole.
_ARGUMENT_SPEC: t.Final = frozenset(add_internal_fqcns(("validate_argument_spec",)))
#: Actions that are repeated until something is done.
_WAITS: t.Final = frozenset(add_internal_fqcns(("async_status",)))
#: Up to this many hosts each have a line in the recap.
MANY_HOSTS: t.Final = 20
#: What the recap always names, as ``AggregateStats.summarize`` does -> as Ansible prints it; others only when not 0.
_ALWAYS: t.Final = {"ok": "ok", "changed": "changed", "unreachable": "unreachable", "failures": "failed"}
_SOMETIMES: t.Final = ("rescued", "ignored")


def verdict(action: str, result: Mapping[str, t.Any]) -> str | None:
    """The message of a task that failed on purpose; ``None`` for every other failure.

    A plain assert's own words say nothing without the assertion that Ansible shows with them.
    """
    message = result.get("msg")
    errors = result.get("argument_errors")
    if action in _ARGUMENT_SPEC and errors:
        return "\n".join(map(str, errors))
    if action not in _ON_PURPOSE or "results" in result or not isinstance(message, str):
        return None
    return None if message == "Assertion failed" else message.strip() or None


def counts(summary: Mapping[str, int]) -> str:
    """``ok=3 changed=1 unreachable=0 failed=0``, from what ``AggregateStats.summarize`` gives for a host."""
    named = [f"{name}={summary[key]}" for key, name in _ALWAYS.items()]
    return " ".join([*named, *(f"{key}={summary[key]}" for key in _SOMETIMES if summary[key])])


def total(summaries: list[dict[str, int]]) -> dict[str, int]:
    """The sum of each count over hosts."""
    return {key: sum(summary[key] for summary in summaries) for key in summaries[0]}


class CallbackModule(DefaultCallback):
    """``multigpu.vllm.concise``."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "multigpu.vllm.concise"

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        message = None if self._display.verbosity else verdict(result.task.action, result.result)
        if message is None:
            super().v2_runner_on_failed(result, ignore_errors=ignore_errors)
            return
        self._tell(result, "FAILED!", message, C.COLOR_ERROR)
        if ignore_errors:
            self._display.display("...ignoring", color=C.COLOR_SKIP)

    def v2_runner_on_unreachable(self, result: CallbackTaskResult) -> None:
        message = result.result.get("msg")
        if self._display.verbosity or not isinstance(message, str):
            super().v2_runner_on_unreachable(result)
            return
        # Of a loop each item has said so already.
        if "results" not in result.result:
            self._tell(result, "UNREACHABLE!", message.removeprefix("Task failed: "), C.COLOR_UNREACHABLE)

    def v2_runner_item_on_failed(self, result: CallbackTaskResult) -> None:
        message = result.result.get("msg")
        if self._display.verbosity or not result.result.get("unreachable") or not isinstance(message, str):
            super().v2_runner_item_on_failed(result)
            return
        self._tell(result, "UNREACHABLE!", message.removeprefix("Task failed: "), C.COLOR_UNREACHABLE)

    def v2_runner_retry(self, result: CallbackTaskResult) -> None:
        if self._display.verbosity or result.task.action not in _WAITS:
            super().v2_runner_retry(result)

    def _tell(self, result: CallbackTaskResult, what: str, message: str, color: str) -> None:
        if self._last_task_banner != result.task._uuid:
            self._print_task_banner(result.task)
        host = self.host_label(result)
        # Roles name the host in the message, for outputs that do not.
        said = textwrap.indent(message.strip().removeprefix(f"{host}: "), "    ").lstrip()
        line = f"fatal: [{host}]: {what} {said}"
        self._display.display(line, color=color, stderr=self.get_option("display_failed_stderr"))

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        if isinstance(result.task, TaskInclude):
            if self._display.verbosity:
                super().v2_runner_on_ok(result)
            return
        super().v2_runner_on_ok(result)
        # Ansible's own output hides the warnings of a task together with its "ok".
        if not (result.result.get("changed") or self.get_option("display_ok_hosts")):
            self._handle_warnings(result.result)

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
        wrong = {host for host, summary in summaries.items() if summary["failures"] or summary["unreachable"]}
        listed = wrong if len(summaries) > MANY_HOSTS else set(summaries)
        width = max(map(len, listed), default=0)
        for host in (host for host in summaries if host in listed):
            padding = " " * (width - len(host))
            name = hostcolor(host, summaries[host]).rstrip()
            self._display.display(f"{name}{padding} : {counts(summaries[host])}", screen_only=True)
            self._display.display(f"{host}{padding} : {counts(summaries[host])}", log_only=True)
        if others := [summary for host, summary in summaries.items() if host not in listed]:
            self._display.display(f"{len(others)} {'other ' * bool(wrong)}hosts : {counts(total(others))}")
        self._display.display("", screen_only=True)
