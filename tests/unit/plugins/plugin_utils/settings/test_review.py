# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.review import review, review_memory, size_in_bytes


@pytest.mark.parametrize(
    ("arguments", "environment", "version", "fatal"),
    [
        ({"kv_cache_dtype": "fp8_e4m3fn"}, {}, "0.6.3", [True]),
        ({"swap_space": 4}, {}, "0.17.0", []),
        ({"swap_space": 4}, {}, "0.18.0", [True]),
        ({"disable_log_requests": True}, {}, "0.16.0", [False]),
        ({"enable_prefix_caching": True}, {}, "0.33.0", []),
        ({}, {"VLLM_MAX_NUM_SEQS": "8"}, "0.33.0", [True]),
        ({}, {"VLLM_USE_DEEP_GEMM": "true"}, "0.33.0", [True]),
        ({}, {}, "0.33.0", []),
    ],
)
def test_review_issue_is_fatal_if_the_server_cannot_start(
    arguments: dict[str, object], environment: dict[str, str], version: str, fatal: list[bool]
) -> None:
    assert [issue.fatal for issue in review(arguments, environment, version)] == fatal


def test_review_unknown_variable_of_a_private_build_is_not_fatal() -> None:
    (issue,) = review({}, {"VLLM_OURS": "8"}, "0.33.0", private=True)
    assert not issue.fatal


def test_review_text_names_the_replacement() -> None:
    (issue,) = review({"kv_cache_dtype": "fp8_e4m3fn"}, {}, "0.32.0")
    assert "vllm_kv_cache_dtype: fp8_e4m3" in issue.text


def test_review_leaves_out_warnings_about_measured_settings() -> None:
    assert review({}, {"NCCL_P2P_DISABLE": "1"}, "0.32.0")
    assert review({}, {"NCCL_P2P_DISABLE": "1"}, "0.32.0", measured={"NCCL_P2P_DISABLE"}) == []


def test_review_keeps_fatal_issues_of_measured_settings() -> None:
    both = {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}
    assert any(issue.fatal for issue in review({}, both, "0.32.0", measured=both))


@pytest.mark.parametrize(
    ("text", "size"), [("16g", 2**34), ("64M", 2**26), ("1024", 1024), ("2 GB", 2**31), ("1t", 2**40)]
)
def test_size_in_bytes_reads_docker_notation(text: str, size: int) -> None:
    assert size_in_bytes(text) == size


def test_review_memory_invalid_size_raises() -> None:
    with pytest.raises(ValueError, match="invalid size 'much'"):
        review_memory(2, "private", "much")


def test_review_memory_applies_to_several_ranks_without_host_ipc() -> None:
    assert review_memory(1, "private", None) == []
    assert review_memory(2, "private", None) != []
    assert review_memory(2, "host", None) == []
