# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server: refused, hanging, gone, or started with settings that do not do what they say."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import Case, listed
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.remedies import SHARED_MEMORY, variable

#: Faults of the logs that say no more than that something ended; they are never a cause.
_CONSEQUENCES: t.Final = (
    "engine_failed",
    "nccl_system_error",
    "nccl_cuda_error",
    "nccl_remote_error",
    "nccl_internal_error",
    "nccl_invalid_usage",
)

#: Faults that have a rule of their own here or in another family, or are no faults of this node.
_OWN_RULES: t.Final = (
    "xid",
    "cuda_oom",
    "gpu_memory_busy",
    "host_oom",
    "kv_cache_too_small",
    "kv_preemption",
    "nccl_duplicate_gpu",
    "invalid_device_ordinal",
    "nccl_p2p_unavailable",
    "nccl_shm",
    "nccl_timeout",
    "worker_hang",
    "startup_hang",
    "vllm_config_error",
    "transport_net_socket",
    "custom_allreduce_disabled",
)

_HANGS: t.Final = ("nccl_timeout", "worker_hang", "startup_hang")
_ERRORS: t.Final = ("nccl.errors",)
_SETTINGS: t.Final = ("configuration.arguments", "configuration.environment")


def shared_memory(case: Case) -> Diagnosis | None:
    """/dev/shm is too small for the ranks."""
    if "nccl_shm" not in case.faults:
        return None
    return Diagnosis(
        id="container.shared_memory",
        title="The container's shared memory is too small",
        cause="NCCL and the workers exchange data through /dev/shm, of which a container has 64 MB by default.",
        confidence="high",
        evidence=(case.quote("nccl_shm"),),
        remedy=f"{SHARED_MEMORY[0].upper()}{SHARED_MEMORY[1:]}; then start vLLM again.",
        findings=(*case.wrong(*_ERRORS), *case.silence),
    )


def refused(case: Case) -> Diagnosis | None:
    """vLLM did not accept its configuration."""
    if "vllm_config_error" not in case.faults or case.has("tensor_parallel.model_does_not_fit"):
        return None
    dead = [item for item in case.all("configuration.arguments") if item.remedy and item.measured]
    return Diagnosis(
        id="configuration.refused",
        title="vLLM refused its configuration",
        cause="An argument, the model or the parallel size does not fit this vLLM version, this model or this node.",
        confidence="high",
        evidence=(case.quote("vllm_config_error"), *(f"{item.measured}: {item.summary}" for item in dead)),
        remedy=str(dead[0].remedy) if dead else "Correct the argument that the log line names, then start vLLM again.",
        findings=(*case.wrong("configuration.arguments", *_ERRORS), *case.silence),
    )


def settings(case: Case) -> Diagnosis | None:
    """Arguments and variables that are wrong, dead or harmful in this version, and explain nothing worse."""
    checks = case.unexplained(*_SETTINGS)
    if not checks:
        return None
    # What the logs say about the configuration is no setting of its own.
    found = [item for check in checks for item in case.all(check) if item.remedy and item.measured]
    if not found:
        return None
    version = ".".join(map(str, case.version)) if case.version else "of unknown version"
    return Diagnosis(
        id="configuration.settings",
        title=f"{len(found)} setting{'s' if len(found) > 1 else ''} of vLLM {version} "
        f"{'are' if len(found) > 1 else 'is'} wrong, dead or harmful",
        cause=listed([item.summary for item in found]) + ".",
        confidence="high",
        evidence=tuple(str(item.measured) for item in found),
        remedy=" ".join(str(item.remedy) for item in found),
        findings=checks,
    )


def hangs(case: Case) -> Diagnosis | None:
    """A collective that never ends: requests are accepted and not answered."""
    seen = [name for name in _HANGS if name in case.faults]
    timed_out = "nccl_timeout" in seen
    if not seen or not (case.down or timed_out):
        return None
    if case.has("gpu.missing", "container.shared_memory", "memory.gpu_out_of_memory"):
        return None
    off = case.is_set("NCCL_P2P_DISABLE")
    remedy = (
        "Take a stack of the workers (py-spy dump --pid PID), restart vLLM, and look for Xid errors in the kernel log."
        if off
        else f"Suspect peer access first, which virtual machines claim and do not always have: set "
        f"{variable('NCCL_P2P_DISABLE', 1)} and --disable-custom-all-reduce (in vllm_extra_args), then restart vLLM."
    )
    return Diagnosis(
        id="server.hangs",
        title="The workers hang in a collective",
        cause="A rank waits for data that never comes: the path between the GPUs does not carry it, or a rank is gone.",
        confidence="high" if timed_out else "medium",
        evidence=tuple(case.quote(name) for name in seen),
        remedy=remedy,
        findings=(*case.wrong(*_ERRORS), *case.silence),
    )


def logged(case: Case) -> Diagnosis | None:
    """Any other root cause that the logs name."""
    known = (name for name in case.faults if name not in _OWN_RULES and name not in _CONSEQUENCES)
    name = next(known, None)
    if name is None:
        return None
    meaning = FAULTS[name]
    return Diagnosis(
        id=f"log.{name}",
        title=meaning.summary,
        cause=meaning.cause,
        confidence="high" if case.faults[name].get("status") == "fail" else "medium",
        evidence=(case.quote(name),),
        remedy=meaning.remedy,
        findings=(*case.unexplained(meaning.check), *(case.silence if not case.found else ())),
    )


def crashed(case: Case) -> Diagnosis | None:
    """The logs show how it ended, and not why."""
    name = next((name for name in _CONSEQUENCES if name in case.faults), None)
    open_checks = case.unexplained(*_ERRORS)
    if name is None or not open_checks:
        return None
    return Diagnosis(
        id="server.crashed",
        title="The engine failed, and the log does not say why",
        cause=FAULTS[name].cause,
        confidence="low",
        evidence=(case.quote(name),),
        remedy=f"{FAULTS[name].remedy} Start once with {variable('NCCL_DEBUG', 'INFO')} to see more.",
        findings=(*open_checks, *(check for check in case.silence if check not in case.explained)),
    )


def down(case: Case) -> Diagnosis | None:
    """No answer, and nothing else explains it."""
    found = case.first("performance.throughput")
    if not case.down or found is None or "performance.throughput" in case.explained:
        return None
    ended = bool(case.node.engine.get("ready")) and found.measured == "connection_refused"
    return Diagnosis(
        id="server.down",
        title="The server does not answer",
        cause="It had started, and was stopped or killed since: its log just ends." if ended else str(found.cause),
        confidence="medium" if ended else "low",
        evidence=(found.summary,),
        remedy="Look at how it ended (journalctl, docker logs), then start it again." if ended else str(found.remedy),
        findings=tuple(check for check in case.silence if check not in case.explained),
    )
