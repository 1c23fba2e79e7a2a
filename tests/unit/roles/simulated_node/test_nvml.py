# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the mock NVML with the unmodified nvidia-ml-py."""

from __future__ import annotations

import http.client
import pathlib
import shutil
import typing as t
from collections.abc import Callable

import pytest
from emulator import build, scenario, state

StartNode = Callable[..., dict[str, t.Any]]
ReadNvml = Callable[[str, str], t.Any]

FACTS = """
n.nvmlInit()
def call(function, *arguments):
    try:
        return function(*arguments)
    except n.NVMLError as error:
        return str(error)
result = []
for index in range(n.nvmlDeviceGetCount()):
    h = n.nvmlDeviceGetHandleByIndex(index)
    memory, memory_v2 = n.nvmlDeviceGetMemoryInfo(h), n.nvmlDeviceGetMemoryInfo(h, n.nvmlMemory_v2)
    result.append({
        "name": n.nvmlDeviceGetName(h), "uuid": n.nvmlDeviceGetUUID(h), "bus": n.nvmlDeviceGetPciInfo(h).busId,
        "same_by_uuid": n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByUUID(n.nvmlDeviceGetUUID(h).encode())),
        "same_by_bus": n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByPciBusId(b"0000:00:%02x.0" % (index + 2))),
        "memory": [memory.total, memory.used, memory.free], "reserved": memory_v2.reserved, "used_v2": memory_v2.used,
        "bandwidth": n.nvmlDeviceGetMaxClockInfo(h, n.NVML_CLOCK_MEM) * 2 * n.nvmlDeviceGetMemoryBusWidth(h) // 8,
        "utilization": n.nvmlDeviceGetUtilizationRates(h).gpu, "power": n.nvmlDeviceGetPowerUsage(h),
        "generation": n.nvmlDeviceGetCurrPcieLinkGeneration(h),
        "temperature": n.nvmlDeviceGetTemperatureV(h, 0), "margin": call(n.nvmlDeviceGetMarginTemperature, h),
        "slowdown": call(n.nvmlDeviceGetTemperatureThreshold, h, n.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
        "slowdown_offset": n.nvmlDeviceGetFieldValues(h, [n.NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT])[0].value.siVal,
        "ecc": call(n.nvmlDeviceGetTotalEccErrors, h, 1, 1), "remapped": call(n.nvmlDeviceGetRemappedRows, h),
        "reasons": n.nvmlDeviceGetCurrentClocksEventReasons(h), "mig": call(n.nvmlDeviceGetMigMode, h),
        "nvlink": call(n.nvmlDeviceGetNvLinkState, h, 0), "serial": call(n.nvmlDeviceGetSerial, h),
        "pids": [p.pid for p in n.nvmlDeviceGetComputeRunningProcesses(h)],
        "names": [n.nvmlSystemGetProcessName(p.pid) for p in n.nvmlDeviceGetComputeRunningProcesses(h)],
    })
"""


@pytest.fixture
def at_rest(tmp_path: pathlib.Path, cache_dir: pathlib.Path) -> Callable[[str], str]:
    """Return a function that creates library and state of a scenario without processes; it returns their directory."""

    def make(name: str) -> str:
        chosen = scenario.Scenario.load(name)
        shutil.copyfile(build.library(scenario.ROOT, cache_dir), tmp_path / "libnvidia-ml.so.1")
        gpus = [chosen.gpu_record(index, "node") for index in range(chosen.gpu_count)]
        state.StateFile.create(tmp_path / state.FILE_NAME, chosen.node_record(), gpus).close()
        return str(tmp_path)

    return make


def test_nvml_serving_node_lists_gpus_memory_and_workers(start_node: StartNode, read_nvml: ReadNvml) -> None:
    node = start_node("healthy-tp4")
    gpus = read_nvml(node["lib_dir"], FACTS)
    assert [gpu["name"] for gpu in gpus] == ["NVIDIA RTX 4000 Ada Generation"] * 4
    assert [(gpu["same_by_uuid"], gpu["same_by_bus"]) for gpu in gpus] == [(index, index) for index in range(4)]
    assert len({gpu["uuid"] for gpu in gpus}) == 4
    assert {gpu["bandwidth"] for gpu in gpus} == {360_040}
    for rank, gpu in enumerate(gpus):
        total, used, free = gpu["memory"]
        assert total == used + free
        assert used == gpu["used_v2"] + gpu["reserved"]
        assert [name.rstrip("\0") for name in gpu["names"]] == [f"VLLM::Worker_TP{rank}"]


def test_nvml_idle_ada_matches_a_real_gpu(at_rest: Callable[[str], str], read_nvml: ReadNvml) -> None:
    gpu = read_nvml(at_rest("healthy-tp4"), FACTS)[0]
    assert gpu["utilization"] == 0
    assert gpu["reasons"] == 1
    assert gpu["generation"] == 1
    assert gpu["pids"] == []
    assert (gpu["slowdown"], gpu["slowdown_offset"]) == (95, -2)
    assert gpu["remapped"] == [0, 0, 0, 0]
    for unsupported in ("ecc", "mig", "nvlink", "serial"):
        assert gpu[unsupported] == "Not Supported"


def test_nvml_blackwell_has_margin_but_no_thresholds(at_rest: Callable[[str], str], read_nvml: ReadNvml) -> None:
    healthy, broken = read_nvml(at_rest("ecc-xid"), FACTS)
    assert healthy["slowdown"] == "Not Supported"
    assert healthy["margin"] == 63
    assert (healthy["ecc"], broken["ecc"]) == (0, 9)
    assert broken["remapped"] == [1, 8, 0, 1]


def test_nvml_turing_has_thresholds_but_no_margin(
    cache_dir: pathlib.Path, tmp_path: pathlib.Path, read_nvml: ReadNvml
) -> None:
    chosen = scenario.Scenario.load("healthy-tp4")
    turing = scenario.load_json("data/gpus.json")["rtx6000"]
    other = scenario.Scenario(**{**vars(chosen), "gpu": turing, "gpu_count": 1})
    shutil.copyfile(build.library(scenario.ROOT, cache_dir), tmp_path / "libnvidia-ml.so.1")
    state.StateFile.create(tmp_path / state.FILE_NAME, other.node_record(), [other.gpu_record(0, "node")]).close()
    gpu = read_nvml(str(tmp_path), FACTS)[0]
    assert (gpu["slowdown"], gpu["margin"], gpu["remapped"]) == (94, "Not Supported", "Not Supported")


@pytest.mark.parametrize(
    ("name", "message"), [("no-driver", "Driver Not Loaded"), ("no-permission", "Insufficient Permissions")]
)
def test_nvml_init_error_of_scenario_is_returned(
    at_rest: Callable[[str], str], read_nvml: ReadNvml, name: str, message: str
) -> None:
    code = "try:\n    n.nvmlInit()\n    result = None\nexcept n.NVMLError as error:\n    result = str(error)"
    assert read_nvml(at_rest(name), code) == message


def test_nvml_without_state_file_driver_is_not_loaded(at_rest: Callable[[str], str], read_nvml: ReadNvml) -> None:
    lib_dir = at_rest("healthy-tp1")
    (pathlib.Path(lib_dir) / state.FILE_NAME).unlink()
    code = "try:\n    n.nvmlInit()\n    result = None\nexcept n.NVMLError as error:\n    result = str(error)"
    assert read_nvml(lib_dir, code) == "Driver Not Loaded"


def test_nvml_lost_gpu_is_counted_but_has_no_handle(at_rest: Callable[[str], str], read_nvml: ReadNvml) -> None:
    code = """
n.nvmlInit()
result = []
for index in range(n.nvmlDeviceGetCount()):
    try:
        n.nvmlDeviceGetHandleByIndex(index)
        result.append(None)
    except n.NVMLError as error:
        result.append(str(error))
"""
    assert read_nvml(at_rest("gpu-lost"), code) == [None, None, None, "GPU is lost"]


def test_nvml_topology_and_p2p_match_the_scenario(at_rest: Callable[[str], str], read_nvml: ReadNvml) -> None:
    code = """
n.nvmlInit()
first, second = n.nvmlDeviceGetHandleByIndex(0), n.nvmlDeviceGetHandleByIndex(1)
result = [n.nvmlDeviceGetTopologyCommonAncestor(first, second)]
result += [n.nvmlDeviceGetP2PStatus(first, second, what) for what in range(3)]
"""
    assert read_nvml(at_rest("healthy-tp4"), code) == [30, 0, 0, 5]


def test_nvml_missing_function_raises_function_not_found(at_rest: Callable[[str], str], read_nvml: ReadNvml) -> None:
    code = """
n.nvmlInit()
try:
    n.nvmlDeviceGetSupportedMemoryClocks(n.nvmlDeviceGetHandleByIndex(0))
    result = None
except n.NVMLError_FunctionNotFound as error:
    result = str(error)
"""
    assert read_nvml(at_rest("healthy-tp1"), code) == "Function Not Found"


def test_nvml_load_appears_only_on_gpus_with_a_rank(start_node: StartNode, read_nvml: ReadNvml) -> None:
    node = start_node("missing-gpu")
    connection = http.client.HTTPConnection("127.0.0.1", node["port"], timeout=30)
    body = b'{"prompt": "a", "max_tokens": 9000, "ignore_eos": true, "stream": true}'
    connection.request("POST", "/v1/completions", body)
    code = f"""
import time
deadline = time.monotonic() + 30
while True:
    {FACTS.replace(chr(10), chr(10) + "    ")}
    if min(result[0]["utilization"], result[1]["utilization"]) > 80 or time.monotonic() > deadline:
        break
    n.nvmlShutdown()
    time.sleep(0.05)
"""
    loaded = read_nvml(node["lib_dir"], code)
    connection.close()
    assert [gpu["utilization"] > 80 for gpu in loaded] == [True, True, False]
    assert [gpu["generation"] for gpu in loaded] == [4, 4, 1]
    assert loaded[0]["power"] > 3 * loaded[2]["power"]
