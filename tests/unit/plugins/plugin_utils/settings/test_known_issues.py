# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test known issues by setting, value and vLLM version."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.known_issues import (
    RULES,
    issues,
    shared_memory_issue,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import IssueKind, SettingRule
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import Version, parse_version

#: Setting, value, version, kind of issue ("" is none).
CASES: t.Final[list[tuple[str, t.Any, str | None, str]]] = [
    # --- arguments --------------------------------------------------------------------------------------------------
    ("kv_cache_dtype", "fp8_e4m3fn", "0.6.3", "invalid"),
    ("kv_cache_dtype", "fp8_e4m3fn", "0.33.0", "invalid"),
    ("kv_cache_dtype", "fp8_e4m3fn", None, "invalid"),
    ("kv_cache_dtype", "fp8_e4m3", "0.6.3", ""),
    ("kv_cache_dtype", "fp8", "0.32.0", ""),
    ("kv_cache_dtype", "auto", "0.6.3", ""),
    ("kv_cache_dtype", "fp8_inc", "0.9.2", "too_new"),
    ("kv_cache_dtype", "fp8_inc", "0.10.0", ""),
    ("kv_cache_dtype", "bfloat16", "0.10.2", "too_new"),
    ("kv_cache_dtype", "bfloat16", "0.11.0", ""),
    ("kv_cache_dtype", "int4", "0.21.9", "invalid"),
    ("kv_cache_dtype", "nvfp4", "0.22.0", ""),
    ("kv_cache_dtype", "nvfp4", "0.20.0", ""),
    ("kv_cache_dtype", "nvfp4", "0.18.0", "too_new"),
    ("kv_cache_dtype", "fp8_ds_mla", "0.11.0", "too_new"),
    ("kv_cache_dtype", "fp8_ds_mla", "0.12.0", ""),
    ("kv_cache_dtype", "float16", "0.17.0", "too_new"),
    ("kv_cache_dtype", "float16", "0.18.0", ""),
    ("kv_cache_dtype", "int4_per_token_head", "0.22.0", "too_new"),
    ("kv_cache_dtype", "nvfp4_4over6", "0.25.0", "too_new"),
    ("kv_cache_dtype", "ultraquant_4bit", "0.28.0", "too_new"),
    ("kv_cache_dtype", "octave_k3v4", "0.32.0", "too_new"),
    ("kv_cache_dtype", "octave_k3v4", "0.33.0", ""),
    ("kv_cache_dtype", "int4", "0.32.0", "invalid"),
    ("kv_cache_dtype", "of_a_platform", "0.33.0", ""),
    ("disable_log_requests", True, "0.10.0", ""),
    ("disable_log_requests", True, "0.10.1", "deprecated"),
    ("disable_log_requests", True, "0.16.9", "deprecated"),
    ("disable_log_requests", True, "0.17.0", "removed"),
    ("disable_log_requests", True, "0.32.0", "removed"),
    ("disable_log_requests", True, "0.33.0", "redundant"),
    ("disable_log_requests", True, None, ""),
    ("enable_log_requests", True, "0.10.0", "too_new"),
    ("enable_log_requests", True, "0.10.1", ""),
    ("num_scheduler_steps", 8, "0.10.0", ""),
    ("num_scheduler_steps", 8, "0.10.1", "removed"),
    ("swap_space", 4, "0.17.9", ""),
    ("swap_space", 4, "0.18.0", "removed"),
    ("enable_chunked_prefill", True, "0.7.3", ""),
    ("enable_chunked_prefill", True, "0.8.0", "redundant"),
    ("enable_chunked_prefill", False, "0.8.0", "ignored"),
    ("enable_chunked_prefill", False, "0.12.0", ""),
    ("enable_prefix_caching", True, "0.7.3", ""),
    ("enable_prefix_caching", True, "0.8.0", "redundant"),
    ("enable_prefix_caching", False, "0.32.0", ""),
    ("attention_backend", "FLASHINFER", "0.12.0", "too_new"),
    ("attention_backend", "FLASHINFER", "0.13.0", ""),
    ("enable_expert_parallel", True, "0.7.3", "too_new"),
    ("enable_expert_parallel", True, "0.8.0", ""),
    ("data_parallel_size", 2, "0.7.3", "too_new"),
    ("data_parallel_size", 2, "0.8.0", "too_new"),
    ("data_parallel_size", 2, "0.8.5", ""),
    ("fail_on_environ_validation", True, "0.16.0", "too_new"),
    ("fail_on_environ_validation", True, "0.17.0", ""),
    ("gpu_memory_utilization", 0.95, "0.32.0", ""),
    ("gpu_memory_utilization", 0.99, "0.32.0", "harmful"),
    ("gpu_memory_utilization", 0.9, None, ""),
    ("gpu_memory_utilization", 0, None, "invalid"),
    ("tensor_parallel_size", 4, "0.32.0", ""),
    ("max_num_seqs", 1024, "0.6.3", ""),
    # --- environment ------------------------------------------------------------------------------------------------
    ("VLLM_USE_V1", "1", "0.7.3", ""),
    ("VLLM_USE_V1", "1", "0.8.0", "redundant"),
    ("VLLM_USE_V1", "0", "0.8.0", "harmful"),
    ("VLLM_USE_V1", "0", "0.11.0", "harmful"),
    ("VLLM_ATTENTION_BACKEND", "FLASHINFER", "0.12.0", ""),
    ("VLLM_ATTENTION_BACKEND", "FLASHINFER", "0.13.0", "deprecated"),
    ("VLLM_SKIP_P2P_CHECK", "1", "0.10.0", "harmful"),
    ("VLLM_SKIP_P2P_CHECK", "1", "0.10.1", "redundant"),
    ("VLLM_SKIP_P2P_CHECK", "0", "0.32.0", ""),
    ("NCCL_CUMEM_ENABLE", "1", "0.10.1", "ignored"),
    ("NCCL_CUMEM_ENABLE", "0", "0.10.1", "redundant"),
    ("NCCL_CUMEM_ENABLE", "1", "0.10.2", ""),
    ("NCCL_P2P_DISABLE", "1", "0.32.0", "harmful"),
    ("NCCL_P2P_DISABLE", "0", "0.32.0", ""),
    ("NCCL_SHM_DISABLE", "1", None, "harmful"),
    ("NCCL_P2P_LEVEL", "LOC", "0.32.0", "harmful"),
    ("NCCL_P2P_LEVEL", "PHB", "0.32.0", ""),
    ("NCCL_P2P_LEVEL", "NEAR", "0.32.0", "ignored"),
    ("NCCL_IB_DISABLE", "1", "0.32.0", ""),
    ("NCCL_DEBUG", "INFO", "0.32.0", ""),
    ("NCCL_DEBUG", "info", "0.32.0", ""),
    ("NCCL_DEBUG", "TRACE", "0.32.0", "harmful"),
    ("NCCL_DEBUG", "VERBOSE", "0.32.0", "ignored"),
]


def issues_of(name: str, value: object, version: str | None) -> list[SettingRule]:
    settings = {name: value}
    return (
        issues({}, settings, parse_version(version)) if name.isupper() else issues(settings, {}, parse_version(version))
    )


@pytest.mark.parametrize(("name", "value", "version", "kind"), CASES)
def test_issues_single_setting_has_expected_kind(name: str, value: object, version: str | None, kind: str) -> None:
    assert [rule.kind.value for rule in issues_of(name, value, version)] == ([kind] if kind else [])


def test_issues_cases_cover_every_rule() -> None:
    assert len(CASES) >= 60
    covered = [rule for name, value, version, _kind in CASES for rule in issues_of(name, value, version)]
    assert set(covered) == {rule for rule in RULES if not rule.combined_names}


@pytest.mark.parametrize(
    ("arguments", "environment", "version", "kinds"),
    [
        ({}, {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}, None, ["conflict"]),
        ({}, {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "0"}, None, ["harmful"]),
        ({}, {"NCCL_P2P_LEVEL": "LOC", "NCCL_SHM_DISABLE": "1"}, None, ["conflict"]),
        ({}, {"NCCL_P2P_LEVEL": "0", "NCCL_SHM_DISABLE": "1", "NCCL_P2P_DISABLE": "1"}, None, ["conflict", "harmful"]),
        ({}, {"NCCL_P2P_LEVEL": "SYS", "NCCL_SHM_DISABLE": "1"}, None, ["harmful"]),
        ({"max_num_batched_tokens": 2048, "max_num_seqs": 4096}, {}, None, ["invalid"]),
        ({"max_num_batched_tokens": "2048", "max_num_seqs": "2048"}, {}, None, []),
        ({"max_num_seqs": 4096}, {}, None, []),
        ({"nnodes": 2}, {"NCCL_IB_DISABLE": "1"}, None, ["harmful"]),
        ({"nnodes": 1}, {"NCCL_IB_DISABLE": "1"}, None, []),
        ({"fail_on_environ_validation": True}, {"VLLM_EXTRA_ARGS": "x"}, (0, 17, 0), ["conflict"]),
        ({"fail_on_environ_validation": True}, {"VLLM_EXTRA_ARGS": "x"}, (0, 16, 0), ["too_new", "unknown"]),
        ({"fail_on_environ_validation": False}, {"VLLM_EXTRA_ARGS": "x"}, (0, 17, 0), ["unknown"]),
        ({"fail_on_environ_validation": True}, {"NCCL_DEBUG": "INFO"}, (0, 17, 0), []),
        ({"disable_custom_all_reduce": True, "tensor_parallel_size": 4}, {}, None, []),
        ({"swap_space": 4}, {"VLLM_USE_V1": "1"}, (0, 32, 0), ["removed", "unknown"]),
        ({}, {}, None, []),
    ],
)
def test_issues_combination_replaces_its_parts(
    arguments: dict[str, t.Any], environment: dict[str, str], version: Version | None, kinds: list[str]
) -> None:
    applying = issues(arguments, environment, version)
    assert [rule.kind.value for rule in applying if rule.kind is not IssueKind.REDUNDANT] == kinds


@pytest.mark.parametrize(("size", "kinds"), [(2, []), (4, [IssueKind.REDUNDANT])])
def test_issues_custom_all_reduce_is_redundant_above_two_gpus(size: int, kinds: list[IssueKind]) -> None:
    arguments = {"disable_custom_all_reduce": True, "tensor_parallel_size": size}
    assert [rule.kind for rule in issues(arguments, {}, None)] == kinds


@pytest.mark.parametrize(
    ("ranks", "ipc_mode", "shm_size", "short"),
    [
        (4, "private", 64 * 2**20, True),
        (4, "private", 2**30 - 1, True),
        (4, "private", 2**30, False),
        (4, "host", 64 * 2**20, False),
        (4, "private", 16 * 2**30, False),
        (1, "private", 64 * 2**20, False),
        (4, None, None, False),
    ],
)
def test_shared_memory_issue_depends_on_ranks_and_size(
    ranks: int, ipc_mode: str | None, shm_size: int | None, short: bool
) -> None:
    assert (shared_memory_issue(ranks, ipc_mode, shm_size) is not None) is short


def test_shared_memory_issue_names_size_and_ranks() -> None:
    issue = shared_memory_issue(4, None, 64 * 2**20)
    assert issue is not None
    assert issue.summary == "the container has 64 MiB of shared memory for 4 ranks"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.name}-{rule.kind.value}")
def test_rule_texts_are_complete(rule: SettingRule) -> None:
    assert rule.summary
    assert rule.cause.endswith(".")
    assert rule.remedy.endswith(".")
    assert rule.source
    assert "{" not in rule.summary + rule.cause + rule.remedy
