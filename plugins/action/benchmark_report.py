# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: writes the results of a benchmark, keeps first baselines, and shows it all; runs on the controller."""

from __future__ import annotations

import datetime
import json
import locale
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.release import __version__ as ansible_version
from ansible_collections.multigpu.vllm.plugins.action.report import terminal_style
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark import store
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.document import results_document, worth_keeping
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.text import results_text
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.files import write_atomically
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.release import collection_version

ARGUMENTS: t.Final[dict[str, t.Any]] = {
    "nodes": {"type": "dict", "required": True},
    "path": {"type": "path", "required": True},
    "baseline_dir": {"type": "path", "required": True},
    "update_baseline": {"type": "bool", "default": False},
    "options": {"type": "dict", "required": True},
}


class ActionModule(ActionBase):
    """``multigpu.vllm.benchmark_report``; its documentation stands in plugins/modules/benchmark_report.py."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        document = results_document(
            {name: (result or {}).get("node") for name, result in options["nodes"].items()},
            run={
                "time": now,
                "collection_version": collection_version(),
                "ansible_version": ansible_version,
                "check_mode": self._task.check_mode,
                "options": options["options"],
            },
        )
        files: list[str] = []
        if not self._task.check_mode:
            files = self._write(document, options, now)
        self._display.display(results_text(document, files, terminal_style(locale.getpreferredencoding(False))))
        # The node is as it was: a benchmark changes nothing on it.
        return {"changed": False, "status": document["summary"]["status"], "files": files}

    @staticmethod
    def _write(document: dict[str, t.Any], options: dict[str, t.Any], now: str) -> list[str]:
        """Baselines first, because the results name them.

        :raises AnsibleActionFail: where a file cannot be written.
        """
        path = Path(options["path"])
        try:
            for name, node in document["nodes"].items():
                if worth_keeping(node, update=options["update_baseline"]):
                    identity = store.Identity(name, node["gpu_model"], node["model"], node["vllm_version"])
                    node["stored_baseline"] = str(store.store(Path(options["baseline_dir"]), identity, node, now))
            write_atomically(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise AnsibleActionFail(f"cannot write {error.filename or path}: {error.strerror}") from error
        return [str(path)]
