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
    """One row: setting ``name`` to one of ``values`` (any value if empty) is ``status`` because of ``consequence``."""

    name: str
    status: Status
    consequence: str
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
        "--kv-cache-dtype fp8_e4m3fn was never a valid value; the server refuses to start with it",
        "Use --kv-cache-dtype fp8_e4m3 (vllm_kv_cache_dtype: fp8_e4m3), or auto.",
        values=("fp8_e4m3fn",),
    ),
    Knob(
        "disable_log_requests",
        Status.FAIL,
        "--disable-log-requests was removed in 0.17.0; the server exits with 'unrecognized arguments'",
        "Remove it: requests are not logged by default since 0.10.1.",
        since=(0, 17, 0),
    ),
    Knob(
        "disable_log_requests",
        Status.WARN,
        "--disable-log-requests is deprecated and will stop the server after an upgrade to 0.17.0",
        "Remove it: requests are not logged by default since 0.10.1.",
        since=(0, 10, 1),
        before=(0, 17, 0),
    ),
    Knob(
        "num_scheduler_steps",
        Status.FAIL,
        "--num-scheduler-steps was removed in 0.10.1; the server exits with 'unrecognized arguments'",
        "Remove it: the V1 engine schedules every step without this cost.",
        since=(0, 10, 1),
    ),
    Knob(
        "swap_space",
        Status.FAIL,
        "--swap-space was removed in 0.18.0; the server exits with 'unrecognized arguments'",
        "Remove it: the V1 engine recomputes instead of swapping.",
        since=(0, 18, 0),
    ),
    Knob(
        "enforce_eager",
        Status.WARN,
        "--enforce-eager turns CUDA graphs off; every decode step then pays Python and launch overhead",
        "Remove it (vllm_enforce_eager: false) unless a crash in graph capture forces it.",
        values=("true",),
    ),
)

ENVIRONMENT: t.Final[tuple[Knob, ...]] = (
    *(
        Knob(
            name,
            Status.WARN,
            f"vLLM never read {name}: it is ignored, and from 0.17 reported as unknown",
            f"Use the flag --{name.removeprefix('VLLM_').lower().replace('_', '-')} (our role does it for you).",
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
        "vLLM never read VLLM_EXTRA_ARGS: the arguments in it are ignored",
        "Pass the arguments on the command line (vllm_extra_args).",
    ),
    Knob(
        "VLLM_USE_V1",
        Status.WARN,
        "VLLM_USE_V1 is gone since 0.11.1: it has no effect",
        "Remove it: V1 is the only engine.",
        since=(0, 11, 1),
    ),
    Knob(
        "VLLM_ATTENTION_BACKEND",
        Status.WARN,
        "VLLM_ATTENTION_BACKEND is no longer read since 0.16",
        "Use --attention-backend.",
        since=(0, 16, 0),
    ),
    Knob(
        "NCCL_SHM_DISABLE",
        Status.WARN,
        "NCCL_SHM_DISABLE=1 takes away the path that NCCL falls back to where P2P is not possible",
        "Remove it; give the container --ipc=host instead if shared memory is too small.",
        values=("1", "true"),
        source=_NCCL,
    ),
    Knob(
        "NCCL_P2P_DISABLE",
        Status.WARN,
        "NCCL_P2P_DISABLE=1 makes GPUs talk through host memory",
        "Remove it unless P2P is proven broken on this host.",
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
