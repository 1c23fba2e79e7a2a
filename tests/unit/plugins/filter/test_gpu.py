# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.filter.gpu import FilterModule

linode_gpu_count = FilterModule().filters()["linode_gpu_count"]


def test_count_of_a_plan():
    assert linode_gpu_count("g2-gpu-rtx4000a4-m") == 4


@pytest.mark.parametrize("value", ["g4-gpu-a10", "", None, 4, ["g6-standard-4"]])
def test_what_is_no_known_plan_is_named(value):
    with pytest.raises(AnsibleFilterError) as caught:
        linode_gpu_count(value)
    assert repr(value) in str(caught.value)


def test_what_a_plan_promises_has_the_shape_of_the_fact():
    promised = FilterModule().filters()["linode_gpu_facts"]("g2-gpu-rtx4000a4-m")
    assert (promised["count"], promised["expected_count"]) == (4, 4)
    assert [device["name"] for device in promised["devices"]] == ["NVIDIA RTX 4000 Ada Generation"] * 4


def test_a_plan_of_unknown_hardware_promises_only_its_number():
    promised = FilterModule().filters()["linode_gpu_facts"]("g3-gpu-rtxpro6000-blackwell-8")
    assert promised["devices"] == [{"name": None}] * 8


def test_an_unknown_plan_promises_nothing():
    with pytest.raises(AnsibleFilterError, match="g9-gpu-h100-4"):
        FilterModule().filters()["linode_gpu_facts"]("g9-gpu-h100-4")
