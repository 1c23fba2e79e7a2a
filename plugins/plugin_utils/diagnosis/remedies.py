# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to apply a setting: the flag of vLLM and the variable of the role vllm, in one wording."""

from __future__ import annotations

import typing as t

#: Options of vLLM that are variables of the role vllm under the same name; others go into vllm_extra_args.
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

#: Gives a container enough shared memory for the ranks.
SHARED_MEMORY: t.Final = (
    "run the container with --ipc=host (vllm_ipc_mode: host) or --shm-size=16g (vllm_shm_size: 16g)"
)

#: A rented machine is mended by moving off its host.
NEW_HOST: t.Final = "Stop and start the Linode, so that it lands on another host; open a ticket if it comes back."


def flag(name: str, value: t.Any) -> str:
    """``--max-num-seqs 64 (vllm_max_num_seqs: 64)``."""
    option = "--" + name.replace("_", "-")
    words = option if value is True else f"{option} {value}"
    return f"{words} (vllm_{name}: {value})" if name in VARIABLES else f"{words} (in vllm_extra_args)"


def variable(name: str, value: t.Any) -> str:
    """``NCCL_P2P_DISABLE=1 (in vllm_environment)``."""
    return f"{name}={value} (in vllm_environment)"
