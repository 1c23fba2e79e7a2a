# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action ``multigpu.vllm.benchmark_judge``; documented in ``plugins/modules/benchmark_judge.py``."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.document import node_document
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.document import exceeds
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: Measurements of a benchmark.
MEASUREMENTS: t.Final = ("gpu", "tensor_parallel", "load")

ARGUMENTS: t.Final[dict[str, t.Any]] = {
    "results": {
        "type": "dict",
        "required": True,
        "options": {key: {"type": "dict", "default": {}} for key in MEASUREMENTS},
    },
    "targets": {"type": "dict", "options": {"ttft": {"type": "float"}, "itl": {"type": "float"}}, "default": {}},
    "baseline_dir": {"type": "path", "required": True},
    "update_baseline": {"type": "bool", "default": False},
    "fail_on": {"type": "str", "choices": ["fail", "warn", "never"], "default": "fail"},
}


class ActionModule(ActionBase):
    """Analyse the sweep of one node and compare it with its baseline, on the controller only."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        node = node_document(
            NodeFacts.from_results(
                (task_vars or {})["inventory_hostname"], options["results"], check_mode=self._task.check_mode
            ),
            options["targets"],
            Path(options["baseline_dir"]),
            update=options["update_baseline"],
        )
        return {
            "changed": False,
            "status": node["status"],
            "headline": node["headline"],
            "exceeds": exceeds(node["status"], options["fail_on"]),
            "node": node,
        }
