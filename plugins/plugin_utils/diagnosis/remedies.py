# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of a vLLM setting, with its flag and its variable of the role vllm."""

from __future__ import annotations

import typing as t

#: Options of vLLM that are variables of the role vllm with the same name; others belong in vllm_extra_args.
VARIABLES: t.Final[frozenset[str]] = frozenset(
    {
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "data_parallel_size",
        "max_num_seqs",
        "max_num_batched_tokens",
        "gpu_memory_utilization",
        "max_model_len",
        "kv_cache_dtype",
    }
)


def flag(name: str, value: t.Any) -> str:
    """Return ``--max-num-seqs 64 (vllm_max_num_seqs: 64)``."""
    option = "--" + name.replace("_", "-")
    text = option if value is True else f"{option} {value}"
    return f"{text} (vllm_{name}: {value})" if name in VARIABLES else f"{text} (vllm_extra_args)"
