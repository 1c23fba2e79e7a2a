# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM arguments and environment variables that are wrong, dead or harmful, by version, as data.

Read from vLLM's source releases 0.6.3 to 0.33.0. ``since`` and ``before`` bound the versions in which a row holds:
``since <= version < before``; without a known version only rows without bounds apply.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status

Version = tuple[int, ...]

_SOURCE: t.Final = "vLLM source, releases 0.6.3 to 0.33.0"
_NCCL: t.Final = "NCCL environment variables, NVIDIA documentation"


@dataclass(frozen=True)
class Knob:
    """One row: setting ``name`` to one of ``values`` (any value if empty) is ``status``."""

    name: str
    status: Status
    summary: str
    cause: str
    remedy: str
    values: tuple[str, ...] = ()
    since: Version | None = None
    before: Version | None = None
    source: str = _SOURCE

    def applies(self, settings: Mapping[str, t.Any], version: Version | None) -> bool:
        if self.name not in settings:
            return False
        if self.values and str(settings[self.name]).lower() not in self.values:
            return False
        if self.since is None and self.before is None:
            return True
        if version is None:
            return False
        return (self.since or ()) <= version and (self.before is None or version < self.before)


ARGUMENTS: t.Final[tuple[Knob, ...]] = (
    Knob(
        "kv_cache_dtype",
        Status.FAIL,
        "--kv-cache-dtype fp8_e4m3fn is not a value that vLLM knows",
        "No version ever accepted it; the server refuses to start.",
        "Use --kv-cache-dtype fp8_e4m3 (vllm_kv_cache_dtype: fp8_e4m3), or auto.",
        values=("fp8_e4m3fn",),
    ),
    Knob(
        "disable_log_requests",
        Status.FAIL,
        "--disable-log-requests is gone since 0.17.0",
        "The server exits with 'unrecognized arguments'.",
        "Remove it: requests are not logged by default since 0.10.1.",
        since=(0, 17, 0),
    ),
    Knob(
        "disable_log_requests",
        Status.WARN,
        "--disable-log-requests is deprecated",
        "From 0.17.0 on the server exits with 'unrecognized arguments': the next upgrade stops it.",
        "Remove it: requests are not logged by default since 0.10.1.",
        since=(0, 10, 1),
        before=(0, 17, 0),
    ),
    Knob(
        "num_scheduler_steps",
        Status.FAIL,
        "--num-scheduler-steps is gone since 0.10.1",
        "The server exits with 'unrecognized arguments'.",
        "Remove it: the V1 engine does not need it.",
        since=(0, 10, 1),
    ),
    Knob(
        "swap_space",
        Status.FAIL,
        "--swap-space is gone since 0.18.0",
        "The server exits with 'unrecognized arguments'.",
        "Remove it: the V1 engine recomputes instead of swapping.",
        since=(0, 18, 0),
    ),
)

ENVIRONMENT: t.Final[tuple[Knob, ...]] = (
    *(
        Knob(
            name,
            Status.WARN,
            f"{name} is set, but vLLM does not read it",
            "It never did: the value is silently ignored, and from 0.17 reported as unknown.",
            f"Use the flag --{name.removeprefix('VLLM_').lower().replace('_', '-')} ({name.lower()} of our role vllm).",
        )
        for name in (
            "VLLM_TENSOR_PARALLEL_SIZE",
            "VLLM_MAX_NUM_SEQS",
            "VLLM_GPU_MEMORY_UTILIZATION",
            "VLLM_MAX_MODEL_LEN",
            "VLLM_KV_CACHE_DTYPE",
        )
    ),
    Knob(
        "VLLM_EXTRA_ARGS",
        Status.WARN,
        "VLLM_EXTRA_ARGS is set, but vLLM does not read it",
        "It never did: the arguments in it are silently ignored.",
        "Pass the arguments on the command line (vllm_extra_args of our role vllm).",
    ),
    Knob(
        "VLLM_USE_V1",
        Status.WARN,
        "VLLM_USE_V1 has no effect since 0.11.1",
        "V1 is the only engine left.",
        "Remove it.",
        since=(0, 11, 1),
    ),
    Knob(
        "VLLM_ATTENTION_BACKEND",
        Status.WARN,
        "VLLM_ATTENTION_BACKEND is not read since 0.16",
        "The choice moved to an argument; vLLM now picks a backend by itself.",
        "Use --attention-backend, or remove it.",
        since=(0, 16, 0),
    ),
    Knob(
        "NCCL_SHM_DISABLE",
        Status.WARN,
        "NCCL_SHM_DISABLE=1 takes away NCCL's second path",
        "Where peer access is not possible, NCCL then falls to TCP sockets.",
        "Remove it; if shared memory is too small, run the container with --ipc=host.",
        values=("1", "true"),
        source=_NCCL,
    ),
    Knob(
        "NCCL_P2P_DISABLE",
        Status.WARN,
        "NCCL_P2P_DISABLE=1 sends GPU traffic through host memory",
        "Direct copies between GPUs are switched off, so every all-reduce passes the host.",
        "Remove it, unless peer access is proven broken on this host.",
        values=("1", "true"),
        source=_NCCL,
    ),
)


def parse_version(text: str | None) -> Version | None:
    """``0.32.0+cpu`` -> ``(0, 32, 0)``; ``None`` for what is not a version."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text or "")
    return tuple(int(part or 0) for part in match.groups()) if match else None


def review(settings: Mapping[str, t.Any], table: tuple[Knob, ...], version: Version | None) -> list[Knob]:
    """Rows of ``table`` that apply to ``settings`` under vLLM ``version``."""
    return [knob for knob in table if knob.applies(settings, version)]
