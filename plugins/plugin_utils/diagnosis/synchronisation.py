# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Diagnose slow GPUs that wait for each other or for the host, or that are slow for no known reason.

Source: multi-GPU guide, issue 4.
"""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import DiagnosisContext, figures, listed
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis, conclude
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import gpus, limits, utilisation
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.nccl import IB_DISABLE, nccl_settings

#: Minimum mean utilisation, as a percentage, of a GPU that counts as fully busy. A GPU that waits in NCCL also looks
#: busy, because NCCL polls while it waits.
FULL: t.Final = 80.0

#: A GPU counts as a straggler if its clock is below this fraction of the lowest clock among the other GPUs.
_STRAGGLER_CLOCK: t.Final = 0.85

#: First vLLM version in which chunked prefill is always on, and first one in which it can be turned off again. Source:
#: vLLM, V1 engine.
_CHUNKED_PREFILL_SINCE: t.Final = (0, 8, 0)
_CHUNKED_PREFILL_OPTIONAL_SINCE: t.Final = (0, 12, 0)

_ACTIVE: t.Final = "utilisation.active"
_SYNCHRONISED: t.Final = "utilisation.synchronised"


def waiting(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose GPUs that wait for each other: they are not synchronised, or look fully busy but are far too slow."""
    apart = context.unexplained(_SYNCHRONISED)
    slow = context.unexplained(*context.slow)
    group = utilisation.members(context.node, context.utilisation)
    share_work = any(len(members) > 1 for members in utilisation.tensor_groups(context.node, group))
    # The stages of a pipeline over several nodes also look busy while they wait for the network between the nodes.
    full = share_work and not context.node.spans_nodes and all(context.utilisation[index] >= FULL for index in group)
    if not apart and not (full and context.any_fails(*slow)):
        return None
    straggler = _straggler(context)
    return conclude(
        "gpus.waiting",
        confidence="high" if apart and slow else "medium",
        evidence=(*_waiting_evidence(context), *context.speed_evidence()),
        gain=context.recovery(),
        findings=(*apart, *slow),
        straggler=f" GPU {straggler} is behind the others." if straggler is not None else "",
        settings=" ".join((_streams_advice(slow), *_prefill_advice(context), _nccl_advice(context))),
    )


def _streams_advice(slow: tuple[str, ...]) -> str:
    if slow:
        return "A lower --max-num-seqs does not help, because one stream alone is slow."
    return "A lower --max-num-seqs (vllm_max_num_seqs) shortens each step, but also lowers the speed of all streams."


def _prefill_advice(context: DiagnosisContext) -> t.Iterator[str]:
    """Yield advice about chunked prefill for the server's vLLM version, unless the version is unknown."""
    version, enabled = context.node.version, context.node.argument("enable_chunked_prefill")
    if version is None:
        return
    if version >= _CHUNKED_PREFILL_SINCE and (enabled is not False or version < _CHUNKED_PREFILL_OPTIONAL_SINCE):
        yield "Chunked prefill is already on (the default since vLLM 0.8.0)."
    elif not enabled:
        yield "Turn on chunked prefill (--enable-chunked-prefill), so that a long prompt does not delay other streams."


def _nccl_advice(context: DiagnosisContext) -> str:
    """Return the NCCL variables that this node needs and lacks, or else those that are set without need."""
    node = context.node
    settings = nccl_settings(
        node.gpu_facts.get("topology"),
        (node.tensor_parallel_size or context.gpu_count) * node.stages,
        node.version or (),
        node.nccl_bandwidth.data.get("bandwidth"),
        replicas=node.replicas,
        stages=node.stages,
        peer_data=node.peer_data.data,
    )
    needed = {item.name: item for item in settings.environment}
    debug = [name for name in (*needed, *(node.environment or {})) if name.startswith("NCCL_DEBUG")]
    lacking = [item for name, item in needed.items() if name not in debug and node.variable(name) != item.value]
    if lacking:
        return " ".join(f"Set {item.name}={item.value} (vllm_environment): {item.why}" for item in lacking)
    # The role sets this variable if the node has no InfiniBand device, which the facts of the node do not contain.
    known = (*needed, *debug, IB_DISABLE.name)
    extra = [name for name in node.environment or {} if name.startswith("NCCL_") and name not in known]
    if extra:
        return f"Remove {listed(extra)} (vllm_environment) for a test: NCCL chooses the fastest path by itself."
    return "" if node.environment is None else "The NCCL variables need no change."


def _waiting_evidence(context: DiagnosisContext) -> t.Iterator[str]:
    spread = next(iter(context.all(_SYNCHRONISED)), None)
    correlation = ((context.node.load.data.get("gpu_samples") or {}).get("synchronisation") or {}).get("correlation")
    yield f"utilisation: {figures(context.utilisation, '%')}"
    if spread is not None and spread.measured is not None:
        yield f"spread: {spread.measured} {spread.unit}"
    if correlation is not None:
        yield f"correlation of the samples: {correlation:.2f}"
    if context.power_share:
        yield f"power draw relative to the limit: {figures(context.power_share, '%')}"


def _straggler(context: DiagnosisContext) -> int | None:
    """Return the index of the GPU whose clock rate under load is far below that of every other GPU, or None."""
    clocks: dict[int, list[float]] = {}
    for sample in context.node.samples:
        for gpu in sample["gpus"]:
            clock = (gpu.get("clocks") or {}).get("sm")
            if clock and (gpu.get("utilization_gpu") or 0) >= limits.BUSY.value:
                clocks.setdefault(int(gpu["index"]), []).append(float(clock))
    means = {index: sum(values) / len(values) for index, values in clocks.items()}
    if len(means) < 2:
        return None
    slowest = min(means, key=means.__getitem__)
    others = [value for index, value in means.items() if index != slowest]
    return slowest if means[slowest] < _STRAGGLER_CLOCK * min(others) else None


def uneven_work(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a GPU that stays idle during the load test although it holds a part of the model."""
    active = context.worst_finding(_ACTIVE)
    if active is None or active.status is not Status.FAIL or _ACTIVE in context.explained or context.down:
        return None
    replicas = context.node.replicas
    holding = gpus.holders(gpus.memory_used(context.node))
    return conclude(
        "gpus.idle_under_load",
        "replicas" if replicas > 1 else None,
        confidence="medium" if replicas > 1 else "low",
        evidence=(
            active.summary,
            f"utilisation: {figures(context.utilisation, '%')}",
            f"GPUs with a part of the model: {len(holding)}",
        ),
        findings=(_ACTIVE, *context.unexplained(_SYNCHRONISED, *context.slow)),
        replicas=replicas,
    )


def host_bound(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose GPUs that are all idle at the same time for more than half of the load test."""
    active = context.worst_finding(_ACTIVE)
    if active is None or active.status is not Status.WARN or _ACTIVE in context.explained or context.down:
        return None
    slow = context.unexplained(*context.slow)
    return conclude(
        "gpus.host_bound",
        confidence="high" if slow else "low",
        evidence=(f"utilisation: {figures(context.utilisation, '%')}", *context.speed_evidence()),
        gain=context.recovery(),
        findings=(_ACTIVE, *slow),
        finding=active,
    )


def too_much_expected(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose an expected throughput that even fault-free hardware cannot reach."""
    check = "performance.throughput"
    throughput, roofline = context.worst_finding(check), next(iter(context.all("performance.roofline")), None)
    if throughput is None or roofline is None or roofline.status is not Status.PASS:
        return None
    if check not in context.unexplained(*context.slow):
        return None
    return conclude(
        "performance.too_much_expected",
        confidence="high",
        evidence=(f"roofline: {roofline.summary}",),
        findings=(check,),
        expected=throughput.expected,
        possible=roofline.expected,
    )


def unexplained(context: DiagnosisContext) -> Diagnosis | None:
    """Diagnose a slow node if no other rule explains why it is slow."""
    slow = context.unexplained(*context.slow)
    if not slow:
        return None
    return conclude(
        "performance.unexplained",
        confidence="low",
        evidence=context.speed_evidence(),
        gain=context.recovery(),
        findings=slow,
    )
