# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the hardware rules with GPU samples under load."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status, failed
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import hardware
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.tests.support.peer_data import healthy

Build = Callable[..., NodeFacts]


def answers(node: NodeFacts, check: str) -> list[tuple[Status, str]]:
    return [(item.status, item.summary) for item in hardware.evaluate(node) if item.check == check]


def change(results: dict, index: int, part: float = 1.0, **readings: object) -> None:
    samples = results["load"]["gpu_samples"]["samples"]
    for sample in samples[: round(len(samples) * part)]:
        sample["gpus"][index].update(readings)


def test_hardware_of_a_healthy_node_passes_under_load(node: Build, results: dict) -> None:
    judged = {item.check: item.status for item in hardware.evaluate(node(results))}
    for check in ("hardware.pcie_link", "hardware.throttle", "hardware.temperature"):
        assert judged[check] is Status.PASS


@pytest.mark.parametrize(("modes", "gpus"), [(["enabled"] * 4, "GPUs 0, 1, 2, 3 are"), (["enabled", None], "GPU 0 is")])
def test_mig_mode_is_explained(node: Build, results: dict, modes: list, gpus: str) -> None:
    for device, mode in zip(results["gpu"]["ansible_facts"]["gpu"]["devices"], modes, strict=False):
        device["mig_mode"] = mode
    assert answers(node(results), "hardware.topology") == [(Status.WARN, f"{gpus} in MIG mode")]
    assert [status for status, _summary in answers(node(results), "hardware.p2p")] == [Status.NOT_TESTED]


@pytest.mark.parametrize("mode", ["disabled", None])
def test_mig_mode_off_or_unsupported_changes_nothing(node: Build, results: dict, mode: str | None) -> None:
    before = hardware.evaluate(node(results))
    for device in results["gpu"]["ansible_facts"]["gpu"]["devices"]:
        device["mig_mode"] = mode
    assert hardware.evaluate(node(results)) == before


def test_pcie_link_that_is_slow_while_idle_passes(node: Build, results: dict) -> None:
    assert results["gpu"]["ansible_facts"]["gpu"]["devices"][0]["pcie"]["generation"] == 1
    ((status, summary),) = answers(node(results), "hardware.pcie_link")
    assert status is Status.PASS
    assert "under load" in summary


def test_pcie_link_that_is_narrow_under_load_fails(node: Build, results: dict) -> None:
    change(results, 2, pcie={"generation": 4, "width": 4})
    ((status, summary),) = answers(node(results), "hardware.pcie_link")
    assert status is Status.FAIL
    assert "GPU 2" in summary


def test_pcie_link_ignores_idle_samples(node: Build, results: dict) -> None:
    change(results, 2, part=0.5, pcie={"generation": 1, "width": 16}, utilization_gpu=0)
    ((status, _summary),) = answers(node(results), "hardware.pcie_link")
    assert status is Status.PASS


@pytest.mark.parametrize(("part", "status"), [(1.0, Status.FAIL), (0.5, Status.FAIL), (0.03, Status.PASS)])
def test_throttle_fails_by_share_of_samples(node: Build, results: dict, part: float, status: Status) -> None:
    change(results, 1, part=part, throttle_reasons=["hw_thermal_slowdown", "hw_slowdown"])
    assert [item for item, _summary in answers(node(results), "hardware.throttle")] == [status]


def test_throttle_by_power_cap_passes(node: Build, results: dict) -> None:
    change(results, 1, throttle_reasons=["sw_power_cap"])
    assert [item for item, _summary in answers(node(results), "hardware.throttle")] == [Status.PASS]


def test_temperature_under_load_fails(node: Build, results: dict) -> None:
    change(results, 3, temperature=99)
    assert [item for item, _summary in answers(node(results), "hardware.temperature")] == [Status.FAIL]


def test_temperature_margin_shrinks_under_load(node: Build, results: dict) -> None:
    device = results["gpu"]["ansible_facts"]["gpu"]["devices"][0]
    device["temperature_limits"] = {"slowdown": None, "gpu_max": None, "margin": 20, "margin_slowdown": -2}
    change(results, 0, temperature=device["temperature"] + 25)
    assert [item for item, _summary in answers(node(results), "hardware.temperature")] == [Status.FAIL]
    assert device["temperature_limits"]["margin"] == 20, "the facts are not changed"


def test_driver_fails_if_a_gpu_stops_responding(node: Build, results: dict) -> None:
    for sample in results["load"]["gpu_samples"]["samples"][20:]:
        sample["gpus"][2].update(dict.fromkeys(("utilization_gpu", "memory_used", "temperature", "power_draw")))
    assert (Status.FAIL, "GPU 2 stopped responding under load") in answers(node(results), "hardware.driver")


def test_driver_ignores_one_sample_without_readings(node: Build, results: dict) -> None:
    last = results["load"]["gpu_samples"]["samples"][-1]
    last["gpus"][2].update(dict.fromkeys(("utilization_gpu", "memory_used", "temperature", "power_draw")))
    assert Status.FAIL not in dict(answers(node(results), "hardware.driver"))


def test_driver_fails_if_sampling_breaks_off(node: Build, results: dict) -> None:
    taken = results["load"]["gpu_samples"]
    taken |= {"samples": taken["samples"][:5], "error": "GPU is lost"}
    assert (Status.FAIL, "the driver stopped responding under load: GPU is lost") in answers(
        node(results), "hardware.driver"
    )


def test_driver_ignores_a_gpu_without_any_reading(node: Build, results: dict) -> None:
    change(results, 1, utilization_gpu=None, memory_used=None, temperature=None, power_draw=None)
    assert Status.FAIL not in dict(answers(node(results), "hardware.driver"))


def test_hardware_without_load_has_the_modules_findings(node: Build, results: dict) -> None:
    results |= {"load": {}, "peer_data": healthy()}
    assert hardware.evaluate(node(results)) == node(results).findings("hardware")


def test_xid_without_a_kernel_log_is_not_tested(node: Build, results: dict) -> None:
    results["logs"].update(sources=["/var/log/vllm.log"], findings=[])
    ((status, summary),) = answers(node(results), "hardware.xid")
    assert status is Status.NOT_TESTED
    assert "validate_kernel_log_paths" in summary


def test_xid_of_the_kernel_log_is_kept(node: Build, results: dict) -> None:
    fault = failed("hardware.xid", "Xid 79", cause="c", remedy="r")
    results["logs"].update(sources=["/var/log/kern.log"], findings=[fault.as_dict()])
    assert (Status.FAIL, "Xid 79") in answers(node(results), "hardware.xid")


def test_hardware_without_readings_is_not_judged_under_load(node: Build, results: dict) -> None:
    for index in range(4):
        change(results, index, pcie={"generation": None, "width": None}, throttle_reasons=None, temperature=None)
        device = results["gpu"]["ansible_facts"]["gpu"]["devices"][index]
        device["throttle_reasons"] = None
        device["pcie"]["generation"] = None
    assert answers(node(results), "hardware.throttle") == []
    assert answers(node(results), "hardware.pcie_link") == []
