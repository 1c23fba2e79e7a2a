# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of settings by version: argument, version, verdict."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings import known_issues

#: Setting, value, version, verdict ("" is none).
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
    ("disable_log_requests", True, "0.17.0", "gone"),
    ("disable_log_requests", True, "0.32.0", "gone"),
    ("disable_log_requests", True, "0.33.0", "redundant"),
    ("disable_log_requests", True, None, ""),
    ("enable_log_requests", True, "0.10.0", "too_new"),
    ("enable_log_requests", True, "0.10.1", ""),
    ("num_scheduler_steps", 8, "0.10.0", ""),
    ("num_scheduler_steps", 8, "0.10.1", "gone"),
    ("swap_space", 4, "0.17.9", ""),
    ("swap_space", 4, "0.18.0", "gone"),
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
    ("VLLM_TENSOR_PARALLEL_SIZE", "4", "0.9.0", "ignored"),
    ("VLLM_MAX_NUM_SEQS", "64", None, "ignored"),
    ("VLLM_GPU_MEMORY_UTILIZATION", "0.9", "0.17.0", "ignored"),
    ("VLLM_MAX_MODEL_LEN", "8192", "0.32.0", "ignored"),
    ("VLLM_KV_CACHE_DTYPE", "fp8", "0.32.0", "ignored"),
    ("VLLM_EXTRA_ARGS", "--foo", "0.32.0", "ignored"),
    ("VLLM_USE_V1", "1", "0.7.3", ""),
    ("VLLM_USE_V1", "1", "0.8.0", "redundant"),
    ("VLLM_USE_V1", "0", "0.8.0", "harmful"),
    ("VLLM_USE_V1", "0", "0.11.0", "harmful"),
    ("VLLM_USE_V1", "1", "0.11.1", "ignored"),
    ("VLLM_ATTENTION_BACKEND", "FLASHINFER", "0.12.0", ""),
    ("VLLM_ATTENTION_BACKEND", "FLASHINFER", "0.13.0", "deprecated"),
    ("VLLM_ATTENTION_BACKEND", "FLASHINFER", "0.16.0", "ignored"),
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

TABLES: t.Final = {True: known_issues.ENVIRONMENT, False: known_issues.ARGUMENTS}


@pytest.mark.parametrize(("name", "value", "version", "verdict"), CASES)
def test_argument_version_verdict(name: str, value: object, version: str | None, verdict: str) -> None:
    table, parsed = TABLES[name.isupper()], known_issues.parse_version(version)
    rows = [*known_issues.review({name: value}, table, parsed), *known_issues.redundant({name: value}, table, parsed)]
    assert [row.verdict.value for row in rows] == ([verdict] if verdict else [])


def test_there_are_enough_cases_and_every_row_has_one() -> None:
    assert len(CASES) >= 60
    drawn = set()
    for name, value, version, _verdict in CASES:
        for row in TABLES[name.isupper()]:
            if row.applies({name: value}, known_issues.parse_version(version)):
                drawn.add(row)
    assert drawn == {*known_issues.ARGUMENTS, *known_issues.ENVIRONMENT}


@pytest.mark.parametrize(
    ("arguments", "environment", "version", "verdicts"),
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
        ({"fail_on_environ_validation": True}, {"VLLM_EXTRA_ARGS": "x"}, (0, 16, 0), ["too_new", "ignored"]),
        ({"fail_on_environ_validation": True}, {"NCCL_DEBUG": "INFO"}, (0, 17, 0), []),
        ({"disable_custom_all_reduce": True, "tensor_parallel_size": 4}, {}, None, []),
        ({"swap_space": 4}, {"VLLM_USE_V1": "1"}, (0, 32, 0), ["gone", "ignored"]),
        ({}, {}, None, []),
    ],
)
def test_settings_as_a_whole(arguments: dict, environment: dict, version: tuple | None, verdicts: list[str]) -> None:
    assert [row.verdict.value for row in known_issues.review_all(arguments, environment, version)] == verdicts


@pytest.mark.parametrize(("size", "redundant"), [(2, False), (4, True)])
def test_custom_all_reduce_matters_with_two_gpus(size: int, redundant: bool) -> None:
    rows = known_issues.together({"disable_custom_all_reduce": True, "tensor_parallel_size": size}, {}, None)
    assert bool(rows) is redundant


@pytest.mark.parametrize(
    ("ranks", "ipc_mode", "shm_size", "short"),
    [
        (4, "private", 64 * 2**20, True),
        (4, "host", 64 * 2**20, False),
        (4, "private", 16 * 2**30, False),
        (1, "private", 64 * 2**20, False),
        (4, None, None, False),
    ],
)
def test_shared_memory_of_a_container(ranks: int, ipc_mode: str | None, shm_size: int | None, short: bool) -> None:
    assert (known_issues.container(ranks, ipc_mode, shm_size) is not None) is short


ROWS: t.Final = [*known_issues.ARGUMENTS, *known_issues.ENVIRONMENT, *(row.knob for row in known_issues.TOGETHER)]


@pytest.mark.parametrize("knob", ROWS, ids=lambda knob: f"{knob.name}-{knob.verdict.value}")
def test_every_row_says_what_to_do(knob: known_issues.SettingRule) -> None:
    assert knob.summary
    assert knob.cause.endswith(".")
    assert knob.remedy.endswith(".")
    assert knob.source
