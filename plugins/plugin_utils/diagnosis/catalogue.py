# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All rules, and the order in which they are asked: facts and findings in, causes out."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import SEVERITY, Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis import (
    devices,
    interconnect,
    memory,
    parallelism,
    server,
    synchronisation,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import Case
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import CONFIDENCES, Diagnosis
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import Section
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: Gives its diagnosis where its cause is there, else ``None``. It sees what the rules before it named.
Rule = Callable[[Case], Diagnosis | None]

#: From what a message or a setting proves to what is left when nothing else explains it.
RULES: t.Final[tuple[Rule, ...]] = (
    devices.no_driver,
    devices.missing,
    devices.memory_errors,
    devices.xid,
    memory.other_process,
    memory.gpu_memory,
    memory.host_memory,
    memory.cache_too_small,
    parallelism.model_does_not_fit,
    parallelism.gpu_twice,
    interconnect.no_peer_access,
    server.shared_memory,
    server.refused,
    server.logged,
    server.hangs,
    parallelism.off,
    parallelism.not_at_work,
    parallelism.rank_missing,
    interconnect.sockets,
    interconnect.host_memory,
    devices.slowed_down,
    interconnect.pcie_downgraded,
    memory.preemption,
    memory.unbalanced,
    memory.little_headroom,
    memory.tight_cache,
    interconnect.hardware_limit,
    synchronisation.uneven_work,
    synchronisation.host_bound,
    synchronisation.too_much_expected,
    synchronisation.waiting,
    server.settings,
    server.crashed,
    server.down,
    synchronisation.unexplained,
)


def diagnose(node: NodeFacts, sections: Iterable[Section], rules: Sequence[Rule] = RULES) -> list[Diagnosis]:
    """The causes of what is wrong with ``node``: the most serious first, then the surest."""
    findings = tuple(item for section in sections if section.selected for item in section.findings)
    case = Case(node, findings)
    for rule in rules:
        found = rule(case)
        if found is not None:
            case = case.adding(found)
    return sorted(case.found, key=lambda item: _rank(case, item))


def _rank(case: Case, diagnosis: Diagnosis) -> tuple[int, int]:
    statuses = [item.status for check in diagnosis.findings if (item := case.first(check)) is not None]
    worst = max((SEVERITY.index(status) for status in statuses), default=SEVERITY.index(Status.PASS))
    return -worst, CONFIDENCES.index(diagnosis.confidence)
