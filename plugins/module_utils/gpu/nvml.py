# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read facts about GPUs through NVML (nvidia-ml-py). No other file calls NVML functions or uses NVML's units.

The functions of nvidia-ml-py that this file calls, and their symbols in libnvidia-ml.so.1 if the names differ:

==========================================  ============================================
nvmlInit                                    nvmlInitWithFlags
nvmlShutdown
nvmlErrorString
nvmlSystemGetDriverVersion
nvmlSystemGetCudaDriverVersion_v2
nvmlSystemGetProcessName
nvmlDeviceGetCount                          nvmlDeviceGetCount_v2
nvmlDeviceGetHandleByIndex                  nvmlDeviceGetHandleByIndex_v2
nvmlDeviceGetUUID
nvmlDeviceGetName
nvmlDeviceGetPciInfo                        nvmlDeviceGetPciInfo_v3
nvmlDeviceGetCudaComputeCapability
nvmlDeviceGetMemoryInfo (version 2, 1)      nvmlDeviceGetMemoryInfo_v2, nvmlDeviceGetMemoryInfo
nvmlDeviceGetMemoryBusWidth
nvmlDeviceGetUtilizationRates
nvmlDeviceGetTemperature (0)
nvmlDeviceGetTemperatureThreshold (1, 3)
nvmlDeviceGetMarginTemperature
nvmlDeviceGetFieldValues (194)
nvmlDeviceGetPowerUsage
nvmlDeviceGetEnforcedPowerLimit
nvmlDeviceGetClockInfo (1, 2)
nvmlDeviceGetMaxClockInfo (1, 2)
nvmlDeviceGetCurrPcieLinkGeneration
nvmlDeviceGetMaxPcieLinkGeneration
nvmlDeviceGetCurrPcieLinkWidth
nvmlDeviceGetMaxPcieLinkWidth
nvmlDeviceGetPcieReplayCounter
nvmlDeviceGetEccMode
nvmlDeviceGetTotalEccErrors
nvmlDeviceGetRemappedRows
nvmlDeviceGetRetiredPages (0, 1)
nvmlDeviceGetRetiredPagesPendingStatus
nvmlDeviceGetCurrentClocksEventReasons      before release 535: nvmlDeviceGetCurrentClocksThrottleReasons
nvmlDeviceGetComputeRunningProcesses        nvmlDeviceGetComputeRunningProcesses_v3
nvmlDeviceGetMigMode
nvmlDeviceGetTopologyCommonAncestor
nvmlDeviceGetP2PStatus (0, 1)
nvmlDeviceGetNvLinkState
nvmlDeviceGetNvLinkRemoteDeviceType
nvmlDeviceGetNvLinkRemotePciInfo            nvmlDeviceGetNvLinkRemotePciInfo_v2
==========================================  ============================================
"""

from __future__ import annotations

import ctypes
import importlib
import typing as t
from collections.abc import Collection, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import topology
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import (
    Device,
    cuda_version,
    empty_device,
    memory_bandwidth,
    sample_of,
    throttle_reasons,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask_text

# Enumeration values from nvml.h. They are part of NVML's ABI and never change.
#: Name of a clock -> nvmlClockType_t.
CLOCKS: t.Final[dict[str, int]] = {"sm": 1, "memory": 2}
TEMPERATURE_GPU = 0
THRESHOLD_SLOWDOWN, THRESHOLD_GPU_MAX = 1, 3
FIELD_SLOWDOWN_MARGIN = 194
MEMORY_INFO_V2 = 0x02000028
#: Name in ``ECC_COUNTERS`` -> nvmlMemoryErrorType_t and nvmlEccCounterType_t.
ECC_KINDS: t.Final[dict[str, tuple[int, int]]] = {
    "corrected_volatile": (0, 0),
    "uncorrected_volatile": (1, 0),
    "corrected_aggregate": (0, 1),
    "uncorrected_aggregate": (1, 1),
}
RETIRED_CORRECTABLE, RETIRED_UNCORRECTABLE = 0, 1
P2P_READ, P2P_WRITE = 0, 1
LINKS_MAX = 36
LINK_TO_SWITCH = 2

#: Fact about the PCIe link -> NVML function.
PCIE: t.Final[dict[str, str]] = {
    "generation": "nvmlDeviceGetCurrPcieLinkGeneration",
    "generation_max": "nvmlDeviceGetMaxPcieLinkGeneration",
    "width": "nvmlDeviceGetCurrPcieLinkWidth",
    "width_max": "nvmlDeviceGetMaxPcieLinkWidth",
    "replay_counter": "nvmlDeviceGetPcieReplayCounter",
}

#: NVML error code -> reason why no GPU can be read.
INIT_REASONS: t.Final[dict[int, str]] = {
    4: "no_permission",
    9: "driver_not_loaded",
    12: "no_driver",
    15: "gpu_lost",
    18: "version_mismatch",
}

#: Codes of NVML errors after which a GPU can no longer be read: GPU_IS_LOST, RESET_REQUIRED.
DEAD: t.Final[frozenset[int]] = frozenset({15, 16})


class _DeviceLost(Exception):
    """Raised if a GPU stops responding while its facts are read."""


class NvmlReader:
    """Read the facts about every GPU on the node through NVML.

    :param nvml: the ``pynvml`` module, or a replacement in tests.
    :raises GpuUnavailable: if NVML cannot be initialised.
    """

    backend = "nvml"

    def __init__(self, nvml: t.Any) -> None:
        self._nvml = nvml
        try:
            nvml.nvmlInit()
            self._count: int = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            raise GpuUnavailable(INIT_REASONS.get(error.value, "nvml_error"), str(error)) from error
        self._handles: dict[int, t.Any] = {}

    def close(self) -> None:
        self._call("nvmlShutdown")

    def count(self) -> int:
        return self._count

    def versions(self) -> dict[str, str | None]:
        """Return the driver version and the newest CUDA version that the driver supports."""
        return {
            "driver_version": _text(self._call("nvmlSystemGetDriverVersion")),
            "cuda_version": cuda_version(self._call("nvmlSystemGetCudaDriverVersion_v2")),
        }

    def devices(self, subsets: Collection[str]) -> list[Device]:
        """Return the facts about every GPU in NVML's order. If a GPU does not respond, its ``error`` is set."""
        return [self._device(index, subsets) for index in range(self._count)]

    def sample(self) -> list[dict[str, t.Any]]:
        """Return the time-varying values of every GPU; see ``device.sample_of``."""
        return [self._sample(index) for index in range(self._count)]

    def topology(self) -> dict[str, t.Any]:
        """Return the ``topology`` fact. In its matrices, the cells of GPUs that do not respond are None."""
        links = [self._links(index) for index in range(self._count)]
        bus_ids = [_bus_id(self._call_by_index("nvmlDeviceGetPciInfo", [index])) for index in range(self._count)]

        def connection(row: int, column: int) -> str | None:
            switched = (links[row].count("switch"), links[column].count("switch"))
            bonded = topology.nvlink_count(links[row], switched, bus_ids[column])
            if bonded:
                return f"NV{bonded}"
            return topology.LEVELS.get(self._call_by_index("nvmlDeviceGetTopologyCommonAncestor", [row, column]))

        def access(row: int, column: int) -> str | None:
            kinds = (P2P_READ, P2P_WRITE)
            states = [self._call_by_index("nvmlDeviceGetP2PStatus", [row, column], kind) for kind in kinds]
            known = [state for state in states if state is not None]
            return topology.P2P_STATUS.get(max(known), "U") if known else None

        matrix = topology.build_matrix(self._count, connection)
        return topology.as_topology(matrix, topology.build_matrix(self._count, access))

    def _call(self, name: str, *args: t.Any) -> t.Any:
        """Call an NVML function and return its result. Return None if the function is missing or fails.

        :raises _DeviceLost: if the GPU no longer responds.
        """
        function = getattr(self._nvml, name, None)
        if function is None:
            return None
        try:
            return function(*args)
        except self._nvml.NVMLError as error:
            if error.value in DEAD:
                raise _DeviceLost(str(error)) from error
            return None

    def _handle(self, index: int) -> t.Any:
        if index not in self._handles:
            try:
                self._handles[index] = self._nvml.nvmlDeviceGetHandleByIndex(index)
            except self._nvml.NVMLError as error:
                raise _DeviceLost(str(error)) from error
        return self._handles[index]

    def _call_by_index(self, name: str, indexes: Sequence[int], *args: t.Any) -> t.Any:
        """Call an NVML function with the handles of the given GPUs. Return None if one of the GPUs does not respond."""
        try:
            return self._call(name, *map(self._handle, indexes), *args)
        except _DeviceLost:
            return None

    def _device(self, index: int, subsets: Collection[str]) -> Device:
        device = empty_device(index)
        try:
            handle = self._handle(index)
            device.update(self._identity(handle))
            device.update(self._state(handle))
            if "health" in subsets:
                device.update(self._health(handle))
            if "pcie" in subsets:
                device["pcie"] = {name: self._call(function, handle) for name, function in PCIE.items()}
            if "processes" in subsets:
                device["processes"] = self._processes(handle)
        except _DeviceLost as error:
            device["error"] = str(error)
        return device

    def _sample(self, index: int) -> dict[str, t.Any]:
        device = empty_device(index)
        try:
            handle = self._handle(index)
            device.update(self._state(handle))
            device["throttle_reasons"] = self._throttle_reasons(handle)
            device["pcie"] = {name: self._call(PCIE[name], handle) for name in ("generation", "width")}
        except _DeviceLost:
            pass  # The values that were not read yet stay None; the facts report that the GPU does not respond.
        return sample_of(device)

    def _identity(self, handle: t.Any) -> Device:
        call = self._call
        capability = call("nvmlDeviceGetCudaComputeCapability", handle)
        clocks = {name: call("nvmlDeviceGetMaxClockInfo", handle, clock) for name, clock in CLOCKS.items()}
        mig = call("nvmlDeviceGetMigMode", handle)
        return {
            "uuid": _text(call("nvmlDeviceGetUUID", handle)),
            "name": _text(call("nvmlDeviceGetName", handle)),
            "pci_bus_id": _bus_id(call("nvmlDeviceGetPciInfo", handle)),
            "compute_capability": None if capability is None else f"{capability[0]}.{capability[1]}",
            "memory_total": getattr(self._memory(handle), "total", None),
            "memory_bandwidth": memory_bandwidth(clocks["memory"], call("nvmlDeviceGetMemoryBusWidth", handle)),
            "power_limit": _watts(call("nvmlDeviceGetEnforcedPowerLimit", handle)),
            "clocks_max": clocks,
            "mig_mode": None if mig is None else "enabled" if mig[0] else "disabled",
        }

    def _memory(self, handle: t.Any) -> t.Any:
        # Version 1 of nvmlDeviceGetMemoryInfo counts memory reserved by the driver as used; version 2 does not.
        try:
            info = self._call("nvmlDeviceGetMemoryInfo", handle, MEMORY_INFO_V2)
        except TypeError:
            info = None  # old bindings do not accept a version
        return self._call("nvmlDeviceGetMemoryInfo", handle) if info is None else info

    def _state(self, handle: t.Any) -> Device:
        call = self._call
        memory = self._memory(handle)
        utilisation = call("nvmlDeviceGetUtilizationRates", handle)
        return {
            "memory_used": getattr(memory, "used", None),
            "memory_free": getattr(memory, "free", None),
            "utilization_gpu": getattr(utilisation, "gpu", None),
            "utilization_memory": getattr(utilisation, "memory", None),
            "temperature": call("nvmlDeviceGetTemperature", handle, TEMPERATURE_GPU),
            "power_draw": _watts(call("nvmlDeviceGetPowerUsage", handle)),
            "clocks": {name: call("nvmlDeviceGetClockInfo", handle, clock) for name, clock in CLOCKS.items()},
        }

    def _health(self, handle: t.Any) -> Device:
        call = self._call
        mode = call("nvmlDeviceGetEccMode", handle)
        counters = {name: call("nvmlDeviceGetTotalEccErrors", handle, *kind) for name, kind in ECC_KINDS.items()}
        rows = call("nvmlDeviceGetRemappedRows", handle) or (None, None, None, None)
        return {
            "ecc": {"enabled": mode and bool(mode[0]), **counters},
            "remapped_rows": {
                "correctable": rows[0],
                "uncorrectable": rows[1],
                "pending": _flag(rows[2]),
                "failure": _flag(rows[3]),
            },
            "retired_pages": self._retired_pages(handle),
            "throttle_reasons": self._throttle_reasons(handle),
            "temperature_limits": {
                "slowdown": call("nvmlDeviceGetTemperatureThreshold", handle, THRESHOLD_SLOWDOWN),
                "gpu_max": call("nvmlDeviceGetTemperatureThreshold", handle, THRESHOLD_GPU_MAX),
                "margin": call("nvmlDeviceGetMarginTemperature", handle),
                "margin_slowdown": _signed_field(call("nvmlDeviceGetFieldValues", handle, [FIELD_SLOWDOWN_MARGIN])),
            },
        }

    def _retired_pages(self, handle: t.Any) -> Device:
        """Return the number of retired memory pages. Ampere and newer GPUs remap memory rows instead."""
        causes = {"correctable": RETIRED_CORRECTABLE, "uncorrectable": RETIRED_UNCORRECTABLE}
        pages = {name: self._call("nvmlDeviceGetRetiredPages", handle, cause) for name, cause in causes.items()}
        counts = {name: None if addresses is None else len(addresses) for name, addresses in pages.items()}
        return {**counts, "pending": _flag(self._call("nvmlDeviceGetRetiredPagesPendingStatus", handle))}

    def _throttle_reasons(self, handle: t.Any) -> list[str] | None:
        mask = self._call("nvmlDeviceGetCurrentClocksEventReasons", handle)
        if mask is None:
            mask = self._call("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        return throttle_reasons(mask)

    def _processes(self, handle: t.Any) -> list[dict[str, t.Any]] | None:
        """Return the compute processes on a GPU. A value that the user has no permission to read is None."""
        processes = self._call("nvmlDeviceGetComputeRunningProcesses", handle)
        if processes is None:
            return None
        return [
            {
                "pid": process.pid,
                "name": _process_name(self._call("nvmlSystemGetProcessName", process.pid)),
                "memory_used": process.usedGpuMemory,
            }
            for process in processes
        ]

    def _links(self, index: int) -> list[str | None]:
        """For each active NVLink of a GPU, return the other end: a GPU's bus ID, ``switch``, or None if unknown."""
        ends: list[str | None] = []
        try:
            handle = self._handle(index)
            for link in range(LINKS_MAX):
                if self._call("nvmlDeviceGetNvLinkState", handle, link) != 1:
                    continue
                if self._call("nvmlDeviceGetNvLinkRemoteDeviceType", handle, link) == LINK_TO_SWITCH:
                    ends.append("switch")
                else:
                    ends.append(_bus_id(self._call("nvmlDeviceGetNvLinkRemotePciInfo", handle, link)))
        except _DeviceLost:
            return []
        return ends


def open_nvml() -> NvmlReader:
    """Return a reader that gets facts about GPUs through nvidia-ml-py.

    :raises GpuUnavailable: if the bindings, the library or the driver are missing, or access is refused.
    """
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError as error:
        raise GpuUnavailable("bindings_missing", str(error)) from error
    return NvmlReader(nvml)


def _text(value: t.Any) -> str | None:
    """Return ``value`` as text. Old versions of the bindings return bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _process_name(value: t.Any) -> str | None:
    """Return a process name with secrets masked. Some drivers report the whole command line, including API keys."""
    name = _text(value)
    return None if name is None else mask_text(name)


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def _bus_id(pci: t.Any) -> str | None:
    return None if pci is None else (_text(pci.busId) or "").upper() or None


def _signed_field(values: t.Any) -> int | None:
    """Return the signed number in the first nvmlFieldValue_t of ``values``, or None if NVML returned no value."""
    if not values or values[0].nvmlReturn:
        return None
    value = values[0].value
    # Old versions of the bindings lack siVal (signed), but uiVal (unsigned) contains the same 32 bits.
    return value.siVal if hasattr(value, "siVal") else ctypes.c_int32(value.uiVal).value
