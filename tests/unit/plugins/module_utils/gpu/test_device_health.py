# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import device_health as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import empty_device
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.nvml import NvmlReader


@pytest.fixture
def four(nvml, idle, node_of):
    """Return four healthy idle GPUs."""
    return NvmlReader(nvml(node_of(idle, 4))).devices(("health", "pcie"))


def status_of(check, devices):
    finding = subject.JUDGES[check](devices)
    assert finding.check == check
    return finding.status.value


@pytest.mark.parametrize("check", subject.JUDGES)
def test_judge_healthy_gpus_pass(check, four):
    finding = subject.JUDGES[check](four)
    assert finding.status.value == "pass"
    assert finding.cause is None and finding.remedy is None
    assert finding.source


@pytest.mark.parametrize("check", subject.JUDGES)
def test_judge_gpus_under_load_pass(check, nvml, loaded):
    assert status_of(check, NvmlReader(nvml(loaded)).devices(("health", "pcie"))) == "pass"


@pytest.mark.parametrize("check", subject.JUDGES)
def test_judge_gpus_without_values_are_not_tested(check):
    assert status_of(check, [empty_device(0), empty_device(1)]) == "not_tested"


@pytest.mark.parametrize("check", subject.JUDGES)
def test_judge_one_gpu_without_values_is_not_tested(check, four):
    finding = subject.JUDGES[check]([*four[:3], empty_device(3)])
    assert finding.status.value == "not_tested"
    assert finding.summary.startswith("GPU 3: ")


@pytest.mark.parametrize(
    ("utilisation", "link", "status"),
    [
        (0, {"generation": 1}, "not_tested"),
        (None, {"generation": 1}, "not_tested"),
        (9, {"generation": 1}, "not_tested"),
        (10, {"generation": 4}, "fail"),
        (95, {"width": 8}, "fail"),
        (0, {"width": 8}, "warn"),
        (0, {"width": 8, "generation": 1}, "warn"),
        (95, {"replay_counter": 80}, "pass"),
        (95, {"replay_counter": 81}, "warn"),
        (95, {"replay_counter": None}, "pass"),
        (95, {"generation_max": None}, "not_tested"),
    ],
)
def test_pcie_link_status_by_load_and_width(four, utilisation, link, status):
    four[1]["utilization_gpu"] = utilisation
    four[1]["pcie"].update(link)
    assert status_of("hardware.pcie_link", four) == status


def test_pcie_link_summary_names_gpu_and_link(four):
    four[1].update(utilization_gpu=90, pcie={**four[1]["pcie"], "generation": 3})
    finding = subject.pcie_link(four)
    assert finding.summary == "GPU 1: PCIe gen 3 x16 of gen 5 x16 under load"
    assert finding.expected == "gen 5 x16"
    assert finding.measured == "gen 3 x16, gen 5 x16"
    assert finding.remedy


@pytest.mark.parametrize(
    ("ecc", "rows", "status"),
    [
        ({"uncorrected_volatile": 1}, {}, "fail"),
        ({"corrected_volatile": 10_000}, {}, "pass"),
        ({"uncorrected_aggregate": 3}, {}, "pass"),
        ({}, {"pending": True}, "fail"),
        ({}, {"failure": True}, "fail"),
        ({}, {"uncorrectable": 512}, "pass"),
        ({}, {"uncorrectable": 513}, "fail"),
        ({"uncorrected_volatile": None}, {}, "not_tested"),
        ({"uncorrected_volatile": None}, {"failure": True}, "fail"),
        ({}, {"pending": None, "failure": None, "uncorrectable": None}, "pass"),
    ],
)
def test_ecc_status_by_errors_and_remapped_rows(four, ecc, rows, status):
    four[2]["ecc"].update(ecc)
    four[2]["remapped_rows"].update(rows)
    assert status_of("hardware.ecc", four) == status


@pytest.mark.parametrize(
    ("pages", "status"),
    [
        ({"correctable": 31, "uncorrectable": 32, "pending": False}, "pass"),
        ({"correctable": 32, "uncorrectable": 32, "pending": False}, "fail"),
        ({"correctable": 0, "uncorrectable": 1, "pending": True}, "fail"),
    ],
)
def test_ecc_status_by_retired_pages(four, pages, status):
    four[1]["remapped_rows"] = empty_device(1)["remapped_rows"]
    four[1]["retired_pages"] = pages
    assert status_of("hardware.ecc", four) == status


def test_ecc_without_counters_reports_page_retirement():
    device = empty_device(0)
    device["retired_pages"]["pending"] = False
    assert subject.ecc([device]).summary == "GPU 0: ECC is off or not supported; page retirement is clean"


def test_ecc_sums_errors_of_all_gpus(four):
    four[0]["ecc"]["uncorrected_volatile"] = 2
    four[3]["ecc"]["uncorrected_volatile"] = 5
    finding = subject.ecc(four)
    assert finding.measured == 7
    assert finding.summary.startswith("GPU 0: 2 uncorrectable memory errors")
    assert "GPU 3: 5 uncorrectable" in finding.summary


@pytest.mark.parametrize(
    ("reasons", "status", "cause"),
    [
        ([], "pass", None),
        (["gpu_idle"], "pass", None),
        (["sw_power_cap"], "pass", None),
        (["sw_thermal_slowdown"], "warn", "too hot"),
        (["hw_slowdown", "hw_thermal_slowdown"], "fail", "too hot"),
        (["hw_slowdown", "hw_power_brake_slowdown"], "fail", "power supply"),
        (["hw_slowdown"], "fail", "heat or power supply"),
        (["applications_clocks_setting"], "warn", "clocks were limited"),
        (["sync_boost"], "warn", "slower member"),
        (["unknown_0x200"], "warn", "newer than this collection"),
    ],
)
def test_throttle_status_and_cause_by_reason(four, reasons, status, cause):
    four[1]["throttle_reasons"] = reasons
    finding = subject.throttle(four)
    assert finding.status.value == status
    assert (cause in finding.cause) if cause else finding.cause is None


def test_throttle_of_all_gpus_is_summarised_once(four):
    for device in four:
        device["throttle_reasons"] = ["sw_power_cap", "hw_thermal_slowdown"]
    finding = subject.throttle(four)
    assert finding.summary == "all GPUs: hw_thermal_slowdown"
    assert finding.measured == "hw_thermal_slowdown"


@pytest.mark.parametrize(
    ("margin", "status"), [(55, "pass"), (1, "pass"), (0, "warn"), (-1, "warn"), (-2, "fail"), (-5, "fail")]
)
def test_temperature_status_by_margin(four, margin, status):
    four[1]["temperature_limits"]["margin"] = margin
    assert status_of("hardware.temperature", four) == status


@pytest.mark.parametrize(
    ("now", "limits", "status"),
    [
        (60, {"slowdown": 94, "gpu_max": 89}, "pass"),
        (89, {"slowdown": 94, "gpu_max": 89}, "warn"),
        (93, {"slowdown": 94, "gpu_max": None}, "pass"),
        (94, {"slowdown": 94, "gpu_max": None}, "fail"),
        (60, {"slowdown": None, "gpu_max": 89}, "not_tested"),
        (None, {"slowdown": 94, "gpu_max": 89}, "not_tested"),
    ],
)
def test_temperature_status_by_threshold(now, limits, status):
    device = empty_device(0)
    device["temperature"] = now
    device["temperature_limits"].update(limits)
    assert status_of("hardware.temperature", [device]) == status


def test_temperature_reports_the_hottest_gpu(four):
    four[2]["temperature"] = 71
    finding = subject.temperature(four)
    assert (finding.measured, finding.unit, finding.expected) == (71, "°C", "below 89 °C")
    assert finding.summary == "at most 71 °C"
