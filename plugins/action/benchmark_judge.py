# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.benchmark_judge``, which is documented in ``plugins/modules/benchmark_judge.py``."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.document import node_document
from ansible_collections.multigpu.vllm.plugins.plugin_utils.controller import ControllerAction, documented_arguments
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.document import exceeds
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import JudgingOptions, NodeFacts


class ActionModule(ControllerAction):
    """Analyse how one node performed as the load increased, and compare the results with the node's stored baseline.

    The action runs on the controller only.
    """

    ARGUMENTS = documented_arguments("benchmark_judge")

    def act(self, options: dict[str, t.Any], variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
        node = node_document(
            NodeFacts.from_results(
                variables["inventory_hostname"],
                options["results"],
                options=JudgingOptions(**options["expectation"]),
                check_mode=self._task.check_mode,
            ),
            options["targets"],
            Path(options["baseline_dir"]),
            update=options["update_baseline"],
        )
        return {
            "status": node["status"],
            "headline": node["headline"],
            "exceeds": exceeds(node["status"], options["fail_on"]),
            "node": node,
        }
