# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look up the GPUs of a Linode plan by its type ID (such as ``g2-gpu-rtx4000a4-m``), without a request to the API."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

#: Plan families with GPUs: pattern of the type ID, in which ``count`` is the number of GPUs. 6000 and 4000 belong to
#: model names, and -s, -m, -l, -xl, -hs are sizes. Source: type IDs of GET /v4/linode/types.
GPU_FAMILIES: t.Final[tuple[re.Pattern[str], ...]] = (
    re.compile(r"g\d+-gpu-rtx4000a(?P<count>\d+)-[a-z]+", re.ASCII),
    re.compile(r"g\d+-gpu-rtx4000a-(?P<count>\d+)", re.ASCII),
    re.compile(r"g\d+-gpu-rtx6000-(?P<count>\d+)", re.ASCII),
    re.compile(r"g\d+-gpu-rtxpro6000-blackwell-(?P<count>\d+)", re.ASCII),
)

#: Forms of type IDs of other GPU families, ``MODEL-COUNT`` and ``MODELaCOUNT[-SIZE]``. The model must contain a digit,
#: so that a model number such as that of ``rtx-4000`` is not the count.
_FORMS: t.Final[tuple[re.Pattern[str], ...]] = (
    re.compile(r"g\d+-gpu-([a-z]+-)*[a-z]*\d+[a-z]*(-[a-z]+)*-(?P<count>\d+)", re.ASCII),
    re.compile(r"g\d+-gpu-([a-z]+-)*[a-z]+\d+a(?P<count>\d+)(-[a-z]+)?", re.ASCII),
)
#: Most GPUs of one host. Source: NVIDIA HGX-2 has 16; Linode's plans have at most 4.
MAX_GPUS: t.Final = 16

#: Plan families without a GPU. Accelerated plans have a NETINT video processor, which cannot run CUDA.
OTHER_FAMILIES: t.Final[re.Pattern[str]] = re.compile(
    r"g\d+-(nanode|standard|dedicated|premium|highmem)(-[a-z]+)*(-\d+)+|g\d+-accelerated(-[a-z0-9]+)+", re.ASCII
)


class UnknownInstanceType(ValueError):
    """Raised for a type ID that does not state the number of GPUs. ``type_id`` is the ID as the user wrote it."""

    def __init__(self, type_id: str, reason: str = "its name does not contain the number of GPUs") -> None:
        self.type_id = type_id
        super().__init__(
            f"unknown Linode type {type_id!r}: {reason}. Known types: "
            "g1-gpu-rtx6000-N, g2-gpu-rtx4000aN-SIZE, g3-gpu-rtxpro6000-blackwell-N, and plans without GPUs "
            "(nanode, standard, dedicated, premium, highmem, accelerated)."
        )


@dataclass(frozen=True)
class InstancePlan:
    """A GPU plan: its GPU model, as named by the driver, and its price in US dollars per hour (None if unknown)."""

    gpu_model: str
    price_hourly: float | None


#: GPU model -> price of each plan with this model in US dollars per hour, or None if unknown.
_PRICES: t.Final[dict[str, dict[str, float | None]]] = {
    "Quadro RTX 6000": {
        "g1-gpu-rtx6000-1": 1.5,
        "g1-gpu-rtx6000-2": 3.0,
        "g1-gpu-rtx6000-3": 4.5,
        "g1-gpu-rtx6000-4": 6.0,
    },
    "NVIDIA RTX 4000 Ada Generation": {
        "g2-gpu-rtx4000a1-s": 0.52,
        "g2-gpu-rtx4000a1-m": 0.67,
        "g2-gpu-rtx4000a1-l": 0.96,
        "g2-gpu-rtx4000a1-xl": 1.53,
        "g2-gpu-rtx4000a2-s": 1.05,
        "g2-gpu-rtx4000a2-m": 1.34,
        "g2-gpu-rtx4000a2-hs": 1.49,
        "g2-gpu-rtx4000a4-s": 2.96,
        "g2-gpu-rtx4000a4-m": 3.57,
    },
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": {
        "g3-gpu-rtxpro6000-blackwell-1": 3.0,
        "g3-gpu-rtxpro6000-blackwell-2": None,
        "g3-gpu-rtxpro6000-blackwell-4": None,
    },
}
#: Type id -> GPU plan, if its hardware is known. Prices differ by region and account, so the API's prices take
#: precedence.
PLANS: t.Final = {
    type_id: InstancePlan(model, price) for model, prices in _PRICES.items() for type_id, price in prices.items()
}


def gpu_count(type_id: str) -> int:
    """Return the number of GPUs in the plan ``type_id``. Case is ignored. See :func:`assumption` for unknown plans.

    :raises UnknownInstanceType: if the ID has no known form, or states a number that no host has.
    """
    name = type_id.strip().lower()
    if OTHER_FAMILIES.fullmatch(name):
        return 0
    for form in (*GPU_FAMILIES, *_FORMS):
        if match := form.fullmatch(name):
            count = match["count"].lstrip("0")
            if not count or len(count) > len(str(MAX_GPUS)) or int(count) > MAX_GPUS:
                raise UnknownInstanceType(type_id, f"a host has between 1 and {MAX_GPUS} GPUs, not {match['count']}")
            return int(count)
    raise UnknownInstanceType(type_id)


def is_known_family(type_id: str) -> bool:
    """Return whether this release knows where the IDs of the plan's family state the number of GPUs."""
    return any(family.fullmatch(type_id.strip().lower()) for family in (*GPU_FAMILIES, OTHER_FAMILIES))


def assumption(type_id: str) -> str:
    """Return a warning if only the ID states the number of GPUs, and an empty string if this release knows the plan.

    :raises UnknownInstanceType: see :func:`gpu_count`.
    """
    count = gpu_count(type_id)
    if not count or plan(type_id):
        return ""
    return (
        f"unknown plan {type_id}; assuming gpus: {count} from its name. The Linode API is the authority: if it differs"
        f" in https://api.linode.com/v4/linode/types/{type_id.strip().lower()}, set the expected number of GPUs."
    )


def plan(type_id: str) -> InstancePlan | None:
    """Return the GPU model and price of a plan, or None if the plan is not in :data:`PLANS`."""
    return PLANS.get(type_id.strip().lower())


def promised_facts(type_id: str) -> dict[str, t.Any]:
    """Return the part of the ``gpu`` fact that can be derived from a plan alone, before a Linode exists.

    :raises UnknownInstanceType: see :func:`gpu_count`.
    """
    count, known_plan = gpu_count(type_id), plan(type_id)
    device = {"name": known_plan.gpu_model if known_plan else None}
    return {"count": count, "expected_count": count, "devices": [dict(device) for _unused in range(count)]}
