# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge one node: run the rules of every area, give every check a result, and derive the node's status."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

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
    utilisation,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: Rules by area, in the order of the report's numbered sections. A rule returns at most one pass for each check.
RULES: t.Final[dict[str, Callable[[NodeFacts], list[Finding]]]] = {
    "hardware": hardware.evaluate,
    # vllm_tp_check answers these checks completely.
    "tensor_parallel": lambda node: node.findings("tensor_parallel"),
    "memory": memory.evaluate,
    "nccl": nccl.evaluate,
    "performance": performance.evaluate,
    "utilisation": utilisation.evaluate,
    "configuration": configuration.evaluate,
}

#: Measurements that the checks of an area need, and those of single checks that need others.
_NEEDS: t.Final[dict[str, tuple[str, ...]]] = {
    "hardware": ("gpu",),
    "hardware.xid": ("logs",),
    "tensor_parallel": ("tensor_parallel",),
    "memory": ("gpu",),
    "memory.oom": ("logs",),
    "nccl": ("logs",),
    "nccl.bandwidth": ("nccl_bandwidth",),
    "performance": ("load",),
    **dict.fromkeys(("performance.scaling", "performance.roofline"), ("load", "gpu", "tensor_parallel", "logs")),
    "utilisation": ("load",),
    "configuration": ("tensor_parallel",),
}

#: Tags of measurements that can be selected alone, with the area that they belong to.
MEASURED_ALONE: t.Final = {"nccl_bandwidth": "nccl"}

_CHECK_ORDER: t.Final = {check: position for position, check in enumerate(CHECKS)}


@dataclass(frozen=True)
class Section:
    """The findings of one area of one node, in the order of ``CHECKS`` and the worst first within a check."""

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
    """Return the worst status of the checks that were tested, or ``not_tested`` if none was."""
    return worst(status for status in statuses if status is not Status.NOT_TESTED)


def needs(area: str) -> dict[str, tuple[str, ...]]:
    """Return the checks of an area, each with the measurements that it needs, by their keys in ``MEASUREMENTS``."""
    return {check: _NEEDS.get(check, _NEEDS[area]) for check in CHECKS if check.startswith(f"{area}.")}


def judge(node: NodeFacts, areas: Collection[str] = tuple(RULES)) -> list[Section]:
    """Return one section for each area; checks outside ``areas`` are not tested."""
    return [_section(node, area, area in areas) for area in RULES]


def _section(node: NodeFacts, area: str, selected: bool) -> Section:
    checks = needs(area)
    if not selected:
        return Section(area, tuple(not_tested(check, "not selected") for check in checks), selected=False)
    findings = RULES[area](node)
    faulty = {item.check for item in findings if item.wrong}
    # A pass is dropped if another finding of the same check fails or warns: it covers only a part of the check.
    findings = [item for item in findings if item.wrong or item.check not in faulty]
    answered = {item.check for item in findings}
    findings += [not_tested(check, _reason(node, keys)) for check, keys in checks.items() if check not in answered]
    return Section(area, tuple(sorted(findings, key=_order)))


def node_status(sections: Iterable[Section]) -> Status:
    """Return the worst status of the selected sections; a section without a tested check keeps a node from passing."""
    return worst(section.status for section in sections if section.selected)


def wrong(sections: Iterable[Section]) -> list[Finding]:
    """Return every finding that fails or warns: failures first, otherwise in the order of the sections."""
    findings = [item for section in sections for item in section.findings if item.wrong]
    return sorted(findings, key=lambda item: -SEVERITY.index(item.status))


def _reason(node: NodeFacts, keys: Iterable[str]) -> str:
    measurements = [node.measurement(key) for key in keys]
    for item in measurements:
        if item.reason is not None:
            return item.reason
    return f"{' and '.join(item.module for item in measurements)} did not report it on this node"


def _order(finding: Finding) -> tuple[int, int]:
    return _CHECK_ORDER[finding.check], -SEVERITY.index(finding.status)
