# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speed model: its terms are those of the measured model, and configurations compare as on real GPUs."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed import roofline
from emulator import speed as emulated
from emulator.scenario import Scenario, load_json
from emulator.speed import Interconnect, Speed


def speed(ranks: int, interconnect: str = "p2p") -> Speed:
    scenario = Scenario.load("healthy-tp4")
    gpu = scenario.gpu
    return Speed(
        scenario.model,
        ranks,
        gpu["memory_bandwidth"] * gpu["bandwidth_efficiency"],
        gpu["flops"] * gpu["flops_efficiency"],
        Interconnect(**load_json("data/interconnects.json")[interconnect]),
    )


def tokens_per_second(model: Speed, streams: int = 1) -> float:
    return streams / model.step(streams, streams * 500, 0).duration


@pytest.mark.parametrize(("ranks", "stages"), [(1, 1), (2, 1), (4, 1), (8, 1), (1, 2), (2, 2)])
def test_step_of_one_stream_takes_the_token_time_of_the_roofline(ranks: int, stages: int) -> None:
    model = dataclasses.replace(speed(ranks), stages=stages)
    gpu, shape, context = Scenario.load("healthy-tp4").gpu, model.model, 500
    expected = roofline.Roofline(
        weight_bytes=shape.read_bytes,
        bandwidth=gpu["memory_bandwidth"],
        efficiency=roofline.efficiency(gpu["name"])[0],
        layers=shape.layers,
        tensor_parallel_size=ranks,
        kv_bytes=context * shape.kv_bytes(1),
        kv_heads=shape.kv_heads,
        stages=stages,
    )
    # The time to transfer the bytes of the small all-reduces is not part of the roofline.
    assert model.step(1, context, 0).duration == pytest.approx(expected.token_time, rel=0.02)


def test_speed_constants_are_those_of_the_roofline() -> None:
    paths = load_json("data/interconnects.json")
    assert (emulated.LAYER_TIME, emulated.HOP_TIME) == (roofline.LAYER_TIME, roofline.HOP_TIME)
    for name, path in {"p2p": "pcie", "p2p-gen5": "pcie", "nvlink": "nvlink", "shm": "shm"}.items():
        for gpus in (2, 4, 8):
            latency = roofline.all_reduce_latency(path, gpus)
            assert Interconnect(**paths[name]).latency_of(gpus) == pytest.approx(latency)
    for gpu in load_json("data/gpus.json").values():
        assert gpu["bandwidth_efficiency"] == roofline.efficiency(gpu["name"])[0]


def test_speed_custom_all_reduce_carries_small_messages_past_slow_sockets() -> None:
    slow = speed(2, "socket")
    mixed = dataclasses.replace(slow, custom=speed(2).interconnect)
    assert mixed.step(1, 500, 0) == speed(2).step(1, 500, 0)
    # A long prompt exceeds the largest message of the custom all-reduce.
    assert mixed.step(0, 0, 2048).duration == slow.step(0, 0, 2048).duration


def test_speed_one_of_four_gpus_reaches_a_third() -> None:
    assert tokens_per_second(speed(1)) / tokens_per_second(speed(4)) == pytest.approx(1 / 3, abs=0.05)


def test_speed_sockets_are_slower_and_leave_gpus_waiting() -> None:
    fast, slow = speed(4), speed(4, "socket")
    assert tokens_per_second(slow) < 0.4 * tokens_per_second(fast)
    assert slow.step(1, 500, 0).waiting > 0.5 > fast.step(1, 500, 0).waiting


def test_step_duration_exceeds_the_roofline() -> None:
    model = speed(4)
    bound = model.model.weights / 4 / model.bandwidth
    assert model.step(1, 0, 0).duration > bound


def test_step_larger_batch_raises_throughput_and_duration() -> None:
    model = speed(4)
    assert tokens_per_second(model, 16) > 5 * tokens_per_second(model)
    assert model.step(16, 8000, 0).duration > model.step(1, 500, 0).duration


def test_step_prefill_time_grows_with_the_prompt() -> None:
    model = speed(4)
    assert model.step(0, 0, 2048).duration > 1.8 * model.step(0, 0, 1024).duration


def test_speed_slow_rank_slows_down_the_group() -> None:
    model = speed(4)
    assert tokens_per_second(dataclasses.replace(model, drag=2.5)) < 0.6 * tokens_per_second(model)


@pytest.mark.parametrize(("ranks", "heads"), [(1, 8), (4, 2), (8, 1), (16, 1)])
def test_kv_bytes_heads_are_divided_then_replicated(ranks: int, heads: int) -> None:
    model = speed(1).model
    assert model.kv_bytes(ranks) == 2 * 48 * heads * 128 * 2
