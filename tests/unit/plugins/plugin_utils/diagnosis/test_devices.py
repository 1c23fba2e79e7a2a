# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Missing and slow GPUs. test_catalogue.py tests when they are diagnosed."""

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
        ({"lost": [3]}, "the GPU (listed by the driver, but not responding)"),
    ],
)
def test_missing_gpu_diagnosis_names_the_first_layer(situation: Build, facts: dict, where: str) -> None:
    diagnosis = situation(tp=1, dp=3, **facts).diagnosis("gpu.missing")
    assert diagnosis.title == f"GPUs are missing: the fault is in {where}"


def test_missing_gpu_diagnosis_includes_the_container(situation: Build) -> None:
    log = ["(Worker_TP3 pid=103) ERROR 11-23 12:01:00 [x.py:1] RuntimeError: CUDA error: invalid device ordinal"]
    node = situation(failure="connection_refused", loaded=False, log=log, environment={})
    assert "vllm_gpus: all" in node.diagnosis("gpu.missing").remedy


def test_layers_are_in_order_from_plan_to_vllm(situation: Build) -> None:
    context = situation(lost=[3], environment={"CUDA_VISIBLE_DEVICES": "0,1"}, tp=2).context()
    assert devices.levels(context) == [
        ("plan", 4),
        ("PCI bus", 4),
        ("driver", 4),
        ("responding", 3),
        ("visible to vLLM", 2),
        ("used by vLLM", 2),
    ]


def test_no_driver_diagnosis_without_permission_excludes_the_server(situation: Build) -> None:
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
def test_slowed_gpu_diagnosis_by_throttle_reason(situation: Build, reason: str, identity: str) -> None:
    assert situation(throttle={1: [reason]}, speed=0.5).ids() == {identity}


def test_slowed_gpu_diagnosis_prefers_heat(situation: Build) -> None:
    assert situation(throttle={1: ["hw_slowdown", "hw_thermal_slowdown"]}).ids() == {"gpu.too_hot"}


def test_hot_gpu_diagnosis_explains_all_its_effects(situation: Build) -> None:
    node = situation(throttle={2: ["sw_thermal_slowdown"]}, temperature={2: 97}, apart=True, speed=0.4)
    assert set(node.diagnosis("gpu.too_hot").findings) == {
        "hardware.throttle",
        "hardware.temperature",
        "utilisation.synchronised",
        "performance.roofline",
        "performance.scaling",
    }
