# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the sources of the expected speed, and their order of precedence."""

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
def test_expected_speed_roofline_alone_is_within_the_guide(gpus: int, low: float, high: float) -> None:
    expectation = expected_speed(dataclasses.replace(OTHER, tensor_parallel_size=gpus, gpus=gpus))
    assert expectation.kind == "roofline"
    assert low <= expectation.speed <= high


@pytest.mark.parametrize(("gpu", "bandwidth", "measured"), [(ADA_4000, 360e9, 20.85), (ADA_6000, 960e9, 51.97)])
def test_from_roofline_is_within_a_tenth_of_llama_cpp(gpu: str, bandwidth: float, measured: float) -> None:
    facts = Setup(gpu_name=gpu, tensor_parallel_size=1, weight_bytes=16.07e9, bandwidth=bandwidth)
    assert from_roofline(facts).speed == pytest.approx(measured, rel=0.10)


def test_expected_speed_prefers_the_table_and_reports_the_roofline() -> None:
    expectation = expected_speed(GUIDE)
    assert (expectation.kind, expectation.speed, expectation.text) == ("table", 100, "100 to 130")
    assert expectation.terms["roofline"] == pytest.approx(from_roofline(GUIDE).speed, abs=0.05)


def test_expected_speed_uses_the_table_without_a_roofline() -> None:
    expectation = expected_speed(dataclasses.replace(GUIDE, weight_bytes=None))
    assert (expectation.kind, expectation.terms) == ("table", {})


def test_expected_speed_reports_formula_and_terms() -> None:
    expectation = expected_speed(OTHER)
    assert expectation.terms["formula"] in expectation.source
    assert {key: expectation.terms[key] for key in ("W", "TP", "eta", "BW", "L", "t_AR")} == {
        "W": 19_300_000_000,
        "TP": 4,
        "eta": 0.86,
        "BW": 960e9,
        "L": 64,
        "t_AR": 14e-6,
    }


def test_expected_speed_uses_history_last_and_with_enough_runs() -> None:
    without_weights = dataclasses.replace(OTHER, weight_bytes=None, history=(90.0, 110.0, 100.0))
    assert (expected_speed(without_weights).kind, expected_speed(without_weights).speed) == ("history", 100.0)
    assert expected_speed(dataclasses.replace(OTHER, history=(1.0, 1.0, 1.0))).kind == "roofline"
    with pytest.raises(Unknown):
        expected_speed(dataclasses.replace(without_weights, history=(90.0, 110.0)))


@pytest.mark.parametrize(
    ("missing", "hint"),
    [
        ({"weight_bytes": None}, "validate_model_weight_bytes"),
        ({"layers": None}, "validate_model_layers"),
        ({"bandwidth": None, "gpu_name": "NVIDIA Imaginary 1"}, "validate_memory_bandwidth"),
        ({"tensor_parallel_size": None}, "tensor-parallel size is unknown"),
    ],
)
def test_expected_speed_missing_term_names_the_option(missing: dict, hint: str) -> None:
    with pytest.raises(Unknown, match=hint):
        expected_speed(dataclasses.replace(OTHER, **missing))


def test_expected_speed_of_one_gpu_needs_no_layers() -> None:
    one_gpu = dataclasses.replace(OTHER, tensor_parallel_size=1, layers=None)
    assert expected_speed(one_gpu).terms["t_AR"] is None


def test_model_bound_uses_the_published_bandwidth() -> None:
    assert model_bound(dataclasses.replace(OTHER, bandwidth=None)).bandwidth == 960e9


@pytest.mark.parametrize("kv_heads", [2, 8, None])
def test_model_bound_keeps_kv_bytes_per_gpu(kv_heads: int | None) -> None:
    # kv_bytes is per GPU and includes the replication of KV heads.
    bound = model_bound(dataclasses.replace(OTHER, kv_heads=kv_heads, kv_bytes=1e9))
    assert bound.memory_time == pytest.approx((19.3e9 / 4 + 1e9) / (0.86 * 960e9))
