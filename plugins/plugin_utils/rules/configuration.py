# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration: arguments and environment of the running server against what its version knows."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status, failed, not_tested, passed
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import knobs
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: Check -> the measurements it needs.
CHECKS: t.Final[dict[str, tuple[str, ...]]] = {
    "configuration.arguments": ("tensor_parallel",),
    "configuration.environment": ("tensor_parallel",),
}

#: Variables that each switch off one path between the GPUs of a node.
_PATHS: t.Final = ("NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE")

_BLIND: t.Final = {
    "configuration.arguments": "neither a vLLM process nor its log shows the arguments",
    "configuration.environment": "the server's environment cannot be read (other user, container or host)",
}


def evaluate(node: NodeFacts) -> list[Finding]:
    """Findings of area ``configuration``."""
    findings = node.findings("configuration")
    server = node.tensor_parallel.data
    if not node.tensor_parallel.taken and not node.engine:
        return findings
    version = knobs.parse_version(server.get("vllm_version") or node.engine.get("vllm_version"))
    arguments, environment = node.arguments, node.environment
    both = together(environment or {})
    apart = environment if not both else {name: environment[name] for name in environment if name not in _PATHS}
    return [
        *findings,
        *_reviewed("configuration.arguments", arguments, knobs.ARGUMENTS, version),
        *_reviewed("configuration.environment", apart, knobs.ENVIRONMENT, version),
        *both,
    ]


def together(environment: Mapping[str, t.Any]) -> list[Finding]:
    """Variables that are bearable alone and harmful together."""
    off = [name for name in _PATHS if str(environment.get(name)) in ("1", "true")]
    if len(off) < 2:
        return []
    return [
        failed(
            "configuration.environment",
            "NCCL_P2P_DISABLE and NCCL_SHM_DISABLE are both set",
            evidence={"variables": off},
            cause="With both paths off, every all-reduce between the GPUs goes through TCP sockets.",
            remedy="Remove both; keep at most NCCL_P2P_DISABLE=1, and only where P2P is proven broken.",
            source="NCCL environment variables, NVIDIA documentation",
        )
    ]


def _reviewed(
    check: str,
    settings: Mapping[str, t.Any] | None,
    table: tuple[knobs.Knob, ...],
    version: knobs.Version | None,
) -> list[Finding]:
    if settings is None:
        return [not_tested(check, _BLIND[check])]
    wrong = knobs.review(settings, table, version)
    if not wrong:
        noun = ("argument" if check.endswith("arguments") else "variable") + ("" if len(settings) == 1 else "s")
        shown = ".".join(map(str, version)) if version else "of unknown version"
        return [passed(check, f"{len(settings)} {noun} reviewed for vLLM {shown}")]
    return [
        Finding(
            check=check,
            status=Status(knob.status),
            summary=knob.summary,
            measured=f"{knob.name}={settings[knob.name]}",
            evidence={"vllm_version": ".".join(map(str, version)) if version else None},
            cause=knob.cause,
            remedy=knob.remedy,
            source=knob.source,
        )
        for knob in wrong
    ]
