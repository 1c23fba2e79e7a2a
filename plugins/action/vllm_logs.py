# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.vllm_logs``, which is documented in ``plugins/modules/vllm_logs.py``."""

from __future__ import annotations

import shlex
import time
import typing as t
from collections.abc import Mapping
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.module_utils.files import replace_text
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask_line
from ansible_collections.multigpu.vllm.plugins.plugin_utils.controller import ControllerAction, documented_arguments
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.logs import newer_than, part_of
from ansible_collections.multigpu.vllm.plugins.plugin_utils.printable import printable

#: Seconds between two reads of the log while following it.
POLL_INTERVAL: t.Final = 2.0


class ActionModule(ControllerAction):
    """Copy the log of a vLLM container from the node to the controller."""

    _requires_connection = True
    ARGUMENTS = documented_arguments("vllm_logs")

    def act(self, options: dict[str, t.Any], variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
        host = str(variables.get("inventory_hostname"))
        from_start = options["part"] == "start"
        read = self._start(options) if from_start else self._read(options, "--tail", str(options["lines"]))
        stamped = newer_than(read, "")
        lines = part_of([text for _stamp, text in stamped], options["part"])
        path = Path(options["directory"]).expanduser() / f"{host}.log"
        if not self._task.check_mode:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_text(str(path), "".join(f"{line}\n" for line in lines))
            lines += self._follow(options, host, path, stamped[-1][0] if stamped else "")
        return {"path": str(path), "lines": len(lines)}

    def _follow(self, options: dict[str, t.Any], host: str, path: Path, last: str) -> list[str]:
        """Follow the log for ``follow`` seconds, and return the new lines.

        The new lines are also printed with the host's name and appended to the file.
        """
        end = time.monotonic() + options["follow"]
        followed: list[str] = []
        while time.monotonic() < end:
            time.sleep(POLL_INTERVAL)
            stamped = newer_than(self._read(options, *(["--since", last] if last else [])), last)
            if not stamped:
                continue
            last = stamped[-1][0]
            new = part_of([text for _stamp, text in stamped], options["part"])
            self._display.display("\n".join(f"{host}: {printable(line)}" for line in new))
            with path.open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in new)
            followed += new
        return followed

    def _start(self, options: dict[str, t.Any]) -> list[str]:
        """Return the first lines that the container logged after its last start, even if many more lines follow."""
        inspect = ["container", "inspect", "--format", "{{.State.StartedAt}}", options["container"]]
        started = self._docker(options, inspect)
        return self._read(options, "--since", started[-1].strip(), first=options["lines"]) if started else []

    def _read(self, options: dict[str, t.Any], *arguments: str, first: int | None = None) -> list[str]:
        """Return the lines that ``docker logs --timestamps`` prints.

        :param first: number of lines to return from the beginning of the output; None returns all lines.
        """
        return self._docker(options, ["logs", "--timestamps", *arguments, options["container"]], first)

    def _docker(self, options: dict[str, t.Any], arguments: list[str], first: int | None = None) -> list[str]:
        """Run a Docker command on the node and return the lines of its output.

        :raises AnsibleActionFail: if the command fails; the message includes the error of Docker.
        """
        command = shlex.join(["docker", "--host", options["docker_host"], *arguments])
        result = self._low_level_execute_command(f"{command} 2>&1" + (f" | head -n {first}" if first else ""))
        if result["rc"]:
            raise AnsibleActionFail(
                f"cannot read the log of container {options['container']!r}: {mask_line(result['stdout'].strip())}"
            )
        return t.cast("list[str]", result["stdout"].replace("\r\n", "\n").splitlines())
