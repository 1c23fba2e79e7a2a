# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.diagnose``, which is documented in ``plugins/modules/diagnose.py``."""

from __future__ import annotations

import contextlib
import dataclasses
import typing as t
from collections.abc import Collection, Mapping
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.utils.display import Display
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.store import UnreadableBaseline, past_speeds
from ansible_collections.multigpu.vllm.plugins.plugin_utils.controller import ControllerAction, documented_arguments
from ansible_collections.multigpu.vllm.plugins.plugin_utils.cost import price_errors
from ansible_collections.multigpu.vllm.plugins.plugin_utils.history import answer_store
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import document
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.redaction import redact
from ansible_collections.multigpu.vllm.plugins.plugin_utils.results import SENSELESS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import judge, output, thresholds
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import (
    MEASUREMENTS,
    JudgingOptions,
    Measurement,
    NodeFacts,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.recorded_answers import RecordedAnswers


def selected_areas(tags: Collection[str], skip_tags: Collection[str] = ()) -> list[str]:
    """Return the areas, such as ``nccl``, whose checks the tags select. Tags of other roles have no effect."""
    selected = {judge.MEASURED_ALONE.get(tag, tag) for tag in tags} & set(judge.RULES) or set(judge.RULES)
    return [area for area in judge.RULES if area in selected - set(skip_tags)]


def _with_history(node: NodeFacts, directory: Path) -> NodeFacts:
    """Return a copy of ``node`` that also contains the speeds from the node's stored baseline.

    If the baseline is unreadable, print a warning and return ``node`` unchanged.
    """
    try:
        speeds = past_speeds(directory, node)
    except UnreadableBaseline as problem:
        Display().warning(str(problem))
        return node
    return dataclasses.replace(node, options=dataclasses.replace(node.options, speed_history=speeds))


def _with_reference(node: NodeFacts, own: RecordedAnswers | None, file: str | None, directory: str | None) -> NodeFacts:
    """Return a copy of ``node`` that also contains the answers in ``file``, or else those stored in ``directory``.

    If the file is unreadable, print a warning and return ``node`` unchanged.

    :param own: the answers of the node's server.
    """
    if own is None or not (file or directory):
        return node
    path = Path(file) if file else answer_store.path_of(Path(directory or ""), own.identity)
    if not file and not path.exists():
        return node
    try:
        stored = answer_store.read(path)
    except answer_store.UnreadableAnswers as problem:
        Display().warning(str(problem))
        return node
    return dataclasses.replace(node, options=dataclasses.replace(node.options, output_reference=stored))


def _answers(own: RecordedAnswers | None, sections: Collection[judge.Section]) -> dict[str, t.Any] | None:
    """Return the recorded answers for the comparison with other nodes, and whether they may become the reference."""
    if own is None:
        return None
    findings = [item for section in sections for item in section.findings]
    valid = any(item.check == "output.valid" and item.status is Status.PASS for item in findings)
    failing = any(item.status is Status.FAIL for item in findings)
    return dataclasses.asdict(dataclasses.replace(own, trusted=valid and not failing))


def evaluate(node: NodeFacts, areas: Collection[str]) -> tuple[NodeFacts, list[judge.Section], dict[str, t.Any]]:
    """Return the node, its report sections and its entry in the report.

    A result that the rules cannot read, although all its values have the documented types, counts as invalid.
    """

    def attempt(chosen: NodeFacts) -> tuple[NodeFacts, list[judge.Section], dict[str, t.Any]]:
        sections = judge.judge(chosen, areas)
        return chosen, sections, document.node_document(chosen, sections)

    try:
        return attempt(node)
    except SENSELESS as error:
        problem = f"the checks cannot read it ({type(error).__name__}: {error})"
    invalid = {
        key: Measurement(item.module, reason=f"invalid result of {item.module}: {problem}", crashed=True)
        for key, item in zip(MEASUREMENTS, node.measurements, strict=True)
        if item.taken
    }
    for key, item in invalid.items():
        with contextlib.suppress(*SENSELESS):
            return attempt(dataclasses.replace(node, **{key: item}))  # type: ignore[arg-type]
    return attempt(dataclasses.replace(node, **invalid))  # type: ignore[arg-type]


class ActionModule(ControllerAction):
    """Evaluate all measurements of one node and find the causes of problems. This runs on the controller only."""

    ARGUMENTS = documented_arguments("diagnose")

    def act(self, options: dict[str, t.Any], variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
        node = NodeFacts.from_results(
            variables["inventory_hostname"],
            # The headline is also printed on the terminal, so secrets are masked before the evaluation.
            redact(options["results"], secrets=()),
            # The reference is a file, which is read below.
            options=JudgingOptions(
                **{
                    item.name: options[item.name]
                    for item in dataclasses.fields(JudgingOptions)
                    if item.name != "output_reference"
                }
            ),
            check_mode=self._task.check_mode,
        )
        if options["baseline_dir"] and not options["speed_history"]:
            node = _with_history(node, Path(options["baseline_dir"]))
        own = output.recorded(node)
        node = _with_reference(node, own, options["output_reference"], options["output_dir"])
        errors = [
            *thresholds.judgement_errors(options["thresholds"], options["speed_limits"]),
            *price_errors(options["hourly_price"], "hourly_price"),
        ]
        if errors:
            raise AnsibleActionFail("; ".join(errors))
        areas = selected_areas(options["tags"], options["skip_tags"])
        node, sections, result = evaluate(node, areas)
        if options["thresholds"] and "user" not in options["skip_tags"] and areas == list(judge.RULES):
            # Build the node's part of the report twice. The first version is checked against the user's thresholds. The
            # second version also contains the results of these checks.
            sections.append(judge.Section("user", tuple(thresholds.evaluate(result, options["thresholds"]))))
            result = document.node_document(node, sections)
        return {
            "status": result["status"],
            "headline": result["headline"],
            "failed_checks": sorted({item.check for item in judge.wrong(sections) if item.status is Status.FAIL}),
            "exceeds": document.exceeds(result["status"], options["fail_on"]),
            "node": result,
            "answers": _answers(own, sections),
        }
