# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action ``multigpu.vllm.tune_ledger``; documented in ``plugins/modules/tune_ledger.py``."""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.multigpu.vllm.plugins.module_utils.files import replace_text
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning.ledger import TuningRun, read_ledger, write_ledger
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning.result import outcome, summary, variables_file
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning.search import GOALS, OptunaMissing

LOAD: t.Final[dict[str, dict[str, t.Any]]] = {
    "prompt_tokens": {"type": "int", "default": 512},
    "output_tokens": {"type": "int", "default": 128},
    "concurrency": {"type": "int", "default": 32},
    "duration": {"type": "float", "default": 30.0},
}
SEARCH: t.Final[dict[str, dict[str, t.Any]]] = {
    "goal": {"type": "str", "choices": list(GOALS), "default": "throughput"},
    "space": {"type": "dict", "default": {}},
    "initial_settings": {"type": "list", "elements": "dict", "default": []},
    "trials": {"type": "int", "default": 12},
    "time_budget": {"type": "float", "default": 7200.0},
    "seed": {"type": "int", "default": 0},
    "min_throughput": {"type": "float", "default": 0.5},
    "max_ttft": {"type": "float"},
    "load": {"type": "dict", "options": LOAD, "apply_defaults": True},
    "repeats": {"type": "int", "default": 3},
    "start_timeout": {"type": "float", "default": 600.0},
    "served": {"type": "dict", "default": {}},
    "environment": {"type": "dict", "default": {}},
    "extra_args": {"type": "str", "default": ""},
}
ARGUMENTS: t.Final[dict[str, dict[str, t.Any]]] = {
    "state": {"type": "str", "choices": ["start", "next", "record", "result"], "required": True},
    "directory": {"type": "path", "required": True},
    "search": {"type": "dict", "options": SEARCH, "required": True},
    "discard": {"type": "bool", "default": False},
    "started_at": {"type": "float"},
    "measurement": {"type": "dict"},
    "probe": {"type": "dict", "default": {}},
    "reason": {"type": "raw"},
}


class ActionModule(ActionBase):
    """Owner of a search's ledger; it runs on the controller and needs no connection."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(
            argument_spec=ARGUMENTS,
            required_if=[("state", "next", ("started_at",)), ("state", "record", ("measurement",))],
        )
        now = round(time.time(), 3)
        host = str((task_vars or {})["inventory_hostname"])
        # A relative directory begins where the command was given.
        path = Path(options["directory"]).resolve() / f"{host}.json"
        states = {"start": self._start, "next": self._next, "record": self._record, "result": self._result}
        started_at = now if options["started_at"] is None else options["started_at"]
        try:
            run = TuningRun.from_options(options["search"], started_at)
            result = states[options["state"]](run, path, options, now)
        except (ValueError, OSError, OptunaMissing) as error:
            raise AnsibleActionFail(str(error)) from error
        return {"changed": False, **result, "lines": [f"{host}: {line}" for line in result.get("lines", [])]}

    def _start(self, run: TuningRun, path: Path, options: dict[str, t.Any], now: float) -> dict[str, t.Any]:
        ledger = [] if options["discard"] else read_ledger(path)
        # Before anything is discarded or stopped: this fails without Optuna, and for a space that cannot be searched.
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
            variables.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            replace_text(str(variables), text, 0o644)
        found = {**outcome(ledger, run.search), "summary": summary(ledger, run.search)}
        return {
            "changed": changed,
            "outcome": found,
            "variables_file": str(variables),
            "ledger_file": str(path),
            "lines": [
                found["summary"],
                f"best settings: {json.dumps(found['best'])}; variables to commit: {variables}; ledger: {path}",
            ],
        }
