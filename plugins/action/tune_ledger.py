# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.tune_ledger``, which is documented in ``plugins/modules/tune_ledger.py``."""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Mapping
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.plugin_utils.controller import ControllerAction, documented_arguments
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.files import write_atomically
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning.ledger import TuningRun, read_ledger, write_ledger
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning.result import outcome, summary, variables_file
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning.search import OptunaMissing


class ActionModule(ControllerAction):
    """Read and write the ledger, a file on the controller that records a search for vLLM settings."""

    ARGUMENTS = documented_arguments("tune_ledger")
    CONSTRAINTS: t.ClassVar = {
        "required_if": [("state", "next", ("started_at",)), ("state", "record", ("measurement",))]
    }

    def act(self, options: dict[str, t.Any], variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
        now = round(time.time(), 3)
        host = str(variables["inventory_hostname"])
        # Resolve a relative ``directory`` against the current directory, not against the playbook's directory.
        path = Path(options["directory"]).resolve() / f"{host}.json"
        states = {"start": self._start, "next": self._next, "record": self._record, "result": self._result}
        started_at = now if options["started_at"] is None else options["started_at"]
        try:
            run = TuningRun.from_options(options["search"], started_at)
            result = states[options["state"]](run, path, options, now)
        except (ValueError, OSError, OptunaMissing) as error:
            raise AnsibleActionFail(str(error)) from error
        return {**result, "lines": [f"{host}: {line}" for line in result.get("lines", [])]}

    def _start(self, run: TuningRun, path: Path, options: dict[str, t.Any], now: float) -> dict[str, t.Any]:
        ledger = [] if options["discard"] else read_ledger(path)
        # Plan the new search for vLLM settings before deleting the ledger, the file with the results of an earlier
        # search. If Optuna is missing or the search space is invalid, planning fails and the file is kept.
        lines = run.plan_lines(ledger)
        discarded = options["discard"] and path.exists()
        if discarded and not self._task.check_mode:
            path.unlink()
        return {
            **run.next_measurement(ledger, now),
            "changed": discarded,
            "started_at": now,
            "trials_left": run.trials_left(ledger),
            "lines": lines,
        }

    def _next(self, run: TuningRun, path: Path, _options: dict[str, t.Any], now: float) -> dict[str, t.Any]:
        return run.next_measurement(read_ledger(path), now)

    def _record(self, run: TuningRun, path: Path, options: dict[str, t.Any], now: float) -> dict[str, t.Any]:
        entries = run.entries_of(options["measurement"], options["probe"], options["reason"], now)
        ledger = [*read_ledger(path), *entries]
        if not self._task.check_mode:
            write_ledger(path, ledger)
        return {
            "changed": True,
            "floor_known": run.search.floor_known(ledger),
            "reason": entries[-1]["reason"],
            "lines": run.entry_lines(ledger, len(entries)),
        }

    def _result(self, run: TuningRun, path: Path, _options: dict[str, t.Any], _now: float) -> dict[str, t.Any]:
        ledger, variables = read_ledger(path), path.with_suffix(".yml")
        text = variables_file(ledger, run.search, run.environment, path.stem, run.load_description)
        changed = not variables.is_file() or variables.read_text("utf-8") != text
        if changed and not self._task.check_mode:
            write_atomically(variables, text, 0o600)
        conclusion = {**outcome(ledger, run.search), "summary": summary(ledger, run.search)}
        return {
            "changed": changed,
            "outcome": conclusion,
            "variables_file": str(variables),
            "ledger_file": str(path),
            "lines": [
                conclusion["summary"],
                f"best settings: {json.dumps(conclusion['best'])}; variables to commit: {variables}; ledger: {path}",
            ],
        }
