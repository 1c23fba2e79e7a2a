# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import nvml as nvml_backend
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import smi as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import SUBSETS, empty_device
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable

#: Sections as printed by drivers before release 535 for a Turing card.
TURING = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v11.dtd">
<nvidia_smi_log>
  <driver_version>470.57.02</driver_version>
  <cuda_version>11.4</cuda_version>
  <attached_gpus>1</attached_gpus>
  <gpu id="00000000:00:02.0">
    <product_name>Quadro RTX 6000</product_name>
    <clocks_throttle_reasons>
      <clocks_throttle_reason_gpu_idle>Not Active</clocks_throttle_reason_gpu_idle>
      <clocks_throttle_reason_hw_slowdown>Active</clocks_throttle_reason_hw_slowdown>
      <clocks_throttle_reason_display_clocks_setting>Active</clocks_throttle_reason_display_clocks_setting>
    </clocks_throttle_reasons>
    <ecc_mode><current_ecc>Disabled</current_ecc></ecc_mode>
    <ecc_errors>
      <volatile>
        <single_bit><device_memory>1</device_memory><total>3</total></single_bit>
        <double_bit><device_memory>N/A</device_memory><total>N/A</total></double_bit>
      </volatile>
    </ecc_errors>
    <power_readings><power_draw>21.30 W</power_draw><power_limit>260.00 W</power_limit></power_readings>
    <temperature>
      <gpu_temp>41 C</gpu_temp>
      <gpu_temp_slow_threshold>94 C</gpu_temp_slow_threshold>
      <gpu_temp_max_gpu_threshold>89 C</gpu_temp_max_gpu_threshold>
    </temperature>
    <retired_pages>
      <multiple_single_bit_retirement><retired_count>2</retired_count></multiple_single_bit_retirement>
      <double_bit_retirement><retired_count>1</retired_count></double_bit_retirement>
      <pending_retirement>Yes</pending_retirement>
    </retired_pages>
    <remapped_rows>N/A</remapped_rows>
    <mig_mode><current_mig>N/A</current_mig></mig_mode>
    <processes>
      <process_info><pid>11</pid><type>G</type><process_name>Xorg</process_name></process_info>
      <process_info><pid>12</pid><type>C+G</type><used_memory>N/A</used_memory></process_info>
    </processes>
  </gpu>
</nvidia_smi_log>
"""


def device_of(text, subsets=SUBSETS):
    return subject.SmiReader(lambda command: text).devices(subsets)[0]


@pytest.mark.parametrize("gpu", ["h100", "h200"])
@pytest.mark.parametrize("state", ["idle", "load"])
def test_smi_devices_agree_with_nvml(recorded_smi, nvml, recorded, state, gpu):
    """Both backends agree, except for values that nvidia-smi does not print or that change between readings."""
    (device,) = subject.SmiReader(recorded_smi(state, gpu)).devices(SUBSETS)
    (expected,) = nvml_backend.NvmlReader(nvml(recorded(state, gpu))).devices(SUBSETS)
    not_printed = {"memory_bandwidth": None, "compute_capability": None}
    changing = {"temperature", "temperature_limits", "power_draw", "clocks", "processes"}
    changing |= {key for key in device if key.startswith(("memory_", "utilization_"))}
    assert {key: value for key, value in device.items() if key not in changing} == {
        key: value for key, value in {**expected, **not_printed}.items() if key not in changing
    }
    limits = device["temperature_limits"]
    assert (limits["slowdown"], limits["gpu_max"], limits["margin_slowdown"]) == (None, None, -2)
    assert limits["margin"] == pytest.approx(expected["temperature_limits"]["margin"], abs=10)
    assert device["utilization_gpu"] == pytest.approx(expected["utilization_gpu"], abs=2)
    for key in ("memory_total", "memory_used", "memory_free"):
        assert device[key] == pytest.approx(expected[key], abs=2**20)
    assert device["power_draw"] == pytest.approx(expected["power_draw"], rel=0.05)


def test_smi_processes_of_recording(recorded_smi):
    (device,) = subject.SmiReader(recorded_smi("load")).devices(SUBSETS)
    assert device["processes"] == [{"pid": 419, "name": "python3", "memory_used": 5098 * 2**20}]


def test_smi_versions_and_count(recorded_smi):
    reader = subject.SmiReader(recorded_smi("idle"))
    assert reader.versions() == {"driver_version": "580.159.04", "cuda_version": "13.0"}
    assert reader.count() == 1
    reader.close()


def test_smi_topology_of_recording(recorded_smi):
    facts = subject.SmiReader(recorded_smi("idle")).topology()
    assert facts["matrix"] == [["X"]]
    assert facts["p2p"] == [["X"]]


def test_smi_failing_peer_access_is_none(recorded_smi):
    def run(command):
        if "-p2p" in command:
            raise GpuUnavailable("smi_failed")
        return recorded_smi("idle")(command)

    assert subject.SmiReader(run).topology()["p2p"] is None


def test_smi_failing_topology_is_none(recorded_smi):
    def run(command):
        if "topo" in command:
            raise GpuUnavailable("smi_failed")
        return recorded_smi("idle")(command).replace("</gpu>", "</gpu><gpu/>")

    facts = subject.SmiReader(run).topology()
    assert facts["matrix"] == [["X", None], [None, "X"]]
    assert facts["p2p"] is None and facts["nvlink"] is None


@pytest.mark.parametrize("text", ["GPU is lost", "[GPU requires reset]"])
def test_smi_lost_gpu_has_an_error(text):
    device = device_of(f"<nvidia_smi_log><gpu><uuid>GPU-1</uuid><fan_speed>{text}</fan_speed></gpu></nvidia_smi_log>")
    assert device["error"] == text.strip("[]")


def test_smi_unknown_throttle_reasons_are_none():
    gpu = "<gpu><clocks_event_reasons><clocks_event_reason_gpu_idle>N/A</clocks_event_reason_gpu_idle>"
    assert device_of(f"<nvidia_smi_log>{gpu}</clocks_event_reasons></gpu></nvidia_smi_log>")["throttle_reasons"] is None


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("[Not Found]", None),
        ("/usr/bin/python3 vllm serve m --api-key hush", "/usr/bin/python3 vllm serve m --api-key ***"),
    ],
)
def test_smi_process_names_are_masked(printed, name):
    info = f"<process_info><pid>1</pid><type>C</type><process_name>{printed}</process_name></process_info>"
    device = device_of(f"<nvidia_smi_log><gpu><processes>{info}</processes></gpu></nvidia_smi_log>")
    assert device["processes"][0]["name"] == name


def test_smi_sample_reads_again(recorded_smi):
    states = iter([recorded_smi("idle"), recorded_smi("load")])

    def run(command):
        return next(states)(command)

    reader = subject.SmiReader(run)
    (sample,) = reader.sample()
    assert sample["utilization_gpu"] == 100
    assert sample["pcie"] == {"generation": 5, "width": 16}
    assert sample["throttle_reasons"] == ["sw_power_cap"]


def test_smi_sections_of_old_drivers():
    device = device_of(TURING)
    assert device["throttle_reasons"] == ["hw_slowdown", "display_clock_setting"]
    assert device["ecc"]["enabled"] is False
    assert device["ecc"]["corrected_volatile"] == 3
    assert device["ecc"]["uncorrected_volatile"] is None
    assert (device["power_draw"], device["power_limit"]) == (21.3, 260.0)
    assert device["temperature_limits"] == {"slowdown": 94, "gpu_max": 89, "margin": None, "margin_slowdown": None}
    assert device["remapped_rows"] == empty_device(0)["remapped_rows"]
    assert device["retired_pages"] == {"correctable": 2, "uncorrectable": 1, "pending": True}
    assert device["mig_mode"] is None
    assert device["processes"] == [{"pid": 12, "name": None, "memory_used": None}]


def test_smi_gpu_without_values_is_empty():
    device = device_of("<nvidia_smi_log><gpu><processes>N/A</processes></gpu></nvidia_smi_log>")
    assert device == empty_device(0)


def test_smi_other_subsets_are_none(recorded_smi):
    (device,) = subject.SmiReader(recorded_smi("load")).devices(())
    assert device["processes"] is None
    assert device["pcie"] == empty_device(0)["pcie"]
    assert device["utilization_gpu"] == 100


@pytest.mark.parametrize("text", ["", "No devices were found", "<nvidia_smi_log>"])
def test_smi_invalid_xml_is_unreadable(text):
    with pytest.raises(GpuUnavailable) as caught:
        subject.SmiReader(lambda command: text)
    assert caught.value.reason == "smi_unreadable"


def test_smi_ecc_errors_are_summed():
    gpu = ET.fromstring(
        "<gpu><ecc_errors><volatile><sram_correctable>1</sram_correctable><dram_correctable>2</dram_correctable>"
        "<sram_uncorrectable_parity>4</sram_uncorrectable_parity><dram_uncorrectable>8</dram_uncorrectable>"
        "</volatile></ecc_errors></gpu>"
    )
    assert subject._health(gpu)["ecc"]["corrected_volatile"] == 3
    assert subject._health(gpu)["ecc"]["uncorrected_volatile"] == 12


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo \"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\"; exit 9",
         "driver_not_loaded"),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", "version_mismatch"),
        ("echo 'Failed to initialize NVML: Insufficient Permissions'; exit 4", "no_permission"),
        ("echo 'Unable to determine the device handle for GPU0: GPU is lost.  Reboot the system'; exit 15",
         "gpu_lost"),
        ("echo broken >&2; exit 1", "smi_failed"),
    ],
)  # fmt: skip
def test_run_error_message_gives_the_reason(script, reason):
    with pytest.raises(GpuUnavailable) as caught:
        subject.run(["sh", "-c", script])
    assert caught.value.reason == reason


def test_run_missing_command_is_smi_missing():
    with pytest.raises(GpuUnavailable) as caught:
        subject.run(["no-such-nvidia-smi"])
    assert caught.value.reason == "smi_missing"


def test_run_forbidden_command_is_no_permission(tmp_path):
    (tmp_path / "nvidia-smi").write_text("")
    with pytest.raises(GpuUnavailable) as caught:
        subject.run([str(tmp_path / "nvidia-smi")])
    assert caught.value.reason == "no_permission"


def test_run_hanging_command_is_smi_timeout(monkeypatch):
    def hang(*args, **kwargs):
        raise subprocess.TimeoutExpired(args[0], kwargs["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(GpuUnavailable) as caught:
        subject.run(["nvidia-smi", "-q", "-x"])
    assert caught.value.reason == "smi_timeout"


def test_run_returns_the_output():
    assert subject.run(["echo", "fine"]) == "fine\n"
