# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``gpu_facts`` does: options in, facts and findings out."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Collection, Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import health, pci
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import SUBSETS, with_bandwidth
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.reader import Reader, open_reader
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import gpu_count, plan

#: What ``gather_subset`` accepts.
CHOICES: t.Final[list[str]] = ["all", "min", *SUBSETS, *(f"!{name}" for name in SUBSETS)]


class InvalidCount(ValueError):
    """A number of GPUs that cannot be."""


def expectation(expected_count: int | None, plan_gpus: int | None, instance_type: str | None) -> health.Expectation:
    """Who says how many GPUs there should be: the user's own number, then the API's, then the name of the plan, which
    also tells their model.

    The name is read only where nothing better is given, so that a plan newer than this collection can be used.

    :raises UnknownInstanceType: for a plan whose name tells no count.
    :raises InvalidCount: for a negative number.
    """
    for name, value in (("expected_count", expected_count), ("plan_gpus", plan_gpus)):
        if value is not None and value < 0:
            raise InvalidCount(f"{name} is {value}: a node has 0 or more GPUs.")
    known = plan(instance_type) if instance_type is not None else None
    model = known.gpu_model if known is not None else None
    if expected_count is not None:
        return health.Expectation(expected_count, "option", model)
    if plan_gpus is not None:
        return health.Expectation(plan_gpus, "api", model)
    if instance_type is not None:
        return health.Expectation(gpu_count(instance_type), "instance_type", model)
    return health.Expectation()


def selected(names: Collection[str]) -> frozenset[str]:
    """Subsets that ``gather_subset`` asks for: ``all``, ``min`` (none), a name, or ``!name`` to leave one out."""
    wanted = {name for name in names if not name.startswith("!")} - {"min"}
    dropped = {name[1:] for name in names if name.startswith("!")}
    start = set(SUBSETS) if "all" in wanted or (dropped and not wanted) else wanted
    return frozenset(start - dropped)


def gather(reader: Reader, expected: health.Expectation, subsets: Collection[str]) -> dict[str, t.Any]:
    """``ansible_facts.gpu`` of a node whose driver answers."""
    return {
        "count": reader.count(),
        "expected_count": expected.count,
        "expected_source": expected.source,
        **reader.versions(),
        "devices": [with_bandwidth(device) for device in reader.devices(subsets)],
        "topology": reader.topology() if "topology" in subsets else None,
        "backend": reader.backend,
    }


def without_gpus(expected: health.Expectation) -> dict[str, t.Any]:
    """``ansible_facts.gpu`` of a node whose GPUs cannot be read: what is unknown is null, not 0."""
    return {
        "count": None,
        "expected_count": expected.count,
        "expected_source": expected.source,
        "driver_version": None,
        "cuda_version": None,
        "devices": [],
        "topology": None,
        "backend": None,
    }


def run(
    params: Mapping[str, t.Any],
    open_backend: Callable[[str], Reader] = open_reader,
    bus: Callable[[], Collection[str]] = pci.nvidia_gpus,
) -> dict[str, t.Any]:
    """Result of the module: ``ansible_facts`` and ``findings``.

    :raises UnknownInstanceType: for a plan whose name tells no GPU count; nothing was read then.
    :raises InvalidCount: for a negative number of GPUs; nothing was read then.
    """
    expected = expectation(params["expected_count"], params["plan_gpus"], params["instance_type"])
    subsets = selected(params["gather_subset"])
    on_bus = len(bus())
    try:
        reader = open_backend(params["backend"])
        try:
            facts = gather(reader, expected, subsets)
        finally:
            reader.close()
        found = health.findings(facts, expected, on_bus, subsets)
    except GpuUnavailable as reason:
        facts = without_gpus(expected)
        found = health.unavailable(reason, expected, on_bus)
    return {"ansible_facts": {"gpu": facts}, "findings": as_dicts(found)}
