# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM arguments and environment variables that are wrong, dead or harmful, by version, as data.

``review`` and ``review_all`` are pure: a deployment can ask them before it starts anything.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting_rule import (
    NCCL,
    IssueKind,
    SettingRule,
    Version,
    parse_version,
)

__all__ = ["ARGUMENTS", "ENVIRONMENT", "SettingRule", "IssueKind", "Version", "parse_version", "review", "review_all"]

_ON: t.Final = ("1", "true")
#: Values of NCCL_P2P_LEVEL that are NCCL_P2P_DISABLE by another name.
_NEVER_PEER: t.Final = ("loc", "0")
_EXITS: t.Final = "The server exits with 'unrecognized arguments'."
_KV_TYPES: t.Final = ("auto", "fp8", "fp8_e4m3", "fp8_e5m2")
#: Later ones, by the version below which they are known to be missing, with what to use there. Source: CacheDType in
#: vllm/config/cache.py of 19 releases from 0.8.5 to 0.33.0; ``x.y.1`` where ``x.y.0`` was the last that lacked them.
_NEWER_KV_TYPES: t.Final[dict[Version, tuple[tuple[str, ...], str]]] = {
    (0, 10, 0): (("fp8_inc",), "fp8"),
    (0, 11, 0): (("bfloat16",), "auto"),
    (0, 11, 1): (("fp8_ds_mla",), "auto"),
    (0, 17, 1): (("float16",), "auto"),
    (0, 18, 1): (
        (
            "fp8_per_token_head",
            "int8_per_token_head",
            "nvfp4",
            "turboquant_3bit_nc",
            "turboquant_4bit_nc",
            "turboquant_k3v4_nc",
            "turboquant_k8v4",
        ),
        "fp8",
    ),
    (0, 22, 1): (("int4_per_token_head",), "fp8"),
    (0, 25, 1): (("nvfp4_4over6",), "fp8"),
    (0, 28, 1): (("nvfp4_ds_mla", "ultraquant_4bit"), "fp8"),
    (0, 32, 1): (("octave_k3v3", "octave_k3v3_compact", "octave_k3v4"), "fp8"),
}

#: Shared memory below which a group of ranks in a container runs short; Docker's default is 64 MiB. Source: vLLM's
#: documentation asks for --ipc=host or a large --shm-size with tensor parallelism.
SHARED_MEMORY: t.Final = 2**30

ARGUMENTS: t.Final[tuple[SettingRule, ...]] = (
    SettingRule(
        name="kv_cache_dtype",
        verdict=IssueKind.INVALID,
        summary="--kv-cache-dtype fp8_e4m3fn is not a value that vLLM knows",
        cause="No version ever accepted it; the server refuses to start.",
        remedy="Use --kv-cache-dtype fp8_e4m3 (vllm_kv_cache_dtype: fp8_e4m3), or auto.",
        values=("fp8_e4m3fn",),
    ),
    *(
        SettingRule(
            name="kv_cache_dtype",
            verdict=IssueKind.TOO_NEW,
            summary=f"--kv-cache-dtype {' or '.join(values)} is too new for this version",
            cause="This version does not know it; the server refuses to start.",
            remedy=f"Use --kv-cache-dtype {instead} (vllm_kv_cache_dtype: {instead}), or a newer vLLM.",
            values=values,
            before=before,
        )
        for before, (values, instead) in _NEWER_KV_TYPES.items()
    ),
    SettingRule(
        name="kv_cache_dtype",
        verdict=IssueKind.INVALID,
        summary="this --kv-cache-dtype is not a value that this version knows",
        cause="The server refuses to start.",
        remedy="Use auto, fp8, fp8_e4m3 or fp8_e5m2 (vllm_kv_cache_dtype).",
        unless=(*_KV_TYPES, "fp8_e4m3fn", *(each for values, _instead in _NEWER_KV_TYPES.values() for each in values)),
        # From here on a platform can bring its own.
        before=(0, 33, 0),
    ),
    SettingRule(
        name="disable_log_requests",
        verdict=IssueKind.GONE,
        summary="--disable-log-requests is gone since 0.17.0",
        cause=_EXITS,
        remedy="Remove it: requests are not logged by default since 0.10.1.",
        since=(0, 17, 0),
        before=(0, 33, 0),
    ),
    # Back as the opposite of --enable-log-requests.
    SettingRule(
        name="disable_log_requests",
        verdict=IssueKind.REDUNDANT,
        summary="--disable-log-requests is so by itself",
        cause="Requests are not logged by default since 0.10.1.",
        remedy="Remove it.",
        since=(0, 33, 0),
    ),
    SettingRule(
        name="disable_log_requests",
        verdict=IssueKind.DEPRECATED,
        summary="--disable-log-requests is deprecated",
        cause="From 0.17.0 on the server exits with 'unrecognized arguments': the next upgrade stops it.",
        remedy="Remove it: requests are not logged by default since 0.10.1.",
        since=(0, 10, 1),
        before=(0, 17, 0),
    ),
    SettingRule(
        name="enable_log_requests",
        verdict=IssueKind.TOO_NEW,
        summary="--enable-log-requests came with 0.10.1",
        cause=_EXITS,
        remedy="Remove it: before 0.10.1 requests are logged unless --disable-log-requests is given.",
        before=(0, 10, 1),
    ),
    SettingRule(
        name="num_scheduler_steps",
        verdict=IssueKind.GONE,
        summary="--num-scheduler-steps is gone since 0.10.1",
        cause=_EXITS,
        remedy="Remove it: the V1 engine does not need it.",
        since=(0, 10, 1),
    ),
    SettingRule(
        name="swap_space",
        verdict=IssueKind.GONE,
        summary="--swap-space is gone since 0.18.0",
        cause=_EXITS,
        remedy="Remove it: the V1 engine recomputes instead of swapping.",
        since=(0, 18, 0),
    ),
    SettingRule(
        name="enable_chunked_prefill",
        verdict=IssueKind.REDUNDANT,
        summary="--enable-chunked-prefill is on by itself since 0.8.0",
        cause="The V1 engine always does it.",
        remedy="Remove it.",
        values=_ON,
        since=(0, 8, 0),
    ),
    SettingRule(
        name="enable_chunked_prefill",
        verdict=IssueKind.IGNORED,
        summary="--no-enable-chunked-prefill has no effect",
        cause="The V1 engine always cuts long prompts.",
        remedy="Remove it, or use vLLM 0.12 or newer, where it is an option again.",
        values=("false", "0"),
        since=(0, 8, 0),
        before=(0, 12, 0),
    ),
    SettingRule(
        name="enable_prefix_caching",
        verdict=IssueKind.REDUNDANT,
        summary="--enable-prefix-caching is on by itself since 0.8.0",
        cause="The V1 engine keeps what prompts begin with.",
        remedy="Remove it.",
        values=_ON,
        since=(0, 8, 0),
    ),
    SettingRule(
        name="attention_backend",
        verdict=IssueKind.TOO_NEW,
        summary="--attention-backend came with 0.13.0",
        cause=_EXITS,
        remedy="Set VLLM_ATTENTION_BACKEND (in vllm_environment), or let vLLM choose.",
        before=(0, 13, 0),
    ),
    SettingRule(
        name="enable_expert_parallel",
        verdict=IssueKind.TOO_NEW,
        summary="--enable-expert-parallel came with 0.8.0",
        cause=_EXITS,
        remedy="Use a newer vLLM, or --tensor-parallel-size alone.",
        before=(0, 8, 0),
    ),
    SettingRule(
        name="data_parallel_size",
        verdict=IssueKind.TOO_NEW,
        summary="--data-parallel-size came after 0.8.0",
        cause=_EXITS,
        remedy="Use a newer vLLM, or one server per replica.",
        before=(0, 8, 1),
    ),
    SettingRule(
        name="fail_on_environ_validation",
        verdict=IssueKind.TOO_NEW,
        summary="--fail-on-environ-validation came with 0.17.0",
        cause=_EXITS,
        remedy="Remove it: before 0.17 unknown variables are ignored.",
        before=(0, 17, 0),
    ),
    SettingRule(
        name="gpu_memory_utilization",
        verdict=IssueKind.INVALID,
        summary="--gpu-memory-utilization is a share of the GPU's memory, above 0 and at most 1",
        cause="The server refuses to start.",
        remedy="Use 0.9 (vllm_gpu_memory_utilization: 0.9).",
        above=1.0,
        below=0.01,
    ),
    SettingRule(
        name="gpu_memory_utilization",
        verdict=IssueKind.HARMFUL,
        summary="--gpu-memory-utilization leaves under 2 % of the memory free",
        cause="CUDA graphs, NCCL and a burst of requests have no room: the server runs out of memory.",
        remedy="Use 0.95 at most (vllm_gpu_memory_utilization: 0.95).",
        above=0.98,
    ),
)

#: Read by a wrapper of some images, never by vLLM: variable -> what to use.
_UNREAD: t.Final[dict[str, str]] = {
    **{
        name: f"Use --{name.removeprefix('VLLM_').lower().replace('_', '-')} ({name.lower()} of our role vllm)."
        for name in (
            "VLLM_TENSOR_PARALLEL_SIZE",
            "VLLM_MAX_NUM_SEQS",
            "VLLM_GPU_MEMORY_UTILIZATION",
            "VLLM_MAX_MODEL_LEN",
            "VLLM_KV_CACHE_DTYPE",
        )
    },
    "VLLM_EXTRA_ARGS": "Pass the arguments on the command line (vllm_extra_args of our role vllm).",
}

ENVIRONMENT: t.Final[tuple[SettingRule, ...]] = (
    *(
        SettingRule(
            name=name,
            verdict=IssueKind.IGNORED,
            summary=f"{name} is set, but vLLM does not read it",
            cause="It never did: the value is silently ignored, and from 0.17 reported as unknown.",
            remedy=remedy,
        )
        for name, remedy in _UNREAD.items()
    ),
    SettingRule(
        name="VLLM_USE_V1",
        verdict=IssueKind.IGNORED,
        summary="VLLM_USE_V1 has no effect since 0.11.1",
        cause="V1 is the only engine left.",
        remedy="Remove it.",
        since=(0, 11, 1),
    ),
    SettingRule(
        name="VLLM_USE_V1",
        verdict=IssueKind.HARMFUL,
        summary="VLLM_USE_V1=0 keeps the old engine",
        cause="The old engine is slower, and gone in 0.11.1.",
        remedy="Remove it.",
        values=("0", "false"),
        since=(0, 8, 0),
        before=(0, 11, 1),
    ),
    SettingRule(
        name="VLLM_USE_V1",
        verdict=IssueKind.REDUNDANT,
        summary="VLLM_USE_V1=1 is the default since 0.8.0",
        cause="The V1 engine is used anyway.",
        remedy="Remove it.",
        values=_ON,
        since=(0, 8, 0),
        before=(0, 11, 1),
    ),
    SettingRule(
        name="VLLM_ATTENTION_BACKEND",
        verdict=IssueKind.IGNORED,
        summary="VLLM_ATTENTION_BACKEND is not read since 0.16",
        cause="The choice moved to an argument; vLLM now picks a backend by itself.",
        remedy="Use --attention-backend, or remove it.",
        since=(0, 16, 0),
    ),
    SettingRule(
        name="VLLM_ATTENTION_BACKEND",
        verdict=IssueKind.DEPRECATED,
        summary="VLLM_ATTENTION_BACKEND gives way to --attention-backend",
        cause="From 0.16 on it is not read any more.",
        remedy="Use --attention-backend, or remove it.",
        since=(0, 13, 0),
        before=(0, 16, 0),
    ),
    SettingRule(
        name="VLLM_SKIP_P2P_CHECK",
        verdict=IssueKind.HARMFUL,
        summary="VLLM_SKIP_P2P_CHECK=1 trusts the driver's claim of peer access",
        cause="In a virtual machine the claim can be wrong; then tokens are garbage or the server hangs.",
        remedy="Remove it, or set it to 0, so that vLLM tests peer access itself.",
        values=_ON,
        before=(0, 10, 1),
    ),
    SettingRule(
        name="VLLM_SKIP_P2P_CHECK",
        verdict=IssueKind.REDUNDANT,
        summary="VLLM_SKIP_P2P_CHECK=1 is the default since 0.10.1",
        cause="vLLM trusts the driver anyway.",
        remedy="Remove it; in a virtual machine set it to 0.",
        values=_ON,
        since=(0, 10, 1),
    ),
    SettingRule(
        name="NCCL_CUMEM_ENABLE",
        verdict=IssueKind.IGNORED,
        summary="NCCL_CUMEM_ENABLE=1 has no effect before 0.10.2",
        cause="vLLM sets it to 0 itself up to 0.10.1.",
        remedy="Remove it, or use a newer vLLM.",
        values=_ON,
        before=(0, 10, 2),
    ),
    SettingRule(
        name="NCCL_CUMEM_ENABLE",
        verdict=IssueKind.REDUNDANT,
        summary="NCCL_CUMEM_ENABLE=0 is set by vLLM itself before 0.10.2",
        cause="vLLM sets it to 0 itself up to 0.10.1.",
        remedy="Remove it.",
        values=("0",),
        before=(0, 10, 2),
    ),
    SettingRule(
        name="NCCL_SHM_DISABLE",
        verdict=IssueKind.HARMFUL,
        summary="NCCL_SHM_DISABLE=1 takes away NCCL's second path",
        cause="Where peer access is not possible, NCCL then falls to TCP sockets.",
        remedy="Remove it; if shared memory is too small, run the container with --ipc=host.",
        values=_ON,
        source=NCCL,
    ),
    SettingRule(
        name="NCCL_P2P_DISABLE",
        verdict=IssueKind.HARMFUL,
        summary="NCCL_P2P_DISABLE=1 sends GPU traffic through host memory",
        cause="Direct copies between GPUs are switched off, so every all-reduce passes the host.",
        remedy="Remove it, unless peer access is proven broken on this host.",
        values=_ON,
        source=NCCL,
    ),
    SettingRule(
        name="NCCL_P2P_LEVEL",
        verdict=IssueKind.HARMFUL,
        summary="NCCL_P2P_LEVEL=LOC never lets GPUs talk directly",
        cause="It is NCCL_P2P_DISABLE by another name.",
        remedy="Remove it, or name the longest path that works (NVL, PIX, PXB, PHB, SYS).",
        values=_NEVER_PEER,
        source=NCCL,
    ),
    SettingRule(
        name="NCCL_P2P_LEVEL",
        verdict=IssueKind.IGNORED,
        summary="NCCL_P2P_LEVEL has a value that NCCL does not know",
        cause="NCCL falls back to its own choice.",
        remedy="Use LOC, NVL, PIX, PXB, PHB or SYS, or remove it.",
        unless=("loc", "nvl", "pix", "pxb", "phb", "sys", "0", "1", "2", "3", "4", "5"),
        source=NCCL,
    ),
    SettingRule(
        name="NCCL_DEBUG",
        verdict=IssueKind.HARMFUL,
        summary="NCCL_DEBUG=TRACE logs every call",
        cause="Each collective writes lines, which slows the server and fills the disk.",
        remedy="Use INFO to see the transports, WARN otherwise.",
        values=("trace",),
        source=NCCL,
    ),
    SettingRule(
        name="NCCL_DEBUG",
        verdict=IssueKind.IGNORED,
        summary="NCCL_DEBUG has a value that NCCL does not know",
        cause="NCCL logs nothing.",
        remedy="Use VERSION, WARN, INFO or TRACE.",
        unless=("version", "warn", "info", "abort", "trace"),
        source=NCCL,
    ),
)


@dataclass(frozen=True)
class Together:
    """Settings that draw a verdict only together; ``instead_of`` names variables whose own rows it replaces."""

    knob: SettingRule
    holds: Callable[[Mapping[str, t.Any], Mapping[str, t.Any], Version | None], bool]
    instead_of: tuple[str, ...] = ()


def _on(settings: Mapping[str, t.Any], *names: str) -> bool:
    return all(str(settings.get(name, "")).strip().lower() in _ON for name in names)


def _number(settings: Mapping[str, t.Any], name: str) -> int:
    text = str(settings.get(name) or 1)
    return int(text) if text.isdigit() else 1


TOGETHER: t.Final[tuple[Together, ...]] = (
    Together(
        SettingRule(
            name="NCCL_P2P_DISABLE",
            verdict=IssueKind.CONFLICT,
            summary="NCCL_P2P_DISABLE and NCCL_SHM_DISABLE are both set",
            cause="With both paths off, every all-reduce between the GPUs goes through TCP sockets.",
            remedy="Remove both; keep at most NCCL_P2P_DISABLE=1, and only where P2P is proven broken.",
            source=NCCL,
        ),
        lambda arguments, environment, version: _on(environment, "NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE"),
        ("NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE"),
    ),
    Together(
        SettingRule(
            name="NCCL_P2P_LEVEL",
            verdict=IssueKind.CONFLICT,
            summary="NCCL_P2P_LEVEL=LOC and NCCL_SHM_DISABLE are both set",
            cause="LOC switches peer access off; without shared memory too, every all-reduce between the GPUs goes "
            "through TCP sockets.",
            remedy="Remove both; keep at most NCCL_P2P_LEVEL=LOC, and only where P2P is proven broken.",
            source=NCCL,
        ),
        lambda arguments, environment, version: (
            _on(environment, "NCCL_SHM_DISABLE")
            and not _on(environment, "NCCL_P2P_DISABLE")
            and str(environment.get("NCCL_P2P_LEVEL", "")).strip().lower() in _NEVER_PEER
        ),
        ("NCCL_P2P_LEVEL", "NCCL_SHM_DISABLE"),
    ),
    Together(
        SettingRule(
            name="max_num_batched_tokens",
            verdict=IssueKind.INVALID,
            summary="--max-num-batched-tokens is below --max-num-seqs",
            cause="A step has at least one token for each stream; the server refuses to start.",
            remedy="Raise --max-num-batched-tokens (vllm_max_num_batched_tokens), or lower --max-num-seqs.",
        ),
        lambda arguments, environment, version: (
            {"max_num_batched_tokens", "max_num_seqs"} <= set(arguments)
            and _number(arguments, "max_num_batched_tokens") < _number(arguments, "max_num_seqs")
        ),
    ),
    Together(
        SettingRule(
            name="NCCL_IB_DISABLE",
            verdict=IssueKind.HARMFUL,
            summary="NCCL_IB_DISABLE=1 with ranks on several nodes",
            cause="Between the nodes everything goes through TCP sockets, even where there is InfiniBand.",
            remedy="Remove it where the nodes have InfiniBand or RoCE.",
            source=NCCL,
        ),
        lambda arguments, environment, version: (
            _on(environment, "NCCL_IB_DISABLE") and _number(arguments, "nnodes") > 1
        ),
    ),
    Together(
        SettingRule(
            name="fail_on_environ_validation",
            verdict=IssueKind.CONFLICT,
            summary="--fail-on-environ-validation with variables that vLLM does not know",
            cause="The server refuses to start.",
            remedy="Remove the variables that vLLM does not read; use its flags.",
            since=(0, 17, 0),
        ),
        lambda arguments, environment, version: bool(
            arguments.get("fail_on_environ_validation")
            and set(_UNREAD) & set(environment)
            and (version or ()) >= (0, 17, 0)
        ),
        tuple(_UNREAD),
    ),
    Together(
        SettingRule(
            name="disable_custom_all_reduce",
            verdict=IssueKind.REDUNDANT,
            summary="--disable-custom-all-reduce matters with two GPUs only",
            cause="Without NVLink vLLM turns its own all-reduce off by itself for more than two GPUs.",
            remedy="Keep or remove it: it makes no difference here.",
        ),
        lambda arguments, environment, version: bool(
            arguments.get("disable_custom_all_reduce") and _number(arguments, "tensor_parallel_size") > 2
        ),
    ),
)


def review(settings: Mapping[str, t.Any], table: tuple[SettingRule, ...], version: Version | None) -> list[SettingRule]:
    """Rows of ``table`` that apply to ``settings`` under vLLM ``version`` and are worth a word: not the redundant."""
    return [knob for knob in table if knob.verdict is not IssueKind.REDUNDANT and knob.applies(settings, version)]


def redundant(
    settings: Mapping[str, t.Any], table: tuple[SettingRule, ...], version: Version | None
) -> list[SettingRule]:
    """Rows about settings that are so by themselves: harmless, and good to know."""
    return [knob for knob in table if knob.verdict is IssueKind.REDUNDANT and knob.applies(settings, version)]


def together(
    arguments: Mapping[str, t.Any], environment: Mapping[str, t.Any], version: Version | None
) -> list[Together]:
    """Combinations that hold."""
    return [row for row in TOGETHER if row.holds(arguments, environment, version)]


def review_all(
    arguments: Mapping[str, t.Any], environment: Mapping[str, t.Any], version: Version | None
) -> list[SettingRule]:
    """Everything worth a word about a server's settings, combinations in place of their parts."""
    combined = [row for row in together(arguments, environment, version) if row.knob.verdict is not IssueKind.REDUNDANT]
    replaced = {name for row in combined for name in row.instead_of}
    apart = {name: value for name, value in environment.items() if name not in replaced}
    return [
        *(row.knob for row in combined),
        *review(arguments, ARGUMENTS, version),
        *review(apart, ENVIRONMENT, version),
    ]


def container(ranks: int, ipc_mode: str | None, shm_size: int | None) -> SettingRule | None:
    """What is to be said about the shared memory (bytes) of a container that runs ``ranks`` ranks on one node."""
    if ranks < 2 or shm_size is None or shm_size >= SHARED_MEMORY or ipc_mode == "host":
        return None
    return SettingRule(
        name="shm_size",
        verdict=IssueKind.HARMFUL,
        summary=f"the container has {shm_size // 2**20} MiB of shared memory for {ranks} ranks",
        cause="NCCL and the workers run short of /dev/shm: the server fails at start, or falls back to TCP sockets.",
        remedy="Run it with --ipc=host (vllm_ipc_mode: host) or --shm-size=16g (vllm_shm_size: 16g).",
        source="vLLM documentation, tensor parallelism in containers; Docker's default is 64 MiB",
    )
