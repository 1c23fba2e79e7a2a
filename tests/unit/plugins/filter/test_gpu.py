# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.filter.gpu import FilterModule

linode_gpu_count = FilterModule().filters()["linode_gpu_count"]


def test_linode_gpu_count_of_known_plan():
    assert linode_gpu_count("g2-gpu-rtx4000a4-m") == 4


@pytest.mark.parametrize("value", ["g4-gpu-a10", "", None, 4, ["g6-standard-4"]])
def test_linode_gpu_count_names_unknown_plan(value):
    with pytest.raises(AnsibleFilterError) as caught:
        linode_gpu_count(value)
    assert repr(value) in str(caught.value)


def test_linode_gpu_facts_has_the_shape_of_the_fact():
    facts = FilterModule().filters()["linode_gpu_facts"]("g2-gpu-rtx4000a4-m")
    assert (facts["count"], facts["expected_count"]) == (4, 4)
    assert [device["name"] for device in facts["devices"]] == ["NVIDIA RTX 4000 Ada Generation"] * 4


def test_linode_gpu_facts_of_unknown_hardware_has_only_the_count():
    facts = FilterModule().filters()["linode_gpu_facts"]("g3-gpu-rtxpro6000-blackwell-8")
    assert facts["devices"] == [{"name": None}] * 8


def test_linode_gpu_facts_names_unknown_plan():
    with pytest.raises(AnsibleFilterError, match="g9-gpu-h100-4"):
        FilterModule().filters()["linode_gpu_facts"]("g9-gpu-h100-4")
