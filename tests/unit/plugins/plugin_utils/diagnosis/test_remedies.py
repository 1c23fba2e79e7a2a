# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.remedies import flag


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("tensor_parallel_size", 4, "--tensor-parallel-size 4 (vllm_tensor_parallel_size: 4)"),
        ("kv_cache_dtype", "fp8", "--kv-cache-dtype fp8 (vllm_kv_cache_dtype: fp8)"),
        ("disable_custom_all_reduce", True, "--disable-custom-all-reduce (vllm_extra_args)"),
        ("block_size", 16, "--block-size 16 (vllm_extra_args)"),
    ],
)
def test_flag_includes_the_role_variable(name: str, value: object, text: str) -> None:
    assert flag(name, value) == text
