# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All rules over one node: every promised check gets an answer, in sections by area, and the node a verdict."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import (
    AREAS,
    CHECKS,
    SEVERITY,
    Finding,
    Status,
    not_tested,
    worst,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import (
    configuration,
    hardware,
    memory,
    nccl,
    performance,
    tensor_parallel,
    utilisation,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: Area -> its rules; the order is that of the report's numbered sections. A rules module has ``CHECKS`` (check id ->
#: names of the measurements it needs) and ``evaluate(node) -> list[Finding]``.
RULES: t.Final[dict[str, ModuleType]] = {
    "hardware": hardware,
    "tensor_parallel": tensor_parallel,
    "memory": memory,
    "nccl": nccl,
    "performance": performance,
    "utilisation": utilisation,
    "configuration": configuration,
}

_CHECK_ORDER: t.Final = {check: position for position, check in enumerate(CHECKS)}


@dataclass(frozen=True)
class Section:
    """One area of one node: its findings in the order of ``CHECKS``, the worst first within a check."""

    area: str
    findings: tuple[Finding, ...]
    selected: bool = True

    @property
    def title(self) -> str:
        return AREAS[self.area]

    @property
    def status(self) -> Status:
        return verdict(item.status for item in self.findings)


def verdict(statuses: Iterable[Status]) -> Status:
    """The worst of what was tested; ``not_tested`` only where nothing was."""
    return worst(status for status in statuses if status is not Status.NOT_TESTED)


def judge(node: NodeFacts, areas: Collection[str] = tuple(RULES)) -> list[Section]:
    """One section per area; areas outside ``areas`` say so and are not judged."""
    return [_section(node, area, rules, area in areas) for area, rules in RULES.items()]


def _section(node: NodeFacts, area: str, rules: ModuleType, selected: bool) -> Section:
    if not selected:
        return Section(area, tuple(not_tested(check, "not selected") for check in rules.CHECKS), selected=False)
    answered = settle(rules.evaluate(node))
    open_checks = [check for check in rules.CHECKS if check not in {item.check for item in answered}]
    unanswered = [not_tested(check, _reason(node, rules.CHECKS[check])) for check in open_checks]
    return Section(area, tuple(sorted([*answered, *unanswered], key=_position)))


def settle(findings: Iterable[Finding]) -> list[Finding]:
    """At most one good answer per check: what is wrong outranks a pass, an answer outranks ``not_tested``.

    Of several good answers the last stands, because rules come after the module and know more. Everything that is
    wrong stays, each once.
    """
    by_check: dict[str, list[Finding]] = {}
    for item in findings:
        by_check.setdefault(item.check, []).append(item)
    settled: list[Finding] = []
    for group in by_check.values():
        wrong = [item for item in group if item.status in (Status.FAIL, Status.WARN)]
        good = [item for item in group if item.status is Status.PASS]
        settled += list({(item.status, item.summary): item for item in wrong}.values()) or good[-1:] or group[-1:]
    return settled


def node_status(sections: Iterable[Section]) -> Status:
    """Verdict over the selected sections: a section without any answer keeps a node from passing."""
    return worst(section.status for section in sections if section.selected)


def wrong(sections: Iterable[Section]) -> list[Finding]:
    """Everything that fails or warns, failures first, otherwise in the order of the sections."""
    found = [item for section in sections for item in section.findings if item.status in (Status.FAIL, Status.WARN)]
    return sorted(found, key=lambda item: -SEVERITY.index(item.status))


def _reason(node: NodeFacts, needs: Iterable[str]) -> str:
    measurements: Mapping[str, t.Any] = {key: getattr(node, key) for key in needs}
    for item in measurements.values():
        if item.reason is not None:
            return str(item.reason)
    return f"{' and '.join(item.module for item in measurements.values())} could not answer it here"


def _position(finding: Finding) -> tuple[int, int]:
    return _CHECK_ORDER[finding.check], -SEVERITY.index(finding.status)
