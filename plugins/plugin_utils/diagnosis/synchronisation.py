# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Busy and slow: GPUs that wait for each other (guide issue 4), and slowness that nothing explains."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.context import Case, figures
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import gpus, utilisation

#: Mean utilisation from which a GPU counts as fully busy. NCCL spins while it waits, which the driver counts as work.
FULL: t.Final = 80.0

_CHECK: t.Final = "utilisation.synchronised"


def waiting(case: Case) -> Diagnosis | None:
    """The GPUs are busy with waiting: out of step, or fully used at a fraction of the speed."""
    apart = case.unexplained(_CHECK)
    slow = case.unexplained(*case.slow)
    group = utilisation.members(case.node, case.utilisation)
    share_work = any(len(replica) > 1 for replica in utilisation.replicas(case.node, group))
    full = share_work and all(case.utilisation[index] >= FULL for index in group)
    failing = any(item.status is Status.FAIL for check in slow if (item := case.first(check)) is not None)
    if not apart and not (full and failing):
        return None
    spread = case.all(_CHECK)
    correlation = ((case.node.load.data.get("gpu_samples") or {}).get("synchronisation") or {}).get("correlation")
    evidence = [f"utilisation: {figures(case.utilisation, '%')}"]
    evidence += [f"spread: {spread[0].measured} {spread[0].unit}" if spread and spread[0].measured is not None else ""]
    evidence += [f"correlation of the samples: {correlation:.2f}" if correlation is not None else ""]
    evidence += [f"power of its limit: {figures(case.power_share, '%')}" if case.power_share else ""]
    behind = _straggler(case)
    return Diagnosis(
        id="gpus.waiting",
        title="The GPUs wait for each other",
        cause="They are busy and yet slow: time goes into waiting at the all-reduces, which the driver counts as work."
        + (f" GPU {behind} is behind the others." if behind is not None else ""),
        confidence="high" if apart and slow else "medium",
        evidence=(*(words for words in evidence if words), *case.speed_words()),
        remedy="Free the processor cores of the node (one per GPU for vLLM's workers), measure the path between the "
        "GPUs (nccl.bandwidth), and stop other programs on the GPUs. If it stays, serve with a smaller "
        "--tensor-parallel-size (vllm_tensor_parallel_size) and several servers.",
        expected_gain=case.recovery(),
        findings=(*apart, *slow),
    )


def _straggler(case: Case) -> int | None:
    """The GPU whose clocks are far below the others' under load: all of them wait for it."""
    clocks: dict[int, list[float]] = {}
    for sample in case.node.samples:
        for gpu in sample["gpus"]:
            speed = (gpu.get("clocks") or {}).get("sm")
            if speed and (gpu.get("utilization_gpu") or 0) >= 10:
                clocks.setdefault(int(gpu["index"]), []).append(float(speed))
    means = {index: sum(values) / len(values) for index, values in clocks.items()}
    if len(means) < 2:
        return None
    slowest = min(means, key=means.__getitem__)
    others = [value for index, value in means.items() if index != slowest]
    return slowest if means[slowest] < 0.85 * min(others) else None


def uneven_work(case: Case) -> Diagnosis | None:
    """A GPU of the group that idles under load, with its memory in use."""
    found = case.first("utilisation.active")
    if found is None or found.status is not Status.FAIL or "utilisation.active" in case.explained or case.down:
        return None
    replicas = int(case.node.tensor_parallel.data.get("data_parallel_size") or 1)
    holding = gpus.holders(gpus.memory_used(case.node))
    return Diagnosis(
        id="gpus.idle_under_load",
        title="A GPU of the group idles while the server works",
        cause=f"Requests went to some of the {replicas} data-parallel replicas only: the load was too small for all."
        if replicas > 1
        else "The worker of this GPU hangs or takes no part in the work.",
        confidence="medium" if replicas > 1 else "low",
        evidence=(
            found.summary,
            f"utilisation: {figures(case.utilisation, '%')}",
            f"holding a model: {len(holding)} GPUs",
        ),
        remedy="Repeat with more streams (validate_concurrency)."
        if replicas > 1
        else "Look for that rank in the vLLM log, then restart vLLM.",
        findings=("utilisation.active", *case.unexplained(_CHECK, *case.slow)),
    )


def host_bound(case: Case) -> Diagnosis | None:
    """GPUs that work in step, and stand still together for most of the time."""
    found = case.first("utilisation.active")
    if found is None or found.status is not Status.WARN or "utilisation.active" in case.explained or case.down:
        return None
    return Diagnosis(
        id="gpus.host_bound",
        title="The GPUs wait for the host",
        cause="All GPUs stand still together for more than half of the time: between steps they wait for scheduling, "
        "sampling or kernel launches on the processor, or the load has too few streams to keep them busy.",
        confidence="high" if case.unexplained(*case.slow) else "low",
        evidence=(f"utilisation: {figures(case.utilisation, '%')}", *case.speed_words()),
        remedy=str(found.remedy),
        expected_gain=case.recovery(),
        findings=("utilisation.active", *case.unexplained(*case.slow)),
    )


def too_much_expected(case: Case) -> Diagnosis | None:
    """The user expects more than the hardware has, and the hardware gives what it has."""
    check = "performance.throughput"
    found, bound = case.first(check), (case.all("performance.roofline") or [None])[0]
    if found is None or check not in case.unexplained(*case.slow) or bound is None or bound.status is not Status.PASS:
        return None
    return Diagnosis(
        id="performance.too_much_expected",
        title="More is expected than this hardware can give",
        cause=f"validate_expected_throughput is {found.expected} tok/s; memory bandwidth allows {bound.expected}, and "
        "the node is near that.",
        confidence="high",
        evidence=(f"roofline: {bound.summary}",),
        remedy="Lower validate_expected_throughput, or take faster or more GPUs, or a smaller or quantized model.",
        findings=(check,),
    )


def unexplained(case: Case) -> Diagnosis | None:
    """Slower than it should be, and nothing measured says why."""
    slow = case.unexplained(*case.slow)
    if not slow:
        return None
    return Diagnosis(
        id="performance.unexplained",
        title="The node is slower than it should be, and nothing measured says why",
        cause="GPUs, memory, transport, settings and logs show no fault, or could not be read.",
        confidence="low",
        evidence=case.speed_words(),
        remedy="Look at what is not tested above and make it readable. Check that the facts about the model are right "
        "(validate_model_weight_bytes, validate_model_layers); then compare with another node of this plan.",
        expected_gain=case.recovery(),
        findings=slow,
    )
