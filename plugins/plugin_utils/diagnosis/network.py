# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Diagnose faults of the network between the nodes that serve one model together."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import DiagnosisContext
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis, conclude

#: Faults with which the ranks cannot exchange data at all, so that the server hangs or does not start.
_BROKEN: t.Final = ("network.ports", "network.mtu")
#: Faults that make data slow, each before those that it can cause.
_SLOW: t.Final = ("network.loss", "network.round_trip", "network.goodput")


def broken(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a link that carries no data, because random ports are blocked or large packets disappear."""
    return _diagnosis(context, "network.broken", _BROKEN, ("nccl.errors", *context.outage_checks))


def slow(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a link that loses packets, is far or is slow."""
    return _diagnosis(context, "network.slow", _SLOW, context.slow)


def _diagnosis(
    context: DiagnosisContext, identity: str, checks: tuple[str, ...], consequences: tuple[str, ...]
) -> Diagnosis | None:
    """Return the diagnosis of the first of ``checks`` that fails, which also explains ``consequences``."""
    failing = [item for item in context.worst_findings(*context.unexplained(*checks)) if item.status is Status.FAIL]
    if not failing:
        return None
    speed = context.wrong("network.goodput")
    return conclude(
        identity,
        confidence="high",
        evidence=[item.summary for item in context.worst_findings(*checks, *speed)],
        findings=(failing[0].check, *speed, *context.unexplained(*consequences)),
        finding=failing[0],
    )
