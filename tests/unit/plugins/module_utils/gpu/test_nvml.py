# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import nvml as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import SUBSETS, empty_device
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import REASONS, GpuUnavailable


def error(code, message="NVML message"):
    return {"error": code, "message": message}


def read(nvml, calls, subsets=SUBSETS):
    return subject.NvmlReader(nvml(calls)).devices(subsets)


def test_devices_of_h100_under_load(nvml, loaded):
    (device,) = read(nvml, loaded)
    assert device == {
        "index": 0,
        "uuid": "GPU-00000000-0000-0000-0000-000000000000",
        "name": "NVIDIA H100 80GB HBM3",
        "pci_bus_id": "00000000:00:06.0",
        "compute_capability": "9.0",
        "memory_total": 85520809984,
        "memory_used": 5356978176,
        "memory_free": 79660515328,
        "memory_bandwidth": 3_352_320_000_000,
        "memory_bandwidth_source": None,
        "utilization_gpu": 100,
        "utilization_memory": 23,
        "temperature": 54,
        "temperature_limits": {"slowdown": 89, "gpu_max": 87, "margin": 35, "margin_slowdown": -2},
        "power_draw": 590.884,
        "power_limit": 700.0,
        "clocks": {"sm": 1830, "memory": 2619},
        "clocks_max": {"sm": 1980, "memory": 2619},
        "pcie": {"generation": 5, "generation_max": 5, "width": 16, "width_max": 16, "replay_counter": 0},
        "ecc": {
            "enabled": True,
            "corrected_volatile": 0,
            "uncorrected_volatile": 0,
            "corrected_aggregate": 1,
            "uncorrected_aggregate": 0,
        },
        "remapped_rows": {"correctable": 0, "uncorrectable": 0, "pending": False, "failure": False},
        "retired_pages": {"correctable": None, "uncorrectable": None, "pending": None},
        "throttle_reasons": ["sw_power_cap"],
        "processes": [{"pid": 419, "name": "python3", "memory_used": 5345640448}],
        "mig_mode": "disabled",
        "error": None,
    }


def test_reader_versions_and_shutdown(nvml, idle):
    module = nvml(idle)
    reader = subject.NvmlReader(module)
    assert reader.versions() == {"driver_version": "580.159.04", "cuda_version": "13.0"}
    assert reader.count() == 1
    reader.close()
    assert module.stopped == 1


def test_devices_unsupported_values_are_none(nvml, idle):
    unsupported = {key: error(3) if "(gpu0" in key else value for key, value in idle.items()}
    assert read(nvml, unsupported) == [empty_device(0)]


def test_devices_function_missing_in_bindings_is_none(nvml, idle):
    module = nvml(idle)
    module.nvmlDeviceGetMarginTemperature = None
    (device,) = subject.NvmlReader(module).devices(SUBSETS)
    assert device["temperature_limits"]["margin"] is None


def test_devices_other_subsets_are_none(nvml, idle):
    (device,) = read(nvml, idle, ())
    empty = empty_device(0)
    kept = ("pcie", "ecc", "remapped_rows", "retired_pages", "throttle_reasons", "processes", "temperature_limits")
    assert {key: device[key] for key in kept} == {key: empty[key] for key in kept}
    assert device["memory_total"] == 85520809984


def test_devices_old_driver_uses_older_functions(nvml, loaded):
    old = {
        **loaded,
        "nvmlDeviceGetMemoryInfo(gpu0, 33554472)": error(13),
        "nvmlDeviceGetCurrentClocksEventReasons(gpu0)": error(13),
    }
    (device,) = read(nvml, old)
    assert device["memory_used"] == 5860294656
    assert device["throttle_reasons"] == ["sw_power_cap"]


def test_devices_old_bindings_use_memory_version_1(nvml, loaded):
    module = nvml(loaded)
    memory_info = module.nvmlDeviceGetMemoryInfo

    def of_one_version(handle):
        return memory_info(handle)

    module.nvmlDeviceGetMemoryInfo = of_one_version
    (device,) = subject.NvmlReader(module).devices(())
    assert device["memory_used"] == 5860294656


def test_devices_old_bindings_return_bytes(nvml, idle):
    (device,) = read(nvml, {**idle, "nvmlDeviceGetName(gpu0)": b"Quadro RTX 6000"})
    assert device["name"] == "Quadro RTX 6000"


def test_processes_of_another_namespace_have_no_name(nvml, loaded):
    process = {"pid": 7, "usedGpuMemory": None}
    (device,) = read(nvml, {**loaded, "nvmlDeviceGetComputeRunningProcesses(gpu0)": [process]})
    assert device["processes"] == [{"pid": 7, "name": None, "memory_used": None}]


def test_processes_command_line_as_name_is_masked(nvml, loaded):
    name = "python3 -m vllm.entrypoints.openai.api_server --api-key hush --port 8000"
    (device,) = read(nvml, {**loaded, "nvmlSystemGetProcessName(419)": name})
    assert device["processes"][0]["name"] == name.replace("hush", "***")


def test_devices_retired_pages_of_a_turing_card(nvml, idle):
    turing = {
        **idle,
        "nvmlDeviceGetRetiredPages(gpu0, 0)": [4096, 8192],
        "nvmlDeviceGetRetiredPages(gpu0, 1)": [],
        "nvmlDeviceGetRetiredPagesPendingStatus(gpu0)": 1,
    }
    (device,) = read(nvml, turing)
    assert device["retired_pages"] == {"correctable": 2, "uncorrectable": 0, "pending": True}


def test_devices_margin_from_old_bindings(nvml, idle):
    old = {**idle, "nvmlDeviceGetFieldValues(gpu0, [194])": [{"nvmlReturn": 0, "value": {"uiVal": 2**32 - 2}}]}
    (device,) = read(nvml, old)
    assert device["temperature_limits"]["margin_slowdown"] == -2


@pytest.mark.parametrize("key", ["nvmlDeviceGetHandleByIndex(1)", "nvmlDeviceGetPowerUsage(gpu1)"])
@pytest.mark.parametrize("code", sorted(subject.DEAD))
def test_devices_lost_gpu_has_an_error_and_others_are_read(nvml, idle, node_of, key, code):
    devices = read(nvml, {**node_of(idle, 3), key: error(code, "GPU is lost")})
    assert [device["error"] for device in devices] == [None, "GPU is lost", None]
    assert devices[2]["memory_total"] == 85520809984


@pytest.mark.parametrize(("code", "reason"), sorted(subject.INIT_REASONS.items()))
def test_reader_init_error_gives_the_reason(nvml, idle, code, reason):
    with pytest.raises(GpuUnavailable) as caught:
        subject.NvmlReader(nvml({**idle, "nvmlInit()": error(code)}))
    assert caught.value.reason == reason
    assert caught.value.detail == "NVML message"


def test_reader_unknown_error_is_nvml_error(nvml, idle):
    with pytest.raises(GpuUnavailable) as caught:
        subject.NvmlReader(nvml({**idle, "nvmlDeviceGetCount()": error(999)}))
    assert caught.value.reason == "nvml_error"


def test_init_reasons_are_in_reasons():
    assert set(subject.INIT_REASONS.values()) <= set(REASONS)


def test_topology_over_pcie(nvml, idle, node_of):
    facts = subject.NvmlReader(nvml(node_of(idle, 3, level=40, p2p=1))).topology()
    assert facts["matrix"] == [["X", "NODE", "NODE"], ["NODE", "X", "NODE"], ["NODE", "NODE", "X"]]
    assert facts["p2p"][0] == ["X", "CNS", "CNS"]
    assert facts["nvlink"] is False


def test_topology_counts_direct_nvlinks(nvml, idle, node_of):
    calls = node_of(idle, 3)
    for link in range(4):
        calls[f"nvmlDeviceGetNvLinkState(gpu0, {link})"] = 1
        calls[f"nvmlDeviceGetNvLinkRemoteDeviceType(gpu0, {link})"] = 0
        calls[f"nvmlDeviceGetNvLinkRemotePciInfo(gpu0, {link})"] = {"busId": "00000000:02:00.0"}
    facts = subject.NvmlReader(nvml(calls)).topology()
    assert facts["matrix"][0] == ["X", "NV4", "PHB"]
    assert facts["nvlink"] is True


def test_topology_nvlinks_through_a_switch(nvml, idle, node_of):
    calls = node_of(idle, 4, level=50)
    for gpu in range(4):
        for link in range(18):
            calls[f"nvmlDeviceGetNvLinkState(gpu{gpu}, {link})"] = 1
            calls[f"nvmlDeviceGetNvLinkRemoteDeviceType(gpu{gpu}, {link})"] = 2
    assert subject.NvmlReader(nvml(calls)).topology()["matrix"][2] == ["NV18", "NV18", "X", "NV18"]


def test_topology_of_two_h200_behind_a_switch(nvml, recorded):
    facts = subject.NvmlReader(nvml(recorded("idle", "h200x2"))).topology()
    assert facts["matrix"] == [["X", "NV18"], ["NV18", "X"]]
    assert facts["p2p"] == [["X", "OK"], ["OK", "X"]]
    assert facts["nvlink"] is True


def test_devices_of_two_h200_at_their_power_limit(nvml, recorded):
    one, other = read(nvml, recorded("load", "h200x2"))
    assert one["throttle_reasons"] == other["throttle_reasons"] == ["sw_power_cap"]
    assert (one["pcie"]["generation"], one["pcie"]["width"]) == (5, 16)
    assert one["memory_bandwidth"] == other["memory_bandwidth"] == 4_814_304_000_000


def test_topology_with_a_lost_gpu(nvml, idle, node_of):
    calls = {**node_of(idle, 3), "nvmlDeviceGetHandleByIndex(1)": error(15)}
    assert subject.NvmlReader(nvml(calls)).topology()["matrix"][0] == ["X", None, "PHB"]


def test_topology_unknown_is_none(nvml, idle, node_of):
    calls = {key: value for key, value in node_of(idle, 2).items() if "Topology" not in key}
    facts = subject.NvmlReader(nvml(calls)).topology()
    assert facts["matrix"] == [["X", None], [None, "X"]]
    assert facts["nvlink"] is None


def test_sample_of_h100_under_load(nvml, loaded):
    (sample,) = subject.NvmlReader(nvml(loaded)).sample()
    assert sample == {
        "index": 0,
        "utilization_gpu": 100,
        "utilization_memory": 23,
        "memory_used": 5356978176,
        "power_draw": 590.884,
        "temperature": 54,
        "clocks": {"sm": 1830, "memory": 2619},
        "pcie": {"generation": 5, "width": 16},
        "throttle_reasons": ["sw_power_cap"],
    }


def test_sample_of_a_lost_gpu_is_none(nvml, loaded, node_of):
    calls = {**node_of(loaded, 2), "nvmlDeviceGetHandleByIndex(0)": error(15)}
    lost, well = subject.NvmlReader(nvml(calls)).sample()
    assert lost["utilization_gpu"] is None
    assert well["utilization_gpu"] == 100


def test_open_nvml_without_bindings_is_unavailable(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    with pytest.raises(GpuUnavailable) as caught:
        subject.open_nvml()
    assert caught.value.reason == "bindings_missing"


def test_open_nvml_uses_the_installed_bindings(monkeypatch, nvml, idle):
    monkeypatch.setitem(__import__("sys").modules, "pynvml", nvml(idle))
    assert subject.open_nvml().count() == 1
