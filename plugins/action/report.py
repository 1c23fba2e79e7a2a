# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.report``, which is documented in ``plugins/modules/report.py``."""

from __future__ import annotations

import locale
import typing as t
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.plugin_utils.controller import ControllerAction, documented_arguments
from ansible_collections.multigpu.vllm.plugins.plugin_utils.history import answer_store, kept_reports
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import formats
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.document import exceeds
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.files import write_atomically
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.release import run_header, timestamp
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import terminal_style
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.terminal import summary_text
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import output
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.recorded_answers import RecordedAnswers


def failed_by_comparison(document: Mapping[str, t.Any], fail_on: str) -> list[str]:
    """Return the sorted names of the nodes that fail only because of other nodes: their peers or their group."""
    different = {
        name
        for finding in document["fleet"]["findings"]
        if finding["check"] in ("fleet.outlier", output.FLEET) and exceeds(finding["status"], fail_on)
        for key in ("slow", "outliers")
        for name in finding["evidence"].get(key, ())
    }
    for group in document["groups"].values():
        if any(exceeds(finding["status"], fail_on) for finding in group["findings"]):
            different.update(name for name in group["hosts"] if name in document["hosts"])
    return sorted(name for name in different if not exceeds(document["hosts"][name]["status"], fail_on))


def _write(directories: Sequence[Path], contents: dict[str, str]) -> tuple[list[str], str | None]:
    """Write the report files to each directory.

    Return the paths of the files in the first directory, and an error message or None.
    """
    files: list[str] = []
    for directory in directories:
        try:
            for name, text in contents.items():
                write_atomically(directory / name, text)
                files += [str(directory / name)] if directory == directories[0] else []
        except OSError as error:
            return files, f"cannot write the report to {directory}: {error.strerror}"
    return files, None


def _recorded(nodes: Mapping[str, t.Any]) -> dict[str, RecordedAnswers]:
    """Return the answers of the nodes whose answers were recorded."""
    given = {name: result["answers"] for name, result in nodes.items() if (result or {}).get("answers")}
    return {
        name: RecordedAnswers(name, item["identity"], item["recording"], trusted=item["trusted"])
        for name, item in given.items()
    }


def _store_references(directory: Path, answers: Mapping[str, RecordedAnswers], time: str) -> str | None:
    """Store the answers of healthy nodes that have no stored reference. Return an error message or None."""
    try:
        for name in output.references(answers):
            if not answer_store.path_of(directory, answers[name].identity).exists():
                answer_store.store(directory, answers[name], time)
    except OSError as error:
        return f"cannot store answers in {directory}: {error.strerror}"
    return None


def _unselected(nodes: Mapping[str, t.Any]) -> list[str]:
    """Return the reason why a run is partial if tags excluded sections, as a list of at most one text."""
    sections = [section for node in nodes.values() if node for section in node["sections"]]
    left_out = dict.fromkeys(section["title"] for section in sections if not section["selected"])
    return [f"without the sections {', '.join(left_out)}"] if left_out else []


def _prune(directory: Path, keep: int) -> str | None:
    """Delete old reports. Return an error message or None."""
    try:
        kept_reports.prune(directory, keep, [chosen.file for chosen in formats.FORMATS.values()])
    except OSError as error:
        return f"cannot delete old reports in {directory}: {error.strerror}"
    return None


class ActionModule(ControllerAction):
    """Write the report files for all nodes and print a summary. This runs on the controller only."""

    ARGUMENTS = documented_arguments("report")
    ARGUMENTS["secrets"]["no_log"] = True

    def act(self, options: dict[str, t.Any], variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
        if problems := formats.errors(options["formats"]):
            raise AnsibleActionFail("; ".join(problems))
        nodes = {name: (result or {}).get("node") for name, result in options["nodes"].items()}
        directory, keep = Path(options["directory"]), options["keep"]
        unselected, check_mode = _unselected(nodes), self._task.check_mode
        run = run_header(options["options"], check_mode=check_mode)
        run["begin"] = run["time"] if options["begin"] is None else timestamp(options["begin"])
        run["partial"] = [*options["partial"], *unselected]
        # Only complete runs are compared: a section that was not measured would look like a change.
        comparable = keep and not unselected and not check_mode
        answers = _recorded(options["nodes"])
        document, contents = formats.fleet_report(
            nodes,
            options["formats"],
            run=run,
            secrets=options["secrets"],
            answers=answers,
            earlier=kept_reports.earlier(directory, run["begin"], nodes) if comparable else {},
        )
        written = kept_reports.places(directory, run["begin"], partial=bool(run["partial"]), keep=keep)
        files, problem = ([], None) if check_mode else _write(written, contents)
        if keep and files and not problem:
            problem = _prune(directory, keep)
        if options["output_dir"] and not check_mode and not problem:
            problem = _store_references(Path(options["output_dir"]), answers, run["begin"])
        style = terminal_style(locale.getpreferredencoding(False))
        full = self._display.verbosity > 0 or check_mode
        kept = str(written[-1]) if files and written[1:] else None
        self._display.display(summary_text(document, files, style, full=full, kept=kept))
        # Fail only after printing the summary, so that the verdict is shown even if a file cannot be written.
        if problem:
            raise AnsibleActionFail(problem)
        return {
            "status": document["summary"]["status"],
            "failed_by_comparison": failed_by_comparison(document, options["fail_on"]),
            "files": files,
        }
