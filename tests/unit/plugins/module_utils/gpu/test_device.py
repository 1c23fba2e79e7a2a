# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import device as subject


@pytest.mark.parametrize(
    ("clock", "width", "gigabytes"),
    [
        (7001, 384, 672),  # Quadro RTX 6000, GDDR6
        (9001, 160, 360),  # RTX 4000 Ada, GDDR6
        (10001, 384, 960),  # RTX 6000 Ada, GDDR6
        (14001, 512, 1792),  # RTX PRO 6000 Blackwell, GDDR7
        (2619, 5120, 3352),  # H100 SXM, HBM3
    ],
)
def test_memory_bandwidth_equals_the_published_value(clock, width, gigabytes):
    assert subject.memory_bandwidth(clock, width) == pytest.approx(gigabytes * 1e9, rel=0.001)


@pytest.mark.parametrize(("clock", "width"), [(None, 384), (9001, None), (0, 384)])
def test_memory_bandwidth_unknown_clock_or_width_is_none(clock, width):
    assert subject.memory_bandwidth(clock, width) is None


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        (None, None),
        (0, []),
        (0x1, ["gpu_idle"]),
        (0x48, ["hw_slowdown", "hw_thermal_slowdown"]),
        (0x204, ["sw_power_cap", "unknown_0x200"]),
    ],
)
def test_throttle_reasons_of_mask(mask, names):
    assert subject.throttle_reasons(mask) == names


@pytest.mark.parametrize(("number", "version"), [(13000, "13.0"), (12080, "12.8"), (0, None), (None, None)])
def test_cuda_version_of_number(number, version):
    assert subject.cuda_version(number) == version


def test_empty_device_is_independent():
    one, other = subject.empty_device(0), subject.empty_device(1)
    one["clocks"]["sm"] = 210
    assert other["clocks"]["sm"] is None


def test_sample_of_keeps_changing_values():
    assert subject.sample_of(subject.empty_device(3)) == {
        "index": 3,
        "utilization_gpu": None,
        "utilization_memory": None,
        "memory_used": None,
        "power_draw": None,
        "temperature": None,
        "clocks": {"sm": None, "memory": None},
        "pcie": {"generation": None, "width": None},
        "throttle_reasons": None,
    }


@pytest.mark.parametrize(
    ("computed", "name", "bandwidth", "source"),
    [
        (3_352_320_000_000, "NVIDIA H100 80GB HBM3", 3_352_320_000_000, "clock"),
        (None, "NVIDIA H100 80GB HBM3", 3_350_000_000_000, "datasheet"),
        # Clock and bus width of NVIDIA's mock of NVML (k8s-test-infra), 1593 MHz x 5120 bit and 4000 MHz x 5120 bit.
        (2_039_040_000_000, "NVIDIA H100 80GB HBM3", 3_350_000_000_000, "datasheet"),
        (5_120_000_000_000, "NVIDIA B200", 8_000_000_000_000, "datasheet"),
        (1_792_128_000_000, "NVIDIA RTX PRO 6000 Blackwell Server Edition", 1_792_128_000_000, "clock"),
        (2_039_040_000_000, "NVIDIA Imaginary 1", 2_039_040_000_000, "clock"),
        (None, "NVIDIA Imaginary 1", None, None),
        (None, None, None, None),
    ],
)
def test_with_bandwidth_unknown_or_implausible_uses_the_data_sheet(computed, name, bandwidth, source):
    device = subject.with_bandwidth({**subject.empty_device(0), "name": name, "memory_bandwidth": computed})
    assert (device["memory_bandwidth"], device["memory_bandwidth_source"]) == (bandwidth, source)
