# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check whether the server's vLLM version supports the arguments and environment variables that are set."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.units import counted
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.other_engines import not_vllm
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import nccl, profile
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings import known_issues
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.nccl import peer_access_off
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import IssueKind, SettingRule
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import Version, show_version

_UNREADABLE: t.Final = {
    "configuration.arguments": "neither a vLLM process nor its log shows the arguments",
    "configuration.environment": "the server's environment is not readable (different user, container or host)",
}

#: First vLLM version in which prefix caching is on by default. Source: vLLM, V1 engine.
_PREFIX_CACHING_SINCE: t.Final = (0, 8, 0)

Settings = Mapping[str, t.Any]


def evaluate(node: NodeFacts) -> list[Finding]:
    """Return the findings for the ``configuration`` area."""
    findings = node.findings("configuration")
    if node.other_engine:
        return [*findings, *(not_tested(check, not_vllm(node.other_engine)) for check in (*_UNREADABLE, profile.CHECK))]
    if not node.tensor_parallel.taken and not node.engine:
        return findings
    version, arguments, environment = node.version, node.arguments, node.environment
    issues = known_issues.issues(arguments or {}, environment or {}, version)
    return [
        *findings,
        *_reviewed("configuration.arguments", arguments, issues, version),
        *_environment(
            node, _reviewed("configuration.environment", environment, issues, version, needed_settings(node))
        ),
        profile.evaluate(node, arguments, version),
        *repeated_prompts(node),
        *shared_memory(node),
    ]


def _environment(node: NodeFacts, findings: Sequence[Finding]) -> list[Finding]:
    """Return ``findings``, in which NCCL over sockets is only a warning if vLLM decodes without NCCL."""
    harmless = nccl.fast_all_reduce(node) is not None
    disabled = FAULTS["nccl_paths_disabled"].cause
    return [
        dataclasses.replace(item, status=Status.WARN) if harmless and item.cause == disabled else item
        for item in findings
    ]


def repeated_prompts(node: NodeFacts) -> list[Finding]:
    """Return a warning if the load test repeats its prompts and the server has prefix caching on."""
    option = node.argument("enable_prefix_caching")
    caching = option is not False and (option or (node.version or ()) >= _PREFIX_CACHING_SINCE)
    if not node.options.fixed_seed or not caching:
        return []
    return [
        warned(
            "configuration.arguments",
            "the load test repeats its prompts, and prefix caching is on",
            measured="validate_seed",
            cause="With a fixed seed, a second run is served from the prefix cache and appears too fast.",
            remedy="Leave validate_seed empty, restart vLLM between runs, or start it with --no-enable-prefix-caching.",
            source="vLLM: prefix caching is on by default since 0.8.0",
        )
    ]


def needed_settings(node: NodeFacts) -> dict[str, str]:
    """Return settings that usually cause a warning but are needed on this node, and the reason for each setting."""
    topology, size = node.gpu_facts.get("topology"), node.group_size or len(node.devices)
    proof = peer_access_off(topology, size, node.nccl_bandwidth.data.get("bandwidth"), node.peer_data.data)
    return {"NCCL_P2P_DISABLE": proof} if proof else {}


def shared_memory(node: NodeFacts) -> list[Finding]:
    """Return a warning if the server's container has too little shared memory for the ranks on this node."""
    container = node.tensor_parallel.data.get("container") or {}
    size = container.get("shm_size")
    issue = known_issues.shared_memory_issue(node.group_size or 1, container.get("ipc_mode"), size)
    return [_finding("configuration.environment", issue, size, None)] if issue else []


def _reviewed(
    check: str,
    settings: Settings | None,
    issues: Sequence[SettingRule],
    version: Version | None,
    proof: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Review the server's arguments or its environment variables for known issues, and return the findings.

    :param check: ID of the check to which the findings belong.
    :param settings: the arguments or environment variables to review, or None if they cannot be read.
    :param issues: known issues with the arguments and the environment variables.
    :param proof: names of settings that this node needs although they usually cause a warning, each with the evidence.
    """
    own = [issue for issue in issues if issue.is_variable == (check == "configuration.environment")]
    redundant = [issue.summary for issue in own if issue.kind is IssueKind.REDUNDANT]
    wrong = [issue for issue in own if issue.kind is not IssueKind.REDUNDANT]
    if settings is None and not wrong:
        return [not_tested(check, _UNREADABLE[check])]
    values = settings or {}
    accepted = {
        issue.name: proof[issue.name] for issue in wrong if proof and issue.name in proof and not issue.combined_names
    }
    if remaining := [issue for issue in wrong if issue.name not in accepted]:
        return [_finding(check, issue, values.get(issue.name), version) for issue in remaining]
    reviewed = counted(len(values), "argument" if check.endswith("arguments") else "variable")
    notes = {"redundant": redundant, "needed_here": accepted}
    summary = f"{reviewed} reviewed for vLLM {show_version(version)}"
    return [passed(check, summary, evidence={key: value for key, value in notes.items() if value})]


def _finding(check: str, issue: SettingRule, value: t.Any, version: Version | None) -> Finding:
    return Finding(
        check=check,
        status=Status(issue.status),
        summary=issue.summary,
        measured=issue.name if value is None else f"{issue.name}={value}",
        evidence={"verdict": issue.kind.value, "vllm_version": show_version(version) if version else None},
        cause=issue.cause,
        remedy=issue.remedy,
        source=issue.source,
    )
