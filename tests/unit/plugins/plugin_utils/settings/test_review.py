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
        ({}, {"VLLM_MAX_NUM_SEQS": "8"}, "0.33.0", [False]),
        ({}, {}, "0.33.0", []),
    ],
)
def test_what_keeps_a_server_from_starting_is_fatal(
    arguments: dict[str, object], environment: dict[str, str], version: str, fatal: list[bool]
) -> None:
    assert [verdict.fatal for verdict in review(arguments, environment, version)] == fatal


def test_a_verdict_names_what_to_write_instead() -> None:
    (verdict,) = review({"kv_cache_dtype": "fp8_e4m3fn"}, {}, "0.32.0")
    assert "vllm_kv_cache_dtype: fp8_e4m3" in verdict.text


def test_a_warning_about_what_was_measured_is_left_out() -> None:
    assert review({}, {"NCCL_P2P_DISABLE": "1"}, "0.32.0")
    assert review({}, {"NCCL_P2P_DISABLE": "1"}, "0.32.0", measured={"NCCL_P2P_DISABLE"}) == []


def test_what_is_fatal_is_never_left_out() -> None:
    both = {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}
    assert any(verdict.fatal for verdict in review({}, both, "0.32.0", measured=both))


@pytest.mark.parametrize(
    ("text", "size"), [("16g", 2**34), ("64M", 2**26), ("1024", 1024), ("2 GB", 2**31), ("1t", 2**40)]
)
def test_sizes_are_read_as_docker_reads_them(text: str, size: int) -> None:
    assert size_in_bytes(text) == size


def test_what_is_no_size_is_told() -> None:
    with pytest.raises(ValueError, match="'much' is no size"):
        review_memory(2, "private", "much")


def test_one_rank_needs_no_shared_memory() -> None:
    assert review_memory(1, "private", None) == []
    assert review_memory(2, "private", None) != []
    assert review_memory(2, "host", None) == []
