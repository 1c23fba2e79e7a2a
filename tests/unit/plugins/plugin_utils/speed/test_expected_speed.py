# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which expectation decides, and what it is made of."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.expected_speed import (
    Setup,
    Unknown,
    expected_speed,
    from_roofline,
    model_bound,
)

ADA_6000: t.Final = "NVIDIA RTX 6000 Ada Generation"
ADA_4000: t.Final = "NVIDIA RTX 4000 Ada Generation"
#: Qwen2.5-Coder-32B-Instruct-AWQ on four RTX 6000 Ada: size of the safetensors files, 64 layers, 8 KV heads.
GUIDE: t.Final = Setup(
    gpu_name=ADA_6000,
    tensor_parallel_size=4,
    gpus=4,
    model="Qwen/Qwen2.5-Coder-32B-Instruct-AWQ",
    weight_bytes=19.3e9,
    layers=64,
    kv_heads=8,
    bandwidth=960e9,
)
OTHER: t.Final = dataclasses.replace(GUIDE, model="mistralai/Other-32B")


@pytest.mark.parametrize(("gpus", "low", "high"), [(1, 35, 45), (2, 60, 80), (4, 100, 130)])
def test_the_guides_table_within_its_ranges_from_the_roofline_alone(gpus: int, low: float, high: float) -> None:
    found = expected_speed(dataclasses.replace(OTHER, tensor_parallel_size=gpus, gpus=gpus))
    assert found.kind == "roofline"
    assert low <= found.speed <= high


@pytest.mark.parametrize(("gpu", "bandwidth", "measured"), [(ADA_4000, 360e9, 20.85), (ADA_6000, 960e9, 51.97)])
def test_llama_cpp_rows_within_a_tenth(gpu: str, bandwidth: float, measured: float) -> None:
    facts = Setup(gpu_name=gpu, tensor_parallel_size=1, weight_bytes=16.07e9, bandwidth=bandwidth)
    assert from_roofline(facts).speed == pytest.approx(measured, rel=0.10)


def test_a_measured_row_goes_before_the_roofline_and_tells_it_too() -> None:
    found = expected_speed(GUIDE)
    assert (found.kind, found.speed, found.text) == ("table", 100, "100 to 130")
    assert found.terms["roofline"] == pytest.approx(from_roofline(GUIDE).speed, abs=0.05)


def test_a_row_stands_alone_where_the_roofline_cannot_be_had() -> None:
    found = expected_speed(dataclasses.replace(GUIDE, weight_bytes=None))
    assert (found.kind, found.terms) == ("table", {})


def test_the_formula_and_its_terms_are_told() -> None:
    found = expected_speed(OTHER)
    assert found.terms["formula"] in found.source
    assert {key: found.terms[key] for key in ("W", "TP", "eta", "BW", "L", "t_AR")} == {
        "W": 19_300_000_000,
        "TP": 4,
        "eta": 0.87,
        "BW": 960e9,
        "L": 64,
        "t_AR": 22.5e-6,
    }


def test_history_speaks_last_and_only_with_enough_runs() -> None:
    blind = dataclasses.replace(OTHER, weight_bytes=None, history=(90.0, 110.0, 100.0))
    assert (expected_speed(blind).kind, expected_speed(blind).speed) == ("history", 100.0)
    assert expected_speed(dataclasses.replace(OTHER, history=(1.0, 1.0, 1.0))).kind == "roofline"
    with pytest.raises(Unknown):
        expected_speed(dataclasses.replace(blind, history=(90.0, 110.0)))


@pytest.mark.parametrize(
    ("missing", "hint"),
    [
        ({"weight_bytes": None}, "validate_model_weight_bytes"),
        ({"layers": None}, "validate_model_layers"),
        ({"bandwidth": None, "gpu_name": "NVIDIA Imaginary 1"}, "validate_memory_bandwidth"),
        ({"tensor_parallel_size": None}, "tensor-parallel size is unknown"),
    ],
)
def test_what_is_missing_is_named_with_its_variable(missing: dict, hint: str) -> None:
    with pytest.raises(Unknown, match=hint):
        expected_speed(dataclasses.replace(OTHER, **missing))


def test_one_gpu_needs_no_layers() -> None:
    alone = dataclasses.replace(OTHER, tensor_parallel_size=1, layers=None)
    assert expected_speed(alone).terms["t_AR"] is None


def test_a_gpu_that_does_not_tell_its_bandwidth_has_the_published_one() -> None:
    assert model_bound(dataclasses.replace(OTHER, bandwidth=None)).bandwidth == 960e9


@pytest.mark.parametrize("kv_heads", [2, 8, None])
def test_the_cache_that_one_gpu_reads_is_read_by_one_gpu(kv_heads: int | None) -> None:
    """``kv_bytes`` is per GPU: replication beyond the KV heads is in it already."""
    bound = model_bound(dataclasses.replace(OTHER, kv_heads=kv_heads, kv_bytes=1e9))
    assert bound.memory_time == pytest.approx((19.3e9 / 4 + 1e9) / (0.87 * 960e9))
