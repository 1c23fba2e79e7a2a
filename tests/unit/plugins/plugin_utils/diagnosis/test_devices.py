# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first layer short of GPUs, and what slows or breaks one. Whether it is named: test_catalogue.py."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis import devices

Build = Callable[..., t.Any]


@pytest.mark.parametrize(
    ("facts", "where"),
    [
        ({"gpus": 3, "on_bus": 3}, "the machine itself (PCI bus)"),
        ({"gpus": 3, "on_bus": 4}, "the driver"),
        ({"gpus": 3, "on_bus": 0}, "the machine or its driver"),
        ({"lost": [3]}, "the GPU (driver shows it, no answer)"),
    ],
)
def test_the_first_layer_that_disagrees(situation: Build, facts: dict, where: str) -> None:
    found = situation(tp=1, dp=3, **facts).diagnosis("gpu.missing")
    assert found.title == f"GPUs are missing: the first layer short of them is {where}"


def test_the_container_is_a_layer_too(situation: Build) -> None:
    log = ["(Worker_TP3 pid=103) ERROR 11-23 12:01:00 [x.py:1] RuntimeError: CUDA error: invalid device ordinal"]
    node = situation(failure="connection_refused", loaded=False, log=log, environment={})
    assert "vllm_gpus: all" in node.diagnosis("gpu.missing").remedy


def test_layers_are_counted_from_the_bottom_up(situation: Build) -> None:
    case = situation(lost=[3], environment={"CUDA_VISIBLE_DEVICES": "0,1"}, tp=2).case()
    assert devices.layers(case) == [
        ("plan", 4),
        ("PCI bus", 4),
        ("driver", 4),
        ("answering", 3),
        ("visible to vLLM", 2),
        ("used by vLLM", 2),
    ]


def test_who_may_not_look_at_the_gpus_says_nothing_about_the_server(situation: Build) -> None:
    node = situation(unavailable="no_permission", failure="connection_refused", booted=False)
    assert node.ids() == {"gpu.no_driver", "server.down"}
    assert "performance.throughput" not in node.diagnosis("gpu.no_driver").findings


@pytest.mark.parametrize(
    ("reason", "identity"),
    [
        ("sw_thermal_slowdown", "gpu.too_hot"),
        ("hw_thermal_slowdown", "gpu.too_hot"),
        ("hw_power_brake_slowdown", "gpu.power_brake"),
        ("hw_slowdown", "gpu.slowed_by_hardware"),
        ("sync_boost", "gpu.clocks_fixed"),
        ("unknown_0x400", "gpu.slowed_down"),
    ],
)
def test_reasons_of_a_lower_clock(situation: Build, reason: str, identity: str) -> None:
    assert situation(throttle={1: [reason]}, speed=0.5).ids() == {identity}


def test_heat_goes_before_the_slowdown_that_it_causes(situation: Build) -> None:
    assert situation(throttle={1: ["hw_slowdown", "hw_thermal_slowdown"]}).ids() == {"gpu.too_hot"}


def test_all_that_one_hot_gpu_does_is_one_cause(situation: Build) -> None:
    node = situation(throttle={2: ["sw_thermal_slowdown"]}, temperature={2: 97}, apart=True, speed=0.4)
    assert set(node.diagnosis("gpu.too_hot").findings) == {
        "hardware.throttle",
        "hardware.temperature",
        "utilisation.synchronised",
        "performance.roofline",
        "performance.scaling",
    }
