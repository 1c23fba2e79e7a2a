# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration: arguments and environment of the running server against what its version knows."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import profile
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings import known_issues
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.nccl import peer_access_off
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting_rule import show_version

#: Check -> the measurements it needs.
CHECKS: t.Final[dict[str, tuple[str, ...]]] = {
    "configuration.arguments": ("tensor_parallel",),
    "configuration.environment": ("tensor_parallel",),
    "configuration.profile": ("tensor_parallel",),
}

_BLIND: t.Final = {
    "configuration.arguments": "neither a vLLM process nor its log shows the arguments",
    "configuration.environment": "the server's environment cannot be read (other user, container or host)",
}

#: First version that caches prefixes by itself. Source: vLLM, V1 engine.
_PREFIX_CACHING_SINCE: t.Final = (0, 8, 0)

Settings = Mapping[str, t.Any]


def evaluate(node: NodeFacts) -> list[Finding]:
    """Findings of area ``configuration``."""
    findings = node.findings("configuration")
    server = node.tensor_parallel.data
    if not node.tensor_parallel.taken and not node.engine:
        return findings
    version = known_issues.parse_version(server.get("vllm_version") or node.engine.get("vllm_version"))
    arguments = server.get("arguments") or node.engine.get("arguments") or None
    environment = server.get("environment")
    if environment is None:
        environment = node.engine.get("environment") or None
    combined = known_issues.together(arguments or {}, environment or {}, version)
    replaced = {name for row in combined for name in row.instead_of}
    apart = None if environment is None else {k: v for k, v in environment.items() if k not in replaced}
    both = [row.knob for row in combined]
    said = [*repeated_prompts(node, arguments or {}, version), *shared_memory(node)]
    return [
        *findings,
        *_reviewed("configuration.arguments", arguments, known_issues.ARGUMENTS, both, version),
        *_reviewed("configuration.environment", apart, known_issues.ENVIRONMENT, both, version, proven(node)),
        profile.evaluate(node, arguments, version),
        *said,
    ]


def repeated_prompts(node: NodeFacts, arguments: Settings, version: known_issues.Version | None) -> list[Finding]:
    """A load with fixed prompts on a server that keeps what it has computed: the second run measures the cache."""
    given = arguments.get("enable_prefix_caching")
    caching = given is not False and (given or (version or ()) >= _PREFIX_CACHING_SINCE)
    if not node.options.fixed_seed or not caching:
        return []
    return [
        warned(
            "configuration.arguments",
            "the load repeats its prompts, and prefix caching is on",
            measured="validate_seed",
            cause="With a fixed seed a second run is answered from the prefix cache and looks too fast.",
            remedy="Leave validate_seed empty, or restart vLLM between runs, or start it with "
            "--no-enable-prefix-caching.",
            source="vLLM: prefix caching is on by default since 0.8.0",
        )
    ]


def proven(node: NodeFacts) -> dict[str, str]:
    """Settings that the tables warn of and that this node was proven to need -> the proof."""
    topology, size = node.gpu_facts.get("topology"), node.group_size or len(node.raw_devices)
    proof = peer_access_off(topology, size, node.nccl_bandwidth.data.get("bandwidth"))
    return {"NCCL_P2P_DISABLE": proof} if proof else {}


def shared_memory(node: NodeFacts) -> list[Finding]:
    """Shared memory of the server's container, for the ranks on this node."""
    found = node.tensor_parallel.data.get("container") or {}
    knob = known_issues.container(node.group_size or 1, found.get("ipc_mode"), found.get("shm_size"))
    return [_finding("configuration.environment", knob, found.get("shm_size"), None)] if knob else []


def _reviewed(
    check: str,
    settings: Settings | None,
    table: tuple[known_issues.SettingRule, ...],
    combined: Sequence[known_issues.SettingRule],
    version: known_issues.Version | None,
    proof: Mapping[str, str] | None = None,
) -> list[Finding]:
    # A combination belongs to the check of the setting that it is named after.
    mine = [knob for knob in combined if any(row.name == knob.name for row in table) or knob.name in (settings or {})]
    mine = [knob for knob in mine if (knob.name.isupper()) == (check == "configuration.environment")]
    bad = [knob for knob in mine if knob.verdict is not known_issues.IssueKind.REDUNDANT]
    if settings is None and not bad:
        return [not_tested(check, _BLIND[check])]
    told = known_issues.review(settings or {}, table, version)
    accepted = {knob.name: (proof or {})[knob.name] for knob in told if knob.name in (proof or {})}
    wrong = [*bad, *(knob for knob in told if knob.name not in accepted)]
    if wrong:
        return [_finding(check, knob, (settings or {}).get(knob.name), version) for knob in wrong]
    idle = [knob for knob in mine if knob not in bad] + known_issues.redundant(settings or {}, table, version)
    noun = ("argument" if check.endswith("arguments") else "variable") + ("" if len(settings or {}) == 1 else "s")
    return [
        passed(
            check,
            f"{len(settings or {})} {noun} reviewed for vLLM {show_version(version)}",
            evidence={
                **({"redundant": [knob.summary for knob in idle]} if idle else {}),
                **({"needed_here": accepted} if accepted else {}),
            },
        )
    ]


def _finding(check: str, knob: known_issues.SettingRule, value: t.Any, version: known_issues.Version | None) -> Finding:
    return Finding(
        check=check,
        status=Status(knob.status),
        summary=knob.summary,
        measured=knob.name if value is None else f"{knob.name}={value}",
        evidence={"verdict": knob.verdict.value, "vllm_version": show_version(version) if version else None},
        cause=knob.cause,
        remedy=knob.remedy,
        source=knob.source,
    )
