# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect the findings about the GPU hardware from ``gpu_facts``, the kernel log and the load test."""

from __future__ import annotations

import copy
import dataclasses
import typing as t
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status, failed, not_tested, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import device_health
from ansible_collections.multigpu.vllm.plugins.module_utils.peer.judge import CHECK as PEER_DATA
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import gpus, limits, peer_data
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: Checks for which readings of an idle GPU are not sufficient. They are repeated with readings under load, using the
#: module's own functions. The new finding replaces the module's finding, unless the module's finding is a failure.
_UNDER_LOAD: t.Final[dict[str, Callable[[Sequence[dict[str, t.Any]]], Finding]]] = {
    "hardware.pcie_link": device_health.pcie_link,
    "hardware.throttle": device_health.throttle,
    "hardware.temperature": device_health.temperature,
}

#: Consecutive samples without any reading after which a GPU counts as lost; a single failed reading is often temporary.
_SILENT_SAMPLES: t.Final = 3


def evaluate(node: NodeFacts) -> list[Finding]:
    """Return the findings for the ``hardware`` area."""
    findings = node.findings("hardware", replaced_by=[*lost_under_load(node), *divided(node)])
    findings = [item for item in findings if item.check != PEER_DATA] + peer_data.evaluate(node)
    if node.logs.taken and not any(item.check == "hardware.xid" for item in findings):
        reason = "no kernel log was read (validate_kernel_log, validate_kernel_log_paths)"
        findings.append(not_tested("hardware.xid", reason))
    devices = loaded_devices(node)
    if not devices:
        return findings
    for check, judge in _UNDER_LOAD.items():
        loaded = judge(devices)
        if loaded.status is not Status.NOT_TESTED:
            idle_failures = [item for item in findings if item.check == check and item.status is Status.FAIL]
            findings = [item for item in findings if item.check != check]
            findings += idle_failures or [_under_load(loaded)]
    return findings


def divided(node: NodeFacts) -> list[Finding]:
    """Return findings that explain MIG mode, or an empty list if no GPU is in MIG mode."""
    if not node.mig_gpus:
        return []
    fault, listed = FAULTS["mig_mode"], gpus.gpu_list(node.mig_gpus)
    summary = f"{listed} {'is' if len(node.mig_gpus) == 1 else 'are'} in MIG mode"
    return [
        warned("hardware.topology", summary, measured="MIG", cause=fault.cause, remedy=fault.remedy),
        not_tested("hardware.p2p", f"{summary}, in which instances have no peer access"),
    ]


def lost_under_load(node: NodeFacts) -> list[Finding]:
    """Return a failed ``hardware.driver`` finding if the driver or a GPU stopped responding during the load test."""
    sampled = node.load.data.get("gpu_samples") or {}
    silent = _silent_gpus(sampled.get("samples") or ())
    fault = FAULTS["gpu_lost"]
    if sampled.get("error"):
        summary = f"the driver stopped responding under load: {sampled['error']}"
        cause = "The driver, or a GPU, failed."
    elif silent:
        summary, cause = f"{gpus.gpu_list(silent)} stopped responding under load", fault.cause
    else:
        return []
    evidence = {"lost": silent, "error": sampled.get("error")}
    return [failed("hardware.driver", summary, evidence=evidence, cause=cause, remedy=fault.remedy)]


def _silent_gpus(samples: Sequence[Mapping[str, t.Any]]) -> list[int]:
    """Return the GPUs that have readings in earlier samples, but none in the last few samples."""
    keys = ("utilization_gpu", "memory_used", "temperature", "power_draw")

    def responding(sample: Mapping[str, t.Any]) -> set[int]:
        return {gpu["index"] for gpu in sample["gpus"] if any(gpu.get(key) is not None for key in keys)}

    earlier = set().union(*map(responding, samples))
    return sorted(earlier.difference(*map(responding, samples[-_SILENT_SAMPLES:])))


def loaded_devices(node: NodeFacts) -> list[dict[str, t.Any]]:
    """Return the GPUs with their readings under load; GPUs that were never busy are left out.

    Each GPU has the best PCIe link, the sustained throttle reasons (``limits.SUSTAINED``) and the highest temperature
    in its samples. Samples in which the GPU was idle do not count, because an idle GPU lowers its link speed and clocks
    to save power.
    """
    busy: dict[int, list[Mapping[str, t.Any]]] = {}
    for sample in node.samples:
        for gpu in sample["gpus"]:
            if (gpu.get("utilization_gpu") or 0) >= limits.BUSY.value:
                busy.setdefault(int(gpu["index"]), []).append(gpu)
    return [_loaded(device, busy[device["index"]]) for device in node.devices if device["index"] in busy]


def _loaded(device: Mapping[str, t.Any], readings: Sequence[Mapping[str, t.Any]]) -> dict[str, t.Any]:
    loaded = copy.deepcopy(dict(device))
    loaded["utilization_gpu"] = max(gpu["utilization_gpu"] for gpu in readings)
    links = [gpu["pcie"] for gpu in readings if gpu.get("pcie") and None not in gpu["pcie"].values()]
    if links:
        best = max(links, key=lambda link: (link["generation"], link["width"]))
        loaded["pcie"].update(generation=best["generation"], width=best["width"])
    throttled = [gpu["throttle_reasons"] for gpu in readings if gpu.get("throttle_reasons") is not None]
    if throttled:
        counts = Counter(reason for reasons in throttled for reason in reasons)
        loaded["throttle_reasons"] = [
            reason for reason, count in counts.items() if 100.0 * count / len(throttled) >= limits.SUSTAINED.value
        ]
    _set_temperature(loaded, [gpu["temperature"] for gpu in readings if gpu.get("temperature") is not None])
    return loaded


def _set_temperature(loaded: dict[str, t.Any], temperatures: Sequence[int]) -> None:
    """Set the temperature in ``loaded``, the data of one GPU, to the highest of the readings ``temperatures``.

    These readings were taken under load. Reduce the margin to the temperature limit by the rise in temperature since
    the idle reading.
    """
    if not temperatures:
        return
    hottest, before = max(temperatures), loaded["temperature"]
    loaded["temperature"] = hottest
    margins = loaded.get("temperature_limits") or {}
    if margins.get("margin") is not None and before is not None:
        margins["margin"] -= hottest - before


def _under_load(finding: Finding) -> Finding:
    """Append "under load" to the summary of a finding, unless the summary already contains this phrase."""
    if "under load" in finding.summary:
        return finding
    return dataclasses.replace(finding, summary=f"{finding.summary}, under load")
