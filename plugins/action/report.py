# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: writes the report of a run and shows it; runs once, on the controller only."""

from __future__ import annotations

import datetime
import locale
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.release import __version__ as ansible_version
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import formats
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.document import report_document
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.files import write_atomically
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.release import collection_version
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import terminal_style
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.terminal import summary_text

ARGUMENTS: t.Final[dict[str, t.Any]] = {
    "nodes": {"type": "dict", "required": True},
    "directory": {"type": "path", "required": True},
    "formats": {"type": "list", "elements": "str", "choices": list(formats.FORMATS), "default": list(formats.DEFAULT)},
    "options": {"type": "dict", "default": {}},
    "secrets": {"type": "list", "elements": "raw", "default": [], "no_log": True},
}


def outliers(findings: list[dict[str, t.Any]]) -> list[str]:
    """Nodes that are slower than their peers, by name."""
    slow = (item["evidence"].get("slow", {}) for item in findings if item["check"] == "fleet.outlier")
    return sorted(name for nodes in slow for name in nodes)


def _write(directory: Path, contents: dict[str, str]) -> tuple[list[str], str | None]:
    """Paths of the written files, and why not all of them are."""
    files: list[str] = []
    try:
        for name, text in contents.items():
            write_atomically(directory / name, text)
            files.append(str(directory / name))
    except OSError as error:
        return files, f"cannot write the report to {directory}: {error.strerror}"
    return files, None


class ActionModule(ActionBase):
    """``multigpu.vllm.report``; its documentation stands in plugins/modules/report.py."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        if problems := formats.errors(options["formats"]):
            raise AnsibleActionFail("; ".join(problems))
        document = report_document(
            {name: (result or {}).get("node") for name, result in options["nodes"].items()},
            run={
                "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "collection_version": collection_version(),
                "ansible_version": ansible_version,
                "check_mode": self._task.check_mode,
                "options": options["options"],
            },
            secrets=options["secrets"],
        )
        contents = formats.rendered(document, options["formats"])
        files, problem = ([], None) if self._task.check_mode else _write(Path(options["directory"]), contents)
        style = terminal_style(locale.getpreferredencoding(False))
        full = self._display.verbosity > 0 or self._task.check_mode
        self._display.display(summary_text(document, files, style, full=full))
        # After the summary: it must not cost the verdict of a run that a file cannot be written.
        if problem:
            raise AnsibleActionFail(problem)
        # The node is as it was: a report about it changes nothing on it.
        status = document["summary"]["status"]
        return {"changed": False, "status": status, "outliers": outliers(document["fleet"]["findings"]), "files": files}
