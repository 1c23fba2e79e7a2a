# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPU hardware: what ``gpu_facts`` and the kernel log found, and what shows only under load."""

from __future__ import annotations

import copy
import dataclasses
import typing as t
from collections import Counter
from collections.abc import Callable, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status, failed, not_tested
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import health
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import gpus, limits
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: Check -> the measurements it needs.
CHECKS: t.Final[dict[str, tuple[str, ...]]] = {
    "hardware.gpu_count": ("gpu",),
    "hardware.gpu_model": ("gpu",),
    "hardware.driver": ("gpu",),
    "hardware.topology": ("gpu",),
    "hardware.p2p": ("gpu",),
    "hardware.pcie_link": ("gpu",),
    "hardware.ecc": ("gpu",),
    "hardware.throttle": ("gpu",),
    "hardware.temperature": ("gpu",),
    "hardware.xid": ("logs",),
}

#: Checks that an idle GPU answers only in part; the module's own verdict is asked again with readings under load.
_UNDER_LOAD: t.Final[dict[str, Callable[[Sequence[dict[str, t.Any]]], Finding]]] = {
    "hardware.pcie_link": health.pcie_link,
    "hardware.throttle": health.throttle,
    "hardware.temperature": health.temperature,
}


#: Samples in a row without any reading from which on a GPU is lost.
_SILENCE: t.Final = 3


def evaluate(node: NodeFacts) -> list[Finding]:
    """Findings of area ``hardware``; where GPUs were seen under load, that verdict joins or replaces the idle one."""
    findings = node.findings("hardware")
    if node.logs.taken and not any(item.check == "hardware.xid" for item in findings):
        why = "no kernel log was read (validate_kernel_log, validate_kernel_log_paths)"
        findings.append(not_tested("hardware.xid", why))
    findings += lost_under_load(node)
    devices = loaded_devices(node)
    if not devices:
        return findings
    for check, judge in _UNDER_LOAD.items():
        judged = judge(devices)
        if judged.status is not Status.NOT_TESTED:
            idle_failures = [item for item in findings if item.check == check and item.status is Status.FAIL]
            findings = [item for item in findings if item.check != check]
            findings += idle_failures or [_said(judged)]
    return findings


def lost_under_load(node: NodeFacts) -> list[Finding]:
    """``hardware.driver`` where the driver, or a GPU, answered before the load and no longer during it."""
    taken = node.load.data.get("gpu_samples") or {}
    silent = _fell_silent(taken.get("samples") or ())
    if taken.get("error"):
        what, cause = f"the driver stopped answering under load: {taken['error']}", "The driver, or a GPU, failed."
    elif silent:
        what, cause = f"{gpus.gpu_list(silent)} stopped answering under load", "The GPU has fallen off the bus."
    else:
        return []
    return [
        failed(
            "hardware.driver",
            what,
            evidence={"lost": silent, "error": taken.get("error")},
            cause=cause,
            remedy="Look for Xid 79 in the kernel log; stop and start the node, and report the host if it recurs.",
        )
    ]


def _fell_silent(samples: Sequence[t.Mapping[str, t.Any]]) -> list[int]:
    """GPUs of which the last samples tell nothing, and an earlier one did; one alone can be a hiccup."""
    keys = ("utilization_gpu", "memory_used", "temperature", "power_draw")

    def told(sample: t.Mapping[str, t.Any]) -> set[int]:
        return {gpu["index"] for gpu in sample["gpus"] if any(gpu.get(key) is not None for key in keys)}

    return sorted(set().union(*map(told, samples)).difference(*map(told, samples[-_SILENCE:])))


def loaded_devices(node: NodeFacts) -> list[dict[str, t.Any]]:
    """The node's GPUs with their readings under load: best PCIe link, lasting throttle reasons, highest temperature.

    Only samples in which a GPU was busy count: an idle one lowers its link and clocks to save power. Empty where no
    GPU was busy.
    """
    busy: dict[int, list[t.Mapping[str, t.Any]]] = {}
    for sample in node.samples:
        for gpu in sample["gpus"]:
            if (gpu.get("utilization_gpu") or 0) >= limits.BUSY.value:
                busy.setdefault(int(gpu["index"]), []).append(gpu)
    return [_overlaid(device, busy[device["index"]]) for device in node.raw_devices if device["index"] in busy]


def _overlaid(device: t.Mapping[str, t.Any], seen: Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    loaded = copy.deepcopy(dict(device))
    loaded["utilization_gpu"] = max(gpu["utilization_gpu"] for gpu in seen)
    links = [gpu["pcie"] for gpu in seen if gpu.get("pcie") and None not in gpu["pcie"].values()]
    if links:
        best = max(links, key=lambda link: (link["generation"], link["width"]))
        loaded["pcie"].update(generation=best["generation"], width=best["width"])
    told = [gpu["throttle_reasons"] for gpu in seen if gpu.get("throttle_reasons") is not None]
    if told:
        counts = Counter(reason for reasons in told for reason in reasons)
        loaded["throttle_reasons"] = [
            reason for reason, count in counts.items() if 100.0 * count / len(told) >= limits.SUSTAINED.value
        ]
    _heat(loaded, [gpu["temperature"] for gpu in seen if gpu.get("temperature") is not None])
    return loaded


def _heat(loaded: dict[str, t.Any], temperatures: Sequence[int]) -> None:
    """The highest temperature, and the margin that was left then: the margin shrinks by a degree with each degree."""
    if not temperatures:
        return
    hottest, before = max(temperatures), loaded["temperature"]
    loaded["temperature"] = hottest
    margins = loaded.get("temperature_limits") or {}
    if margins.get("margin") is not None and before is not None:
        margins["margin"] -= hottest - before


def _said(finding: Finding) -> Finding:
    """The same finding, saying when it was seen."""
    if "under load" in finding.summary:
        return finding
    return dataclasses.replace(finding, summary=f"{finding.summary}, under load")
