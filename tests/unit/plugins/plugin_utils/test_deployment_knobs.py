# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment_knobs import review


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
