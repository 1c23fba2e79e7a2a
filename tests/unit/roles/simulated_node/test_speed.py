# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speed model: proportions between configurations are as on real GPUs."""

from __future__ import annotations

import dataclasses

import pytest
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
