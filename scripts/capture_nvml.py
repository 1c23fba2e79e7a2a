# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record the output of NVML and nvidia-smi on a node with GPUs as a test fixture.

    python scripts/capture_nvml.py --out DIR                      idle only
    python scripts/capture_nvml.py --out DIR -- COMMAND ARG...    idle, then while COMMAND runs

Writes nvml.json and the output of nvidia-smi to DIR/idle and DIR/load. Every NVML call is stored under
``function(arguments)`` with GPUs written as gpu0, gpu1, ...; the value is what nvidia-ml-py returned, or
{"error": code, "message": text}. The state under load is recorded --settle seconds after COMMAND started; COMMAND is
stopped then. UUIDs and serial numbers are replaced. Needs Python >= 3.10 and nvidia-ml-py.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import subprocess
import time
import typing as t

import pynvml

Calls = dict[str, t.Any]

PER_GPU: t.Final[tuple[tuple[t.Any, ...], ...]] = (
    ("nvmlDeviceGetUUID",),
    ("nvmlDeviceGetName",),
    ("nvmlDeviceGetPciInfo",),
    ("nvmlDeviceGetCudaComputeCapability",),
    ("nvmlDeviceGetMemoryInfo",),
    ("nvmlDeviceGetMemoryInfo", 0x02000028),
    ("nvmlDeviceGetMemoryBusWidth",),
    ("nvmlDeviceGetUtilizationRates",),
    ("nvmlDeviceGetTemperature", 0),
    *(("nvmlDeviceGetTemperatureThreshold", kind) for kind in range(8)),
    ("nvmlDeviceGetMarginTemperature",),
    *(("nvmlDeviceGetFieldValues", [field]) for field in (193, 194, 195, 196)),
    ("nvmlDeviceGetPerformanceState",),
    ("nvmlDeviceGetPowerUsage",),
    ("nvmlDeviceGetPowerManagementLimit",),
    ("nvmlDeviceGetEnforcedPowerLimit",),
    *(("nvmlDeviceGetClockInfo", kind) for kind in range(4)),
    *(("nvmlDeviceGetMaxClockInfo", kind) for kind in range(4)),
    ("nvmlDeviceGetCurrPcieLinkGeneration",),
    ("nvmlDeviceGetMaxPcieLinkGeneration",),
    ("nvmlDeviceGetGpuMaxPcieLinkGeneration",),
    ("nvmlDeviceGetCurrPcieLinkWidth",),
    ("nvmlDeviceGetMaxPcieLinkWidth",),
    ("nvmlDeviceGetPcieReplayCounter",),
    ("nvmlDeviceGetEccMode",),
    *(("nvmlDeviceGetTotalEccErrors", kind, counter) for kind in (0, 1) for counter in (0, 1)),
    ("nvmlDeviceGetRemappedRows",),
    *(("nvmlDeviceGetRetiredPages", cause) for cause in (0, 1)),
    ("nvmlDeviceGetRetiredPagesPendingStatus",),
    ("nvmlDeviceGetCurrentClocksEventReasons",),
    ("nvmlDeviceGetCurrentClocksThrottleReasons",),
    ("nvmlDeviceGetComputeRunningProcesses",),
    ("nvmlDeviceGetGraphicsRunningProcesses",),
    ("nvmlDeviceGetMigMode",),
    *(("nvmlDeviceGetNvLinkState", link) for link in range(36)),
    *(("nvmlDeviceGetNvLinkRemoteDeviceType", link) for link in range(36)),
    *(("nvmlDeviceGetNvLinkRemotePciInfo", link) for link in range(36)),
)

PER_PAIR: t.Final[tuple[tuple[t.Any, ...], ...]] = (
    ("nvmlDeviceGetTopologyCommonAncestor",),
    *(("nvmlDeviceGetP2PStatus", kind) for kind in range(5)),
)

SMI: t.Final[dict[str, list[str]]] = {
    "nvidia-smi-q-x.xml": ["nvidia-smi", "-q", "-x"],
    "nvidia-smi-topo-m.txt": ["nvidia-smi", "topo", "-m"],
    "nvidia-smi-topo-p2p-r.txt": ["nvidia-smi", "topo", "-p2p", "r"],
}


def plain(value: t.Any) -> t.Any:
    """Return a value of nvidia-ml-py as JSON data; structures become dictionaries of their fields."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, pynvml.c_nvmlFieldValue_t):
        return {"nvmlReturn": value.nvmlReturn, "valueType": value.valueType, "value": {"siVal": value.value.siVal}}
    if hasattr(value, "_fields_"):
        return {field[0]: plain(getattr(value, field[0])) for field in value._fields_}
    if isinstance(value, pynvml.nvmlFriendlyObject):
        return {key: plain(item) for key, item in vars(value).items()}
    if isinstance(value, (list, tuple)) or hasattr(value, "_length_"):
        return [plain(item) for item in value]
    return value


def call(calls: Calls, names: dict[int, str], name: str, *args: t.Any) -> t.Any:
    """Make one call, store and return its result; ``names`` maps the ids of handles to gpu0, gpu1, ..."""
    key = f"{name}({', '.join(names.get(id(arg), repr(arg)) for arg in args)})"
    function = getattr(pynvml, name, None)
    if function is None:
        calls[key] = {"error": 13, "message": "nvidia-ml-py has no such function"}
        return None
    try:
        value = function(*args)
    except pynvml.NVMLError as error:
        calls[key] = {"error": error.value, "message": str(error)}
        return None
    calls[key] = plain(value)
    return value


def capture() -> Calls:
    """Return the current result of every NVML call."""
    calls: Calls = {}
    for name in ("nvmlSystemGetDriverVersion", "nvmlSystemGetNVMLVersion", "nvmlSystemGetCudaDriverVersion_v2"):
        call(calls, {}, name)
    count = call(calls, {}, "nvmlDeviceGetCount") or 0
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    names = {id(handle): f"gpu{index}" for index, handle in enumerate(handles)}
    for handle in handles:
        for name, *args in PER_GPU:
            result = call(calls, names, name, handle, *args)
            if name == "nvmlDeviceGetComputeRunningProcesses":
                for process in result or []:
                    call(calls, names, "nvmlSystemGetProcessName", process.pid)
        for other in handles:
            if other is not handle:
                for name, *args in PER_PAIR:
                    call(calls, names, name, handle, other, *args)
    return calls


def anonymous(text: str) -> str:
    """Return ``text`` with UUIDs, serial numbers and board ids replaced, so that a fixture identifies no hardware."""
    numbers: dict[str, int] = {}

    def uuid(match: re.Match[str]) -> str:
        number = numbers.setdefault(match.group(0), len(numbers))
        return f"GPU-00000000-0000-0000-0000-{number:012d}"

    text = re.sub(r"GPU-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", uuid, text)
    return re.sub(r"<(serial|board_id|guid|clusterUuid|pdi|chassis_serial_number)>[^<]*<", r"<\1>N/A<", text)


def record(folder: pathlib.Path) -> None:
    """Write the current results of NVML and nvidia-smi to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(capture(), indent=1, sort_keys=True)
    (folder / "nvml.json").write_text(anonymous(text) + "\n", encoding="utf-8")
    for name, command in SMI.items():
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except OSError as error:
            print(f"{' '.join(command)}: {error}")
            continue
        (folder / name).write_text(anonymous(process.stdout + process.stderr), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Record NVML and nvidia-smi as test fixtures.")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write to")
    parser.add_argument("--settle", type=float, default=20.0, help="seconds of load before recording")
    parser.add_argument("command", nargs="*", help="command that generates load, after --")
    options = parser.parse_args()

    pynvml.nvmlInit()
    record(options.out / "idle")
    if options.command:
        load = subprocess.Popen(options.command)
        try:
            time.sleep(options.settle)
            record(options.out / "load")
        finally:
            load.terminate()
            load.wait()
    pynvml.nvmlShutdown()


if __name__ == "__main__":
    main()
