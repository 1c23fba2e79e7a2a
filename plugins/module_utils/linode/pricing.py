# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan has and costs, by the API's own word."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput

Json = Mapping[str, t.Any]

#: Linode's own month for price estimates: 730 hours. GPU plans bill by the hour without a monthly cap.
HOURS_PER_MONTH: t.Final = 730


def gpu_count(plan: Json) -> int | None:
    """GPUs of a plan or of an instance's ``specs``; None where the API does not say."""
    count = plan.get("gpus")
    return count if isinstance(count, int) else None


def hourly_price(plan: Json, region: str) -> float | None:
    """US dollars an hour in ``region``: the region's own price where it has one. None: unknown.

    The public catalogue lists GPU plans with a price of 0, so 0 means *unknown*, never free.
    """
    regional = [item for item in plan.get("region_prices") or [] if item.get("id") == region]
    price = (regional[0] if regional else plan.get("price") or {}).get("hourly")
    return float(price) if price else None


def monthly_price(hourly: float | None) -> float | None:
    return None if hourly is None else round(hourly * HOURS_PER_MONTH, 2)


def money(hourly: float | None) -> str:
    return "an unknown price" if hourly is None else f"{hourly:.2f} USD an hour"


def check_gpus(plan: Json, expected: int | None) -> None:
    """:raises InvalidInput: where the plan has not the number of GPUs that the user counts on."""
    if expected is None:
        return
    count = gpu_count(plan)
    if count is None:
        raise InvalidInput(f"The API does not say how many GPUs {plan['id']} has; expected_gpus is {expected}.")
    if count != expected:
        raise InvalidInput(f"{plan['id']} has {count} GPU(s), but expected_gpus is {expected}. Nothing was created.")


def affordable(plan: Json, regions: Sequence[str], limit: float | None) -> list[str]:
    """Those of ``regions`` where the plan costs no more than ``limit`` (USD an hour; None: no limit), in their order.

    :raises InvalidInput: where there is none.
    """
    if limit is None:
        return list(regions)
    prices = {region: hourly_price(plan, region) for region in regions}
    kept = [region for region, price in prices.items() if price is not None and price <= limit]
    if not kept:
        asked = ", ".join(f"{money(price)} in {region}" for region, price in prices.items())
        raise InvalidInput(
            f"{plan['id']} costs {asked}; max_hourly_price is {limit:.2f}. A price of 0 counts as unknown. "
            "Nothing was created."
        )
    return kept
