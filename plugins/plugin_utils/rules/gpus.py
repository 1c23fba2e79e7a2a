# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Aggregate GPU samples, which are readings taken during the load test, for the rules and the report."""

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.units import GIB
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import limits
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

Sample = Mapping[str, t.Any]

#: Memory in bytes below which another process, such as a desktop or a monitoring tool, has no noticeable effect.
_NOTICEABLE: t.Final = GIB // 2


def series(samples: Sequence[Sample], key: str) -> dict[int, list[float]]:
    """For each GPU index, return the available readings of ``key``, such as ``power_draw``, oldest first."""
    readings: dict[int, list[float]] = {}
    for sample in samples:
        for gpu in sample.get("gpus") or ():
            values = readings.setdefault(int(gpu["index"]), [])
            if gpu.get(key) is not None:
                values.append(float(gpu[key]))
    return dict(sorted(readings.items()))


def means(samples: Sequence[Sample], key: str) -> dict[int, float]:
    """Return the mean of ``key``, such as ``power_draw``, for each GPU index; GPUs without a reading are left out."""
    return {index: statistics.fmean(values) for index, values in series(samples, key).items() if values}


def only(samples: Iterable[Sample], indices: Iterable[int]) -> list[dict[str, t.Any]]:
    """Return copies of the samples that contain only the readings of the GPUs in ``indices``."""
    wanted = set(indices)
    return [{**sample, "gpus": [gpu for gpu in sample["gpus"] if gpu["index"] in wanted]} for sample in samples]


def memory_used(node: NodeFacts) -> dict[int, float]:
    """Return each GPU's memory use in bytes: the mean under load if known, otherwise the value from ``gpu_facts``."""
    under_load = means(node.samples, "memory_used")
    if under_load:
        return under_load
    idle = {device["index"]: device.get("memory_used") for device in node.devices}
    return {index: float(used) for index, used in idle.items() if used is not None}


def holders(used: Mapping[int, float]) -> list[int]:
    """Return the indices of the GPUs that hold part of a model."""
    fullest = max(used.values(), default=0.0)
    if fullest < limits.CONTEXT.value:
        return []
    return [index for index, value in used.items() if value >= fullest * limits.MODEL_MEMORY.value]


def other_processes(node: NodeFacts) -> list[tuple[int, Mapping[str, t.Any]]]:
    """Return the processes other than vLLM that use a noticeable amount of GPU memory, each with the index of its GPU.

    If no process is recognised as vLLM, return an empty list.
    """
    table = [(device["index"], entry) for device in node.devices for entry in device.get("processes") or ()]
    others = [(index, entry) for index, entry in table if "vllm" not in str(entry.get("name") or "").lower()]
    if len(others) == len(table):
        return []
    return [(index, entry) for index, entry in others if (entry.get("memory_used") or 0) >= _NOTICEABLE]


def buckets(samples: Sequence[Sample], key: str, width: float) -> list[tuple[float, dict[int, float]]]:
    """For each time window of ``width`` seconds, return the mean of ``key``, such as ``power_draw``, for each GPU.

    The result has the form ``[(start of the window, {GPU index: mean}), ...]``.
    """
    windows: dict[int, list[Sample]] = {}
    for sample in samples:
        windows.setdefault(int(sample["time"] // width), []).append(sample)
    return [(number * width, means(group, key)) for number, group in sorted(windows.items())]


def not_whole(node: NodeFacts) -> str | None:
    """Return the reason why values of whole GPUs say nothing about the server, or None if it uses whole GPUs."""
    if not node.mig_gpus:
        return None
    return f"MIG mode divides {gpu_list(node.mig_gpus)}, and the driver reports no values of the server's instance"


def gpu_list(indices: Iterable[int]) -> str:
    """Format GPU indices as ``GPU 3`` or ``GPUs 1, 2, 3``."""
    names = [str(index) for index in indices]
    return f"GPU{'s' if len(names) != 1 else ''} {', '.join(names)}"
