# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tuning presets as data: what ``throughput``, ``latency`` and ``context`` mean in each vLLM version, and why.

A row holds in the versions ``since <= version < before``, so that a preset never contains an argument that its
version does not know. Source: vLLM's optimisation guide, and the releases 0.6.3 to 0.33.0 for the versions.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import Setting

Version = tuple[int, ...]

#: GPUs of compute capability 7.5, which have no 8-bit floating point in any form that vLLM's attention can use.
WITHOUT_FP8: t.Final = ("Quadro RTX", "Tesla T4")


@dataclass(frozen=True)
class Row:
    """One argument of a preset."""

    name: str
    value: t.Any
    why: str
    since: Version = ()
    before: Version | None = None
    needs_fp8: bool = False

    def holds(self, version: Version) -> bool:
        return self.since <= version and (self.before is None or version < self.before)


#: The V1 engine (0.8.0) does both by itself.
_CHUNKED: t.Final = Row(
    "enable_chunked_prefill",
    True,
    "Long prompts are cut, so that they do not hold up the streams that are generating. On by itself from 0.8.0.",
    before=(0, 8, 0),
)
_PREFIX: t.Final = Row(
    "enable_prefix_caching",
    True,
    "What many prompts begin with is computed once. On by itself from 0.8.0.",
    before=(0, 8, 0),
)
_QUIET: t.Final = Row(
    "disable_log_requests",
    True,
    "One log line a request costs time and shows prompts. Requests are not logged by themselves from 0.10.1.",
    before=(0, 10, 1),
)

PROFILES: t.Final[dict[str, tuple[Row, ...]]] = {
    "throughput": (
        Row("max_num_seqs", 256, "Many streams share each reading of the weights: more tokens per second in all."),
        Row("max_num_batched_tokens", 8192, "Large prefill steps use the GPUs' compute fully."),
        Row("gpu_memory_utilization", 0.95, "More KV cache, so that more streams fit before they are preempted."),
        _CHUNKED,
        _PREFIX,
        _QUIET,
    ),
    "latency": (
        Row("max_num_seqs", 32, "Few streams at a time: each step is short, so tokens follow each other quickly."),
        Row("max_num_batched_tokens", 2048, "A prompt of another user delays a running stream by one small step only."),
        Row("gpu_memory_utilization", 0.9, "The KV cache of 32 streams needs no more; the rest is safety."),
        _CHUNKED,
        _PREFIX,
        _QUIET,
    ),
    "context": (
        Row("max_num_seqs", 16, "A long context takes the KV cache of many short ones."),
        Row("max_num_batched_tokens", 4096, "Long prompts are read in steps that leave room for the streams."),
        Row("gpu_memory_utilization", 0.95, "All memory that is left holds context."),
        Row(
            "kv_cache_dtype",
            "fp8_e4m3",
            "Half the bytes a token: twice the context. (fp8_e4m3fn is PyTorch's name; vLLM never accepted it.)",
            needs_fp8=True,
        ),
        _CHUNKED,
        _PREFIX,
        _QUIET,
    ),
}


class UnknownProfile(ValueError):
    """There is no preset of this name."""


def settings_of(profile: str, version: Version, gpu_names: Iterable[str] = ()) -> list[Setting]:
    """The preset's settings for vLLM ``version`` on GPUs of these names.

    :raises UnknownProfile: naming those that there are.
    """
    if profile not in PROFILES:
        raise UnknownProfile(f"no profile {profile!r}; there are {', '.join(PROFILES)}")
    without_fp8 = any(mark in name for name in gpu_names for mark in WITHOUT_FP8)
    return [
        Setting(row.name, row.value, f"profile {profile}: {row.why}")
        for row in PROFILES[profile]
        if row.holds(version) and not (row.needs_fp8 and without_fp8)
    ]
