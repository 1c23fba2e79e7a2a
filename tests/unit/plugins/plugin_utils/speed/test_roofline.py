# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.roofline import (
    DEFAULT_EFFICIENCY,
    HBM_EFFICIENCY,
    Roofline,
    efficiency,
)

# Qwen2.5-Coder-32B-Instruct-AWQ: size of the safetensors files, 64 layers, 8 KV heads.
QWEN_32B_AWQ = {"weight_bytes": 19.3e9, "layers": 64, "kv_heads": 8}
LLAMA_8B_F16 = {"weight_bytes": 16.07e9, "layers": 32, "kv_heads": 8}


@pytest.mark.parametrize(("gpus", "low", "high"), [(1, 35, 45), (2, 60, 80), (4, 100, 130)])
def test_roofline_is_within_the_guides_ranges(gpus: int, low: float, high: float) -> None:
    eta, _source = efficiency("NVIDIA RTX 6000 Ada Generation")
    bound = Roofline(**QWEN_32B_AWQ, bandwidth=960e9, efficiency=eta, tensor_parallel_size=gpus)
    assert low <= bound.tokens_per_second <= high


@pytest.mark.parametrize(
    ("gpu", "bandwidth", "measured"),
    [("NVIDIA RTX 4000 Ada Generation", 360e9, 20.85), ("NVIDIA RTX 6000 Ada Generation", 960e9, 51.97)],
)
def test_roofline_is_within_a_tenth_of_llama_cpp(gpu: str, bandwidth: float, measured: float) -> None:
    eta, source = efficiency(gpu)
    bound = Roofline(**LLAMA_8B_F16, bandwidth=bandwidth, efficiency=eta)
    assert "llama.cpp" in source
    assert bound.tokens_per_second == pytest.approx(measured, rel=0.10)


def test_roofline_scaling_is_below_linear_and_better_with_nvlink() -> None:
    pcie = Roofline(**QWEN_32B_AWQ, bandwidth=960e9, efficiency=0.87, tensor_parallel_size=4)
    nvlink = Roofline(**QWEN_32B_AWQ, bandwidth=960e9, efficiency=0.87, tensor_parallel_size=4, all_reduce_latency=1e-5)
    assert 2.5 <= pcie.scaling <= 3
    assert pcie.scaling < nvlink.scaling < 4


def test_roofline_memory_time_divides_kv_cache_by_kv_heads_at_most() -> None:
    terms = {"weight_bytes": 1.0, "layers": 1, "bandwidth": 1.0, "efficiency": 1.0, "kv_bytes": 100.0}
    two_heads = Roofline(**terms, kv_heads=2, tensor_parallel_size=8)
    eight_heads = Roofline(**terms, kv_heads=8, tensor_parallel_size=8)
    assert two_heads.memory_time == pytest.approx(1 / 8 + 50)
    assert eight_heads.memory_time == pytest.approx(1 / 8 + 100 / 8)


@pytest.mark.parametrize("gpu", ["NVIDIA H200", "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "NVIDIA GB200"])
def test_efficiency_of_unlisted_hbm_accelerators(gpu: str) -> None:
    eta, source = efficiency(gpu)
    assert eta == HBM_EFFICIENCY
    assert "HBM" in source


@pytest.mark.parametrize("gpu", ["NVIDIA RTX PRO 6000 Blackwell Server Edition", "Quadro RTX 6000", "NVIDIA RTX A3000"])
def test_efficiency_of_other_unlisted_gpus_is_the_default(gpu: str) -> None:
    assert efficiency(gpu)[0] == DEFAULT_EFFICIENCY


def test_efficiency_of_unknown_gpu_names_its_source() -> None:
    eta, source = efficiency("NVIDIA Imaginary 1")
    assert eta == DEFAULT_EFFICIENCY
    assert "no reference row" in source


@pytest.mark.parametrize(
    "wrong", [{"weight_bytes": 0}, {"bandwidth": -1}, {"efficiency": 1.2}, {"layers": 0}, {"kv_bytes": -1}]
)
def test_roofline_invalid_term_raises(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must|at most"):
        Roofline(**{**QWEN_32B_AWQ, "bandwidth": 960e9, "efficiency": 0.87, **wrong})
