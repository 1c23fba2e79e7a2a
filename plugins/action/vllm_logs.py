# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.vllm_logs``, which is documented in ``plugins/modules/vllm_logs.py``."""

from __future__ import annotations

import dataclasses
import shlex
import time
import typing as t
from collections.abc import Mapping
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.utils.color import stringc
from ansible_collections.multigpu.vllm.plugins.module_utils.files import replace_text
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask_line
from ansible_collections.multigpu.vllm.plugins.module_utils.units import counted
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.startup import Cause
from ansible_collections.multigpu.vllm.plugins.plugin_utils.controller import ControllerAction, documented_arguments
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment import logs
from ansible_collections.multigpu.vllm.plugins.plugin_utils.printable import printable

#: Seconds between two reads of the logs while following them.
POLL_INTERVAL: t.Final = 2.0
#: Colours of the hosts' names, in turn.
_COLORS: t.Final = ("cyan", "green", "yellow", "purple", "blue", "bright red")


class ActionModule(ControllerAction):
    """Copy the logs of a vLLM server from the node to the controller."""

    _requires_connection = True
    ARGUMENTS = documented_arguments("vllm_logs")
    CONSTRAINTS: t.ClassVar = {"required_one_of": [("container", "journal_unit", "paths")]}

    def act(self, options: dict[str, t.Any], variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
        host, part = str(variables.get("inventory_hostname")), options["part"]
        prefix = self._prefix(host, variables.get("ansible_play_hosts_all") or [host])
        try:
            readers = logs.readers(self._command, options)
            read = [line for reader in readers for line in reader.first(part, options["lines"])]
            lines = logs.part_of(read, part)
            suffix = "" if part == "all" else f".{part}"
            path = Path(options["directory"]).expanduser() / f"{host}{suffix}.log"
            if not self._task.check_mode:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                replace_text(str(path), "".join(f"{line}\n" for line in lines))
            errors, warnings, first = logs.count(read)
            self._show(prefix, _summary(len(lines), errors, warnings, first, path))
            if not self._task.check_mode:
                lines += self._follow(readers, options, prefix, path)
        except logs.CommandFailed as error:
            raise AnsibleActionFail(str(error)) from error
        return {
            "path": str(path),
            "lines": len(lines),
            "error_count": errors,
            "warning_count": warnings,
            "first_error": first and dataclasses.asdict(first),
        }

    def _follow(self, readers: t.Any, options: dict[str, t.Any], prefix: str, path: Path) -> list[str]:
        """Follow the logs for ``follow`` seconds, and return the new lines.

        The new lines are also printed with the host's name and appended to the file.
        """
        end = time.monotonic() + options["follow"]
        followed: list[str] = []
        while time.monotonic() < end:
            time.sleep(POLL_INTERVAL)
            new = logs.part_of([line for reader in readers for line in reader.new()], options["part"])
            self._show(prefix, new)
            with path.open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in new)
            followed += new
        return followed

    def _show(self, prefix: str, lines: list[str]) -> None:
        if lines:
            self._display.display("\n".join(f"{prefix} {printable(line)}" for line in lines))

    @staticmethod
    def _prefix(host: str, hosts: list[str]) -> str:
        """Return the host's name, padded to the length of the longest name, in the host's colour."""
        color = _COLORS[hosts.index(host) % len(_COLORS)] if host in hosts else _COLORS[0]
        return str(stringc(f"{host}:".ljust(max(map(len, [host, *hosts])) + 1), color))

    def _command(self, command: str) -> list[str]:
        """Run a shell command on the node and return the lines of its output.

        :raises CommandFailed: if the command fails; the message is its output.
        """
        environment = self._compute_environment_string()
        result = self._low_level_execute_command(f"{environment} /bin/sh -c {shlex.quote(command)} 2>&1")
        if result["rc"]:
            raise logs.CommandFailed(mask_line(result["stdout"].strip()), result["rc"])
        return t.cast("list[str]", result["stdout"].replace("\r\n", "\n").splitlines())


def _summary(lines: int, errors: int, warnings: int, first: Cause | None, path: Path) -> list[str]:
    text = [f"{counted(lines, 'line')} in {path} ({counted(errors, 'error')}, {counted(warnings, 'warning')})"]
    if first:
        text.append(f"first error: {first.summary or first.line}")
        text += [f"  {first.line}"] if first.summary else []
        text += [f"  fix: {first.remedy}"] if first.remedy else []
    return text
