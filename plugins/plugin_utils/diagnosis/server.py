# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Diagnose server faults: a rejected configuration, a hang, a crash, or settings that have no effect."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.units import counted
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import (
    LIVENESS,
    THROUGHPUT,
    DiagnosisContext,
    conclude_from_log,
    listed,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis, conclude
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import show_version

#: Fault classes that are only symptoms of a failure and never its cause.
_CONSEQUENCES: t.Final = (
    "engine_failed nccl_system_error nccl_cuda_error nccl_remote_error nccl_internal_error nccl_invalid_usage"
).split()

#: Fault classes that have their own rule in this package, or that are not a fault of this node.
_WITH_RULES: t.Final = (
    "xid cuda_oom gpu_memory_busy host_oom kv_cache_too_small kv_preemption nccl_duplicate_gpu invalid_device_ordinal "
    "nccl_p2p_unavailable nccl_shm nccl_timeout worker_hang startup_hang vllm_config_error transport_net_socket "
    "custom_allreduce_disabled"
).split()

#: State of a process that cannot run, from /proc/PID/stat -> case in data/causes.yml, or None for a dead process.
_STUCK: t.Final = {"T": "stopped", "t": "stopped", "Z": None, "X": None, "D": "blocked"}
#: Message of vLLM's executor; the number is the rank.
_DIED: t.Final = re.compile(r"Worker proc VllmWorker-(\d+) died unexpectedly")

_HANGS: t.Final = ("nccl_timeout", "worker_hang", "startup_hang")
#: Diagnoses that explain why a collective hangs.
_HANG_CAUSES: t.Final = (
    "gpu.missing",
    "container.shared_memory",
    "memory.gpu_out_of_memory",
    "server.worker_stopped",
    "server.sleeping",
)
_SETTINGS: t.Final = ("configuration.arguments", "configuration.environment")


def shared_memory(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose shared memory (/dev/shm) that is too small for vLLM's worker processes."""
    return conclude_from_log(context, "nccl_shm", "container.shared_memory", "nccl.errors")


def refused(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a configuration that vLLM rejected."""
    if "vllm_config_error" not in context.faults or context.has_diagnosis("tensor_parallel.model_does_not_fit"):
        return None
    settings = [item for item in context.all("configuration.arguments") if item.wrong and item.evidence.get("verdict")]
    return conclude(
        "configuration.refused",
        "known_setting" if settings else None,
        confidence="high",
        evidence=(context.quote("vllm_config_error"), *(f"{item.measured}: {item.summary}" for item in settings)),
        findings=(*context.wrong("configuration.arguments", "nccl.errors"), *context.outage_checks),
        finding=settings[0] if settings else None,
    )


def settings(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose invalid, ignored or harmful settings that are not part of an earlier diagnosis."""
    checks = context.unexplained(*_SETTINGS)
    issues = [item for check in checks for item in context.all(check) if item.remedy and item.measured]
    if not issues:
        return None
    return conclude(
        "configuration.settings",
        confidence="high",
        evidence=(str(item.measured) for item in issues),
        findings=checks,
        count=counted(len(issues), "setting"),
        verb="is" if len(issues) == 1 else "are",
        version=show_version(context.node.version),
        summaries=listed([item.summary for item in issues]),
        remedies=" ".join(str(item.remedy) for item in issues),
    )


def sleeping(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose an engine that sleeps. Its workers wait for work, which vLLM logs like a hang."""
    if not context.node.asleep:
        return None
    only_hangs = set(_HANGS).issuperset(context.faults)
    return conclude(
        "server.sleeping",
        confidence="high",
        evidence=("/is_sleeping: true",),
        findings=(*(context.wrong("nccl.errors") if only_hangs else ()), *context.outage_checks),
        finding=context.worst_finding("performance.throughput"),
    )


def corrupted(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose requests whose output is meaningless, because the model computed NaN."""
    checks = context.unexplained(*context.computes_nan)
    if not checks:
        return None
    (throughput,) = context.worst_findings(*checks)
    return conclude(
        "server.corrupted", confidence="high", evidence=(throughput.summary,), findings=checks, finding=throughput
    )


def worker_stopped(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a worker process that cannot run or leaves the others waiting, while the server sends no responses."""
    workers = context.node.tensor_parallel.data.get("workers") or ()
    stopped = [worker for worker in workers if worker.get("state") in _STUCK]
    stuck = stopped or [worker for worker in workers if worker.get("nccl")]
    if not context.down or not stuck:
        return None
    names = listed([_worker_name(worker) for worker in stuck])
    return conclude(
        "server.worker_stopped",
        _STUCK[stuck[0]["state"]] if stopped else "silent",
        confidence="high",
        evidence=map(_state, stuck),
        findings=(*context.wrong("nccl.errors"), *context.outage_checks),
        workers=names[0].upper() + names[1:],
        pids=" ".join(str(worker["pid"]) for worker in stuck),
    )


def _state(worker: Mapping[str, t.Any]) -> str:
    report = f"; NCCL RAS: {worker['nccl']}" if worker.get("nccl") else ""
    return f"{worker['title']}: pid {worker['pid']}, state {worker['state']}{report}"


def _worker_name(worker: Mapping[str, t.Any]) -> str:
    ranks = worker.get("ranks") or {}
    rank = ranks["TP"] if list(ranks) == ["TP"] else " ".join(f"{kind}{number}" for kind, number in ranks.items())
    gpu = f"GPU {worker['gpu']}, " if worker.get("gpu") is not None else ""
    return f"rank {rank} ({gpu}pid {worker['pid']})"


def worker_died(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a worker process that ended without an error in the log."""
    lines = [str(item.get("line")) for item in context.node.logs.data.get("findings") or ()]
    died = next((match for line in lines if (match := _DIED.search(line))), None)
    if died is None or context.diagnoses or not set(_CONSEQUENCES).issuperset(context.faults):
        return None
    return conclude(
        "server.worker_died",
        confidence="high",
        evidence=(f"log: {died[0]}",),
        findings=(*context.wrong("nccl.errors"), *context.outage_checks),
        rank=died[1],
    )


def hangs(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a hung collective operation: the server accepts requests but never responds to them."""
    faults = [name for name in _HANGS if name in context.faults]
    timed_out = "nccl_timeout" in faults
    if not faults or not (context.down or timed_out):
        return None
    if context.has_diagnosis(*_HANG_CAUSES):
        return None
    return conclude(
        "server.hangs",
        "peer_access_disabled" if context.node.is_set("NCCL_P2P_DISABLE") else None,
        confidence="high" if timed_out else "medium",
        evidence=(context.quote(name) for name in faults),
        findings=(*context.wrong("nccl.errors"), *context.outage_checks),
    )


def logged(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a root cause that the logs report and that no other rule covers."""
    others = (name for name in context.faults if name not in _WITH_RULES and name not in _CONSEQUENCES)
    name = next(others, None)
    if name is None:
        return None
    fault = FAULTS[name]
    return conclude(
        "log.NAME",
        name=name,
        confidence="high" if context.faults[name].get("status") == "fail" else "medium",
        evidence=(context.quote(name),),
        findings=(*context.unexplained(fault.check), *(context.outage_checks if not context.diagnoses else ())),
        fault=fault,
    )


def crashed(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a vLLM engine failure whose root cause is not in the logs."""
    name = next((name for name in _CONSEQUENCES if name in context.faults), None)
    unexplained = context.unexplained("nccl.errors")
    if name is None or not unexplained:
        return None
    fault = FAULTS[name]
    return conclude(
        "server.crashed",
        None if "NCCL_DEBUG" in fault.remedy else "without_details",
        confidence="low",
        evidence=(context.quote(name),),
        findings=(*unexplained, *context.unexplained(*context.outage_checks)),
        fault=fault,
    )


def down(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose an unresponsive server if no other rule explains why it does not respond."""
    unexplained = context.unexplained(*context.outage_checks)
    finding = next(iter(context.worst_findings(LIVENESS, THROUGHPUT)), None)
    if not context.down or finding is None or finding.check not in unexplained:
        return None
    stopped = bool(context.node.engine.get("ready")) and finding.measured == "connection_refused"
    stalled = finding.check == LIVENESS
    return conclude(
        "server.down",
        "stalled" if stalled else "stopped" if stopped else None,
        confidence="medium" if stalled or stopped else "low",
        evidence=(finding.summary,),
        findings=unexplained,
        finding=finding,
    )
