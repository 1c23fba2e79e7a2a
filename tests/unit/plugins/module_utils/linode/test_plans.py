# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import (
    PLANS,
    UnknownInstanceType,
    assumption,
    gpu_count,
    is_known_family,
    plan,
    promised_facts,
)
from hypothesis import given
from hypothesis import strategies as st

COUNTS = {
    "g1-gpu-rtx6000-1": 1,
    "g1-gpu-rtx6000-2": 2,
    "g2-gpu-rtx4000a1-s": 1,
    "g2-gpu-rtx4000a1-xl": 1,
    "g2-gpu-rtx4000a2-hs": 2,
    "g2-gpu-rtx4000a4-s": 4,
    "g2-gpu-rtx4000a4-m": 4,
    "g3-gpu-rtxpro6000-blackwell-2": 2,
    "g3-gpu-rtxpro6000-blackwell-8": 8,
    "g1-gpu-rtx4000a-6": 6,
    "G2-GPU-RTX4000A4-M": 4,
    " g2-gpu-rtx4000a4-m\n": 4,
    "g1-accelerated-netint-vpu-t1u2-s": 0,
    "g1-accelerated-netint-vpu-t1u8-l": 0,
    "g6-nanode-1": 0,
    "g6-standard-4": 0,
    "G6-Standard-4": 0,
    "g6-dedicated-2": 0,
    "g7-highmem-16": 0,
    "g7-premium-64": 0,
    "g7-premium-ht-256": 0,
    "g8-dedicated-512-256": 0,
}

UNKNOWN = [
    "",
    "g",
    "gpu",
    "g6-gpu-2",
    "g4-gpu-a10",
    "g9-quantum-4",
    "g2-gpu-rtx4000a0-s",
    "g2-gpu-rtx4000a-m",
    "g2-gpu-rtx-4000",
    "g2-gpu-rtx4000-a4",
    "g1-gpu-rtx6000-17",
    "g4-gpu-rtx6000-6000",
    "g4-gpu-rtxa6000",
    "g4-gpu-a100-80",
    "g2-gpu-rtx4000a" + "9" * 5000 + "-s",
    "g3-gpu-rtxpro6000-blackwell",
    "g1-gpu-rtx6000-",
    "g1-gpu-rtx6000-4x",
    "gpu-rtx6000-4",
    "x-g6-standard-4",
    "g6-standard",
    "g6-standard-gpu",
    "g1-gpu-rtx6000-٤",
]


@pytest.mark.parametrize(("type_id", "count"), COUNTS.items())
def test_gpu_count_of_known_type(type_id, count):
    assert gpu_count(type_id) == count


@pytest.mark.parametrize("type_id", UNKNOWN)
def test_gpu_count_of_unknown_type_names_it(type_id):
    with pytest.raises(UnknownInstanceType) as caught:
        gpu_count(type_id)
    assert repr(type_id) in str(caught.value)
    assert caught.value.type_id == type_id


def test_gpu_count_that_no_host_has_is_named():
    with pytest.raises(UnknownInstanceType, match="'g4-gpu-rtx6000-6000': a host has between 1 and 16 GPUs, not 6000"):
        gpu_count("g4-gpu-rtx6000-6000")


@pytest.mark.parametrize(
    ("type_id", "count"),
    {
        "g4-gpu-l40-2": 2,
        "g4-gpu-l40s-8": 8,
        "g9-gpu-h100-4": 4,
        "g2-gpu-rtx4000a1": 1,
        "g4-gpu-rtx-pro-4500-blackwell-2": 2,
        "g5-gpu-rtx5000a2-m": 2,
    }.items(),
)
def test_gpu_count_of_unknown_family_in_known_form_is_an_assumption(type_id, count):
    assert gpu_count(type_id) == count
    assert assumption(type_id).startswith(
        f"unknown plan {type_id}; assuming gpus: {count} from its name. The Linode API"
    )
    assert not is_known_family(type_id)


@pytest.mark.parametrize("type_id", ["g2-gpu-rtx4000a4-m", "G1-GPU-RTX6000-2", "g6-standard-4"])
def test_assumption_of_known_plan_is_empty(type_id):
    assert assumption(type_id) == ""
    assert is_known_family(type_id)


@pytest.mark.parametrize("type_id", PLANS)
def test_gpu_count_knows_every_plan_of_the_table(type_id):
    assert gpu_count(type_id) > 0


@given(generation=st.integers(1, 99), count=st.integers(1, 16), size=st.sampled_from(["s", "m", "l", "xl", "hs"]))
def test_gpu_count_of_every_count_in_known_family(generation, count, size):
    assert gpu_count(f"g{generation}-gpu-rtx4000a{count}-{size}") == count
    assert gpu_count(f"g{generation}-gpu-rtxpro6000-blackwell-{count}") == count


@given(st.text(max_size=40))
def test_gpu_count_of_any_text_is_count_or_error(text):
    try:
        assert 0 <= gpu_count(text) <= 16
    except UnknownInstanceType as error:
        assert error.type_id == text


def test_plan_returns_hardware_and_price():
    known_plan = plan("G2-gpu-rtx4000a4-m")
    assert known_plan is not None
    assert known_plan.gpu_model == "NVIDIA RTX 4000 Ada Generation"
    assert known_plan.price_hourly == 3.57


def test_plan_of_unknown_price_has_none():
    known_plan = plan("g3-gpu-rtxpro6000-blackwell-4")
    assert known_plan is not None
    assert known_plan.price_hourly is None


def test_plan_without_gpu_is_none():
    assert plan("g6-standard-4") is None


def test_promised_facts_have_the_shape_of_the_fact() -> None:
    facts = promised_facts("g2-gpu-rtx4000a4-m")
    assert (facts["count"], facts["expected_count"]) == (4, 4)
    assert [device["name"] for device in facts["devices"]] == ["NVIDIA RTX 4000 Ada Generation"] * 4


def test_promised_facts_of_unknown_hardware_have_only_the_count() -> None:
    assert promised_facts("g3-gpu-rtxpro6000-blackwell-8")["devices"] == [{"name": None}] * 8


def test_promised_facts_of_an_unknown_plan_name_it() -> None:
    with pytest.raises(UnknownInstanceType, match="g9-gpu-h100"):
        promised_facts("g9-gpu-h100")
