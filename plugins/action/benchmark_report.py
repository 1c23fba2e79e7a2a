# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.benchmark_report``, which is documented in ``plugins/modules/benchmark_report.py``."""

from __future__ import annotations

import json
import locale
import typing as t
from collections.abc import Mapping
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark import store
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.document import becomes_baseline, results_document
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.html import results_html
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.markdown import results_markdown
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.text import results_text
from ansible_collections.multigpu.vllm.plugins.plugin_utils.controller import ControllerAction, documented_arguments
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.files import write_atomically
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.release import run_header
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import terminal_style


class ActionModule(ControllerAction):
    """Write and print the results of a benchmark, and store the baselines. This runs on the controller only."""

    ARGUMENTS = documented_arguments("benchmark_report")

    def act(self, options: dict[str, t.Any], variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
        document = results_document(
            {name: (result or {}).get("node") for name, result in options["nodes"].items()},
            run=run_header(options["options"], check_mode=self._task.check_mode),
        )
        files = [] if self._task.check_mode else self._write(document, options)
        self._display.display(results_text(document, files, terminal_style(locale.getpreferredencoding(False))))
        return {"status": document["summary"]["status"], "files": files}

    @staticmethod
    def _write(document: dict[str, t.Any], options: dict[str, t.Any]) -> list[str]:
        """Store the baselines, then write the results. The results contain the paths of the baseline files.

        :raises AnsibleActionFail: if a file cannot be written.
        """
        path = Path(options["path"])
        try:
            for name, node in document["nodes"].items():
                if becomes_baseline(node, update=options["update_baseline"]):
                    identity = store.Identity(name, node["gpu_model"], node["model"], node["vllm_version"])
                    baseline = store.store(Path(options["baseline_dir"]), identity, node, document["run"]["time"])
                    node["stored_baseline"] = str(baseline)
            write_atomically(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
            write_atomically(path.with_suffix(".md"), results_markdown(document))
            write_atomically(path.with_suffix(".html"), results_html(document))
        except OSError as error:
            raise AnsibleActionFail(f"cannot write {error.filename or path}: {error.strerror}") from error
        return [str(path), *(str(path.with_suffix(suffix)) for suffix in (".md", ".html"))]
