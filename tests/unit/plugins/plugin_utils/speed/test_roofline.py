# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the model of a decoding step with measurements of vLLM on two H200, the guide's table and llama.cpp."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.limits import HOST_STEP
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.roofline import (
    DEFAULT_EFFICIENCY,
    Roofline,
    efficiency,
    network_time,
    uncertainty,
)

# Qwen2.5-Coder-32B-Instruct-AWQ: size of the safetensors files without the input embedding, 64 layers, 8 KV heads.
QWEN_32B_AWQ: t.Final[dict[str, t.Any]] = {"weight_bytes": 17.7e9, "layers": 64, "kv_heads": 8}
LLAMA_8B_F16: t.Final[dict[str, t.Any]] = {"weight_bytes": 15.0e9, "layers": 32, "kv_heads": 8}
ADA_6000: t.Final = "NVIDIA RTX 6000 Ada Generation"

#: Weights read per token in bytes, and layers.
_SHAPES: t.Final = {"7b": (14.14e9, 28), "8b-gqa": (15.01e9, 32), "14b": (27.98e9, 48), "32b": (63.97e9, 64)}
_RECORDED: t.Final = pathlib.Path(__file__).parents[4] / "fixtures/speeds/h200x2-vllm-0.26.jsonl"
#: Measured ms per token of one stream in an earlier run on another host.
_OTHER_RUN: t.Final = {"7b-tp1": 4.64, "7b-tp2": 3.18, "32b-tp2": 11.35, "7b-pp2": 4.76}


def measured() -> dict[str, float]:
    """Return the measured ms per token of one stream by case, where the GPUs determine it."""
    rows = [json.loads(line) for line in _RECORDED.read_text().splitlines()]
    speeds = {row["case"]: row["mean_tpot_ms"] for row in rows if row["streams"] == 1}
    speeds |= {f"{case} of another run": speed for case, speed in _OTHER_RUN.items()}
    slow = {case: speed for case, speed in speeds.items() if speed > 1000 * HOST_STEP.value}
    return {case: speed for case, speed in slow.items() if "nccl" not in case}


def h200(case: str) -> Roofline:
    """Return the model of a case, named SHAPE-[fp8|fp8kv-](tp|pp)SIZE."""
    name = case.split(" ")[0]
    shape, (kind, size) = name.rpartition("-")[0], (name[-3:-1], int(name[-1]))
    weights, layers = _SHAPES[shape.removesuffix("-fp8").removesuffix("-fp8kv")]
    return Roofline(
        # The output layer stays in bfloat16.
        weight_bytes=(weights + 2 * 128256 * 4096) / 2 if shape.endswith("-fp8") else weights,
        layers=layers,
        bandwidth=4814e9,
        efficiency=efficiency("NVIDIA H200")[0],
        all_reduce_path="nvlink",
        tensor_parallel_size=size if kind == "tp" else 1,
        stages=size if kind == "pp" else 1,
    )


@pytest.mark.parametrize(("case", "milliseconds"), measured().items())
def test_roofline_is_within_a_tenth_of_vllm_on_h200(case: str, milliseconds: float) -> None:
    assert 1000 * h200(case).token_time == pytest.approx(milliseconds, rel=0.06)


@pytest.mark.parametrize("shape", _SHAPES)
def test_roofline_gain_of_two_gpus_is_within_a_tenth_of_vllm_on_h200(shape: str) -> None:
    gain = measured()[f"{shape}-tp1"] / measured()[f"{shape}-tp2"]
    assert h200(f"{shape}-tp2").scaling == pytest.approx(gain, rel=0.06)


@pytest.mark.parametrize(("gpus", "low", "high"), [(1, 35, 45), (2, 60, 80), (4, 100, 130)])
def test_roofline_is_within_the_guides_ranges(gpus: int, low: float, high: float) -> None:
    bound = Roofline(**QWEN_32B_AWQ, bandwidth=960e9, efficiency=efficiency(ADA_6000)[0], tensor_parallel_size=gpus)
    assert low <= bound.tokens_per_second <= high


@pytest.mark.parametrize(
    ("gpu", "bandwidth", "speed"),
    [("NVIDIA RTX 4000 Ada Generation", 360e9, 20.85), (ADA_6000, 960e9, 51.97)],
)
def test_roofline_is_within_a_tenth_of_llama_cpp(gpu: str, bandwidth: float, speed: float) -> None:
    eta, source = efficiency(gpu)
    assert "llama.cpp" in source
    bound = Roofline(**LLAMA_8B_F16, bandwidth=bandwidth, efficiency=eta)
    assert bound.tokens_per_second == pytest.approx(speed, rel=0.10)


def test_roofline_scaling_is_that_of_the_guide() -> None:
    terms = {**QWEN_32B_AWQ, "bandwidth": 960e9, "efficiency": efficiency(ADA_6000)[0]}
    two, four = (Roofline(**terms, tensor_parallel_size=size) for size in (2, 4))
    assert two.scaling == pytest.approx(1.7, abs=0.05)
    assert 2.4 <= four.scaling <= 3
    assert four.scaling < Roofline(**terms, tensor_parallel_size=4, all_reduce_path="nvlink").scaling < 4


@pytest.mark.parametrize("size", [2, 4, 8, 16])
@pytest.mark.parametrize("layers", [1, 200])
def test_roofline_scaling_is_at_most_the_number_of_gpus(size: int, layers: int) -> None:
    bound = Roofline(
        weight_bytes=1e12, layers=layers, bandwidth=1e12, efficiency=1, tensor_parallel_size=size, all_reduce_latency=0
    )
    assert bound.scaling <= size


def test_roofline_memory_time_divides_kv_cache_by_kv_heads_at_most() -> None:
    terms: dict[str, t.Any] = {"weight_bytes": 1, "layers": 1, "bandwidth": 1, "efficiency": 1, "kv_bytes": 100.0}
    two_heads = Roofline(**terms, kv_heads=2, tensor_parallel_size=8)
    eight_heads = Roofline(**terms, kv_heads=8, tensor_parallel_size=8)
    assert two_heads.memory_time == pytest.approx(1 / 8 + 50)
    assert eight_heads.memory_time == pytest.approx(1 / 8 + 100 / 8)


def test_all_reduce_time_of_one_gpu_is_unknown() -> None:
    assert Roofline(**QWEN_32B_AWQ, bandwidth=1e12, efficiency=1).all_reduce_time is None


@pytest.mark.parametrize("gpu", ["NVIDIA A100-SXM4-80GB", "Quadro RTX 6000", "NVIDIA Imaginary 1"])
def test_efficiency_of_unlisted_gpus_is_the_default(gpu: str) -> None:
    eta, source = efficiency(gpu)
    assert eta == DEFAULT_EFFICIENCY
    assert "no reference row" in source
    assert uncertainty(gpu) > uncertainty("NVIDIA H200")


@pytest.mark.parametrize(
    "wrong", [{"weight_bytes": 0}, {"bandwidth": -1}, {"efficiency": 1.2}, {"layers": 0}, {"kv_bytes": -1}]
)
def test_roofline_invalid_term_raises(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must|at most"):
        Roofline(**{**QWEN_32B_AWQ, "bandwidth": 960e9, "efficiency": 0.87, **wrong})


def test_network_time_is_half_a_round_trip_and_the_transfer_for_each_further_node() -> None:
    links = [{"round_trip": {"p50": 2e-4}, "goodput": 1e9}, {"round_trip": None, "goodput": None}]
    assert network_time(3, 5000, links) == pytest.approx(2 * (1e-4 + 20000 / 1e9))
    assert network_time(2, None) == pytest.approx(0.25e-3)
    assert network_time(1, 5000) == 0
