# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the number of GPUs and the price of a plan from Linode API responses."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput

Json = Mapping[str, t.Any]

#: Linode's month for price estimates: 730 hours. GPU plans are billed by the hour without a monthly cap.
HOURS_PER_MONTH: t.Final = 730


def gpu_count(plan: Json) -> int | None:
    """Return the number of GPUs in a plan or in an instance's ``specs``, or None if the API does not report it."""
    count = plan.get("gpus")
    return count if isinstance(count, int) else None


def hourly_price(plan: Json, region: str) -> float | None:
    """Return the price of a plan in ``region`` in US dollars per hour, or None if unknown.

    A regional price takes precedence over the general price of the plan.

    The public catalogue lists GPU plans with a price of 0, so 0 means *unknown*, not free.
    """
    regional = [price for price in plan.get("region_prices") or [] if price.get("id") == region]
    price = (regional[0] if regional else plan.get("price") or {}).get("hourly")
    return float(price) if price else None


def price_text(hourly: float | None) -> str:
    return "an unknown price" if hourly is None else f"{hourly:.2f} USD per hour"


def check_gpus(plan: Json, expected: int | None) -> None:
    """Check that a plan has the expected number of GPUs.

    :raises InvalidInput: if the number is different or unknown.
    """
    if expected is None:
        return
    count = gpu_count(plan)
    if count is None:
        raise InvalidInput(
            f"The API does not report how many GPUs {plan['id']} has, so expected_gpus ({expected}) cannot be checked."
        )
    if count != expected:
        raise InvalidInput(f"{plan['id']} has {count} GPU(s), but expected_gpus is {expected}. Nothing was created.")


def affordable_regions(plan: Json, regions: Sequence[str], limit: float | None) -> list[str]:
    """Return the regions in which the plan costs at most ``limit`` US dollars per hour, in the given order.

    If ``limit`` is None, return all regions.

    :raises InvalidInput: if there is no such region.
    """
    if limit is None:
        return list(regions)
    prices = {region: hourly_price(plan, region) for region in regions}
    affordable = [region for region, price in prices.items() if price is not None and price <= limit]
    if not affordable:
        listed = ", ".join(f"{price_text(price)} in {region}" for region, price in prices.items())
        raise InvalidInput(
            f"{plan['id']} costs {listed}; max_hourly_price is {limit:.2f}. A price of 0 counts as unknown. "
            "Nothing was created."
        )
    return affordable
