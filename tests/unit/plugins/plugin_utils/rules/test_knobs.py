# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the settings table by version."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import knobs


@pytest.mark.parametrize(
    ("text", "version"),
    [("0.32.0", (0, 32, 0)), ("0.32.0+cpu", (0, 32, 0)), ("v0.8", (0, 8, 0)), ("dev", None), (None, None)],
)
def test_versions(text: str | None, version: tuple | None) -> None:
    assert knobs.parse_version(text) == version


@pytest.mark.parametrize(
    ("settings", "version", "verdicts"),
    [
        ({"disable_log_requests": True}, (0, 10, 0), []),
        ({"disable_log_requests": True}, (0, 10, 1), ["warn"]),
        ({"disable_log_requests": True}, (0, 16, 9), ["warn"]),
        ({"disable_log_requests": True}, (0, 17, 0), ["fail"]),
        ({"disable_log_requests": True}, None, []),
        ({"kv_cache_dtype": "fp8_e4m3fn"}, None, ["fail"]),
        ({"kv_cache_dtype": "fp8_e4m3"}, (0, 32, 0), []),
        ({"swap_space": 4}, (0, 17, 9), []),
        ({"swap_space": 4}, (0, 18, 0), ["fail"]),
        ({"num_scheduler_steps": 8}, (0, 10, 1), ["fail"]),
        ({"tensor_parallel_size": 4}, (0, 32, 0), []),
    ],
)
def test_arguments(settings: dict, version: tuple | None, verdicts: list[str]) -> None:
    assert [knob.status for knob in knobs.review(settings, knobs.ARGUMENTS, version)] == verdicts


@pytest.mark.parametrize(
    ("settings", "version", "count"),
    [
        ({"VLLM_TENSOR_PARALLEL_SIZE": "4"}, (0, 9, 0), 1),
        ({"VLLM_USE_V1": "1"}, (0, 11, 0), 0),
        ({"VLLM_USE_V1": "1"}, (0, 11, 1), 1),
        ({"VLLM_ATTENTION_BACKEND": "FLASHINFER"}, (0, 32, 0), 1),
        ({"NCCL_P2P_DISABLE": "0"}, (0, 32, 0), 0),
        ({"NCCL_P2P_DISABLE": "1"}, (0, 32, 0), 1),
        ({"NCCL_DEBUG": "INFO"}, (0, 32, 0), 0),
    ],
)
def test_environment(settings: dict, version: tuple, count: int) -> None:
    assert len(knobs.review(settings, knobs.ENVIRONMENT, version)) == count


@pytest.mark.parametrize("knob", [*knobs.ARGUMENTS, *knobs.ENVIRONMENT], ids=lambda knob: knob.name)
def test_every_row_says_what_to_do(knob: knobs.Knob) -> None:
    assert knob.summary
    assert knob.cause.endswith(".")
    assert knob.remedy.endswith(".")
