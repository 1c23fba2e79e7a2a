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


def test_hourly_price_prefers_regional_price():
    assert subject.hourly_price(PLAN, "us-ord") == 3.57
    assert subject.hourly_price(PLAN, "id-cgk") == 4.28


@pytest.mark.parametrize("price", [{"hourly": 0}, {"hourly": None}, {}, None])
def test_hourly_price_of_zero_is_unknown(price):
    assert subject.hourly_price({"id": "x", "price": price, "region_prices": None}, "us-ord") is None


def test_price_text_of_unknown_price():
    assert subject.price_text(None) == "an unknown price"


def test_check_gpus_refuses_other_number():
    subject.check_gpus(PLAN, 4)
    subject.check_gpus(PLAN, None)
    with pytest.raises(InvalidInput, match=r"has 4 GPU\(s\), but expected_gpus is 8"):
        subject.check_gpus(PLAN, 8)
    with pytest.raises(InvalidInput, match="does not report how many"):
        subject.check_gpus({"id": "x"}, 1)


def test_affordable_regions_are_within_the_limit():
    assert subject.affordable_regions(PLAN, ["id-cgk", "us-ord"], None) == ["id-cgk", "us-ord"]
    assert subject.affordable_regions(PLAN, ["id-cgk", "us-ord"], 4.0) == ["us-ord"]
    with pytest.raises(InvalidInput, match="3.57 USD per hour in us-ord; max_hourly_price is 2.00"):
        subject.affordable_regions(PLAN, ["us-ord"], 2.0)


def test_gpu_count_agrees_with_plan_names(world):
    for plan in world.api().plans():
        try:
            named_count = offline_count(plan["id"])
        except UnknownInstanceType:
            pytest.fail(plan["id"])
        assert named_count == subject.gpu_count(plan), plan["id"]
