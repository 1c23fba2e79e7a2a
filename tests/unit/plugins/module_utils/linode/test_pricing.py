# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import pricing as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import UnknownInstanceType
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import gpu_count as offline_count

PLAN = {
    "id": "g2-gpu-rtx4000a4-m",
    "gpus": 4,
    "price": {"hourly": 3.57},
    "region_prices": [{"id": "id-cgk", "hourly": 4.28}],
}


def test_region_has_its_own_price():
    assert subject.hourly_price(PLAN, "us-ord") == 3.57
    assert subject.hourly_price(PLAN, "id-cgk") == 4.28


@pytest.mark.parametrize("price", [{"hourly": 0}, {"hourly": None}, {}, None])
def test_nothing_is_free(price):
    assert subject.hourly_price({"id": "x", "price": price, "region_prices": None}, "us-ord") is None


def test_month_has_730_hours():
    assert subject.monthly_price(3.57) == 2606.1
    assert subject.monthly_price(None) is None
    assert subject.money(None) == "an unknown price"


def test_other_number_of_gpus_is_refused():
    subject.check_gpus(PLAN, 4)
    subject.check_gpus(PLAN, None)
    with pytest.raises(InvalidInput, match=r"has 4 GPU\(s\), but expected_gpus is 8"):
        subject.check_gpus(PLAN, 8)
    with pytest.raises(InvalidInput, match="does not say how many"):
        subject.check_gpus({"id": "x"}, 1)


def test_only_regions_within_the_limit_remain():
    assert subject.affordable(PLAN, ["id-cgk", "us-ord"], None) == ["id-cgk", "us-ord"]
    assert subject.affordable(PLAN, ["id-cgk", "us-ord"], 4.0) == ["us-ord"]
    with pytest.raises(InvalidInput, match="3.57 USD an hour in us-ord; max_hourly_price is 2.00"):
        subject.affordable(PLAN, ["us-ord"], 2.0)


def test_offline_table_and_api_agree_on_every_plan(world):
    for plan in world.api().plans():
        try:
            counted = offline_count(plan["id"])
        except UnknownInstanceType:
            pytest.fail(plan["id"])
        assert counted == subject.gpu_count(plan), plan["id"]
