# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Diagnose a node by applying the diagnosis rules, one after the other, to its facts and findings."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import SEVERITY
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis import (
    devices,
    interconnect,
    memory,
    network,
    parallelism,
    server,
    synchronisation,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import DiagnosisContext
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import CONFIDENCES, Diagnosis
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import Section
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: A rule returns a diagnosis, or None if it does not apply. It can also read the diagnoses made by earlier rules.
Rule = Callable[[DiagnosisContext], Diagnosis | None]

#: All rules in the order in which they run. Causes that are proven by a message or a setting come first. Causes that
#: are assumed only if no other cause fits come last.
RULES: t.Final[tuple[Rule, ...]] = (
    devices.no_driver,
    devices.missing,
    devices.memory_errors,
    devices.xid,
    interconnect.wrong_data,
    memory.other_process,
    memory.gpu_memory,
    memory.host_memory,
    memory.cache_too_small,
    parallelism.model_does_not_fit,
    parallelism.gpu_twice,
    interconnect.no_peer_access,
    network.broken,
    server.shared_memory,
    server.refused,
    server.sleeping,
    server.corrupted,
    server.worker_stopped,
    server.worker_died,
    server.logged,
    server.hangs,
    parallelism.off,
    parallelism.not_at_work,
    parallelism.rank_missing,
    interconnect.sockets,
    interconnect.host_memory,
    devices.slowed_down,
    interconnect.pcie_downgraded,
    network.slow,
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
    """Return the diagnoses of ``node``, sorted by severity and then by confidence."""
    findings = tuple(item for section in sections if section.selected for item in section.findings)
    context = DiagnosisContext(node, findings)
    for rule in rules:
        diagnosis = rule(context)
        if diagnosis is not None:
            context = context.adding(diagnosis)
    return sorted(context.diagnoses, key=lambda item: _rank(context, item))


def _rank(context: DiagnosisContext, diagnosis: Diagnosis) -> tuple[int, int]:
    severities = [SEVERITY.index(item.status) for item in context.worst_findings(*diagnosis.findings)]
    return -max(severities, default=0), CONFIDENCES.index(diagnosis.confidence)
