# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Implement the ``gpu_facts`` module, which reads facts about a node's GPUs and checks the GPUs."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Callable, Collection, Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import health, pci
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import SUBSETS, with_bandwidth
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.reader import Reader, open_reader
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import assumption, gpu_count, plan

#: Allowed values of the ``gather_subset`` option.
CHOICES: t.Final[list[str]] = ["all", "min", *SUBSETS, *(f"!{name}" for name in SUBSETS)]

ARGUMENT_SPEC: t.Final[dict[str, dict[str, t.Any]]] = {
    "instance_type": {"type": "str"},
    "plan_gpus": {"type": "int"},
    "expected_count": {"type": "int"},
    "gather_subset": {"type": "list", "elements": "str", "choices": CHOICES, "default": ["all"]},
    "backend": {"type": "str", "choices": ["auto", "nvml", "nvidia_smi"], "default": "auto"},
}


def expectation(expected_count: int | None, plan_gpus: int | None, instance_type: str | None) -> health.Expectation:
    """Return the expected number and model of the GPUs.

    The number is ``expected_count`` (set by the user), else ``plan_gpus`` (reported by the API), else the number in the
    plan ID ``instance_type``. The ID has the lowest precedence because a plan newer than this collection may not have a
    number in its ID.

    :raises UnknownInstanceType: if the plan's ID is used and does not contain a number of GPUs.
    :raises ValueError: if a number is negative.
    """
    for name, value in (("expected_count", expected_count), ("plan_gpus", plan_gpus)):
        if value is not None and value < 0:
            raise ValueError(f"{name} must be at least 0, got {value}")
    instance_plan = plan(instance_type) if instance_type is not None else None
    model = instance_plan.gpu_model if instance_plan is not None else None
    if expected_count is not None:
        return health.Expectation(expected_count, "option", model)
    if plan_gpus is not None:
        return health.Expectation(plan_gpus, "api", model)
    if instance_type is not None:
        return health.Expectation(gpu_count(instance_type), "instance_type", model)
    return health.Expectation()


def plan_warning(params: Mapping[str, t.Any]) -> str:
    """Return a warning if the expected number of GPUs is only assumed from the plan's ID, otherwise an empty string."""
    known = params["expected_count"] is not None or params["plan_gpus"] is not None
    return "" if known or params["instance_type"] is None else assumption(params["instance_type"])


def selected(names: Collection[str]) -> frozenset[str]:
    """Return the subsets of facts that the ``gather_subset`` option selects.

    :param names: ``all``, ``min`` (no subset), the name of a subset, or ``!name`` to exclude a subset.
    """
    included = {name for name in names if not name.startswith("!")} - {"min"}
    excluded = {name[1:] for name in names if name.startswith("!")}
    start = set(SUBSETS) if "all" in included or (excluded and not included) else included
    return frozenset(start - excluded)


def gather(reader: Reader, expected: health.Expectation, subsets: Collection[str]) -> dict[str, t.Any]:
    """Return the ``gpu`` fact for a node whose driver responds."""
    return {
        **without_gpus(expected),
        **reader.versions(),
        "count": reader.count(),
        "devices": [with_bandwidth(device) for device in reader.devices(subsets)],
        "topology": reader.topology() if "topology" in subsets else None,
        "backend": reader.backend,
    }


def without_gpus(expected: health.Expectation) -> dict[str, t.Any]:
    """Return the ``gpu`` fact for a node whose GPUs cannot be read. Unknown values are None, not 0."""
    unknown = dict.fromkeys(("count", "driver_version", "cuda_version", "topology", "backend"))
    return {**unknown, "expected_count": expected.count, "expected_source": expected.source, "devices": []}


def run(
    params: Mapping[str, t.Any],
    open_backend: Callable[[str], Reader] = open_reader,
    bus: Callable[[], Collection[str]] = pci.nvidia_gpus,
) -> dict[str, t.Any]:
    """Return the module's result, which contains ``ansible_facts`` and ``findings``.

    :raises ValueError: if the plan is unknown or a number of GPUs is negative; nothing is read in this case.
    """
    expected = expectation(params["expected_count"], params["plan_gpus"], params["instance_type"])
    subsets = selected(params["gather_subset"])
    on_bus = len(bus())
    try:
        with contextlib.closing(open_backend(params["backend"])) as reader:
            facts = gather(reader, expected, subsets)
        findings = health.findings(facts, expected, on_bus, subsets)
    except GpuUnavailable as reason:
        facts = without_gpus(expected)
        findings = health.unavailable(reason, expected, on_bus)
    return {"ansible_facts": {"gpu": facts}, "findings": as_dicts(findings)}
