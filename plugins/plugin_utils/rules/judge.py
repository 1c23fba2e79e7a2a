# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate one node: run the rules for every area, assign a result to every check, and derive the node's status."""

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
    expectation,
    hardware,
    memory,
    nccl,
    network,
    output,
    performance,
    utilisation,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: Rules by area, in the order of the report's numbered sections. A rule returns at most one pass for each check.
RULES: t.Final[dict[str, Callable[[NodeFacts], list[Finding]]]] = {
    "hardware": hardware.evaluate,
    # The vllm_tp_check module evaluates the tensor-parallel checks itself, so its findings are used unchanged.
    "tensor_parallel": lambda node: node.findings("tensor_parallel"),
    "memory": memory.evaluate,
    "nccl": nccl.evaluate,
    "performance": performance.evaluate,
    "utilisation": utilisation.evaluate,
    "configuration": configuration.evaluate,
    "output": output.evaluate,
    "network": network.evaluate,
}

#: Measurements that the checks in an area need, and exceptions for individual checks.
_NEEDS: t.Final[dict[str, tuple[str, ...]]] = {
    "hardware": ("gpu",),
    "hardware.xid": ("logs",),
    "hardware.peer_data": ("peer_data",),
    "tensor_parallel": ("tensor_parallel",),
    "memory": ("gpu",),
    "memory.oom": ("logs",),
    "nccl": ("logs",),
    "nccl.bandwidth": ("nccl_bandwidth",),
    "performance": ("load",),
    **dict.fromkeys(expectation.SPEED, ("load", "gpu", "tensor_parallel", "logs")),
    "utilisation": ("load",),
    "configuration": ("tensor_parallel",),
    "output": ("output",),
    "network": ("links",),
    "network.host_name": ("links", "tensor_parallel"),
}

#: Tags that select each measurement: the areas whose rules or diagnoses read it, and its own tag.
SELECTED_BY: t.Final[dict[str, tuple[str, ...]]] = {
    name: tuple(tags.split())
    for name, tags in {
        "gpu": "hardware tensor_parallel memory nccl performance utilisation p2p_check nccl_bandwidth",
        "tensor_parallel": "tensor_parallel memory nccl performance utilisation configuration output network",
        "links": "network",
        "load": "performance utilisation",
        "output": "output output_check",
        "logs": "hardware memory nccl performance configuration",
        "peer_data": "hardware nccl configuration p2p_check",
        "nccl_bandwidth": "nccl configuration nccl_bandwidth",
    }.items()
}

#: Tags of measurements that can be selected on their own, each with the area to which it belongs.
MEASURED_ALONE: t.Final = {"p2p_check": "hardware", "nccl_bandwidth": "nccl", "output_check": "output"}

#: Checks that answer the main question of an area. If none of them was tested, the section cannot pass. For example, a
#: log without an out-of-memory error shows nothing about the memory of GPUs that hold no model.
_MAIN: t.Final[dict[str, tuple[str, ...]]] = {
    "hardware": ("hardware.driver",),
    "tensor_parallel": ("tensor_parallel.size",),
    "memory": ("memory.idle_gpu",),
    "nccl": ("nccl.errors", "nccl.bandwidth"),
    "performance": ("performance.throughput",),
    "utilisation": ("utilisation.active",),
    "configuration": ("configuration.arguments", "configuration.environment"),
    "output": ("output.valid",),
    "network": ("network.ports",),
}

#: Areas that not every node has, each with its measurement.
_OPTIONAL: t.Final = {"output": "output", "network": "links"}

#: Areas whose checks need the API of the server. In a group of nodes, only the head has one.
_BY_API: t.Final = ("performance", "output")

_CHECK_ORDER: t.Final = {check: position for position, check in enumerate(CHECKS)}


@dataclass(frozen=True)
class Section:
    """The findings for one area on one node, in the order of ``CHECKS``. For each check, the worst finding is first."""

    area: str
    findings: tuple[Finding, ...]
    selected: bool = True
    #: Whether the checks are made on another node of the same server.
    elsewhere: bool = False

    @property
    def title(self) -> str:
        return AREAS[self.area]

    @property
    def status(self) -> Status:
        status, main = verdict(item.status for item in self.findings), _MAIN.get(self.area)
        tested = {item.check for item in self.findings if item.tested}
        return Status.NOT_TESTED if status is Status.PASS and main and tested.isdisjoint(main) else status


def verdict(statuses: Iterable[Status]) -> Status:
    """Return the worst status of all checks that were run, or ``not_tested`` if none were run."""
    return worst(status for status in statuses if status is not Status.NOT_TESTED)


def needs(area: str) -> dict[str, tuple[str, ...]]:
    """Map each check in an area to the names of the measurements that the check needs (keys of ``MEASUREMENTS``)."""
    return {check: _NEEDS.get(check, _NEEDS[area]) for check in CHECKS if check.startswith(f"{area}.")}


def judge(node: NodeFacts, areas: Collection[str] = tuple(RULES)) -> list[Section]:
    """Return one report section for each area. If an area is not in ``areas``, its checks count as not tested.

    Areas in ``_OPTIONAL`` have a section only if they were to be checked.
    """
    return [
        _section(node, area, area in areas)
        for area in RULES
        if area not in _OPTIONAL or node.measurement(_OPTIONAL[area]).requested
    ]


def _section(node: NodeFacts, area: str, selected: bool) -> Section:
    checks = needs(area)
    if not selected:
        return Section(area, tuple(not_tested(check, "not selected") for check in checks), selected=False)
    if node.options.headless and area in _BY_API:
        reason = f"measured on {node.options.group['hosts'][0]}, which serves the API of the group"
        return Section(area, tuple(not_tested(check, reason) for check in checks), elsewhere=True)
    findings = RULES[area](node)
    faulty = {item.check for item in findings if item.wrong}
    # Drop a pass if the same check also has a failure or a warning, because the pass may cover only part of the check.
    findings = [item for item in findings if item.wrong or item.check not in faulty]
    answered = {item.check for item in findings}
    findings += [not_tested(check, _reason(node, keys)) for check, keys in checks.items() if check not in answered]
    return Section(area, tuple(sorted(findings, key=_order)))


def node_status(sections: Iterable[Section]) -> Status:
    """Return the worst status of the selected sections; a node cannot pass if a whole section was not tested.

    Sections whose checks are made on another node of the same server do not count.
    """
    return worst(section.status for section in sections if section.selected and not section.elsewhere)


def wrong(sections: Iterable[Section]) -> list[Finding]:
    """Return all failures, followed by all warnings, each in the order of the report's sections."""
    findings = [item for section in sections for item in section.findings if item.wrong]
    return sorted(findings, key=lambda item: -SEVERITY.index(item.status))


def _reason(node: NodeFacts, keys: Iterable[str]) -> str:
    measurements = [node.measurement(key) for key in keys]
    for item in measurements:
        if item.reason is not None:
            return item.reason
    return f"{' and '.join(item.module for item in measurements)} returned no result for this check"


def _order(finding: Finding) -> tuple[int, int]:
    return _CHECK_ORDER[finding.check], -SEVERITY.index(finding.status)
