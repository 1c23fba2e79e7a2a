# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read facts about GPUs with nvidia-smi, which is slower and reports fewer facts than NVML."""

from __future__ import annotations

import re
import subprocess
import typing as t
import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection

from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import topology
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import (
    THROTTLE_BITS,
    Device,
    empty_device,
    sample_of,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.topology import Matrix
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask_text
from ansible_collections.multigpu.vllm.plugins.module_utils.units import GIB, KIB, MIB

#: Texts that nvidia-smi prints for an unknown value, some of them in brackets.
ABSENT: t.Final[re.Pattern[str]] = re.compile(
    r"|N/A|None|Unknown|Unknown Error|Insufficient Permissions|Requested functionality has been deprecated"
    r"|\[(N/A|Unknown Error|Not Found|Not Supported|Insufficient Permissions)\]"
)

#: Text that nvidia-smi prints instead of a value if the GPU does not respond.
DEAD: t.Final[re.Pattern[str]] = re.compile(r"GPU is lost|GPU requires reset")

UNITS: t.Final[dict[str, int]] = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}

#: Name of a throttle reason in nvidia-smi -> its name in ``THROTTLE_BITS``, if they differ.
REASON_ALIASES: t.Final[dict[str, str]] = {"display_clocks_setting": "display_clock_setting"}

Run = Callable[[list[str]], str]


def run(command: list[str]) -> str:
    """Run ``command`` and return its standard output.

    :raises GpuUnavailable: if the command is missing, fails or takes longer than 30 s.
    """
    try:
        result = Commands().complete(command, timeout=30)
    except FileNotFoundError as error:
        raise GpuUnavailable("smi_missing") from error
    except PermissionError as error:
        raise GpuUnavailable("no_permission", str(error)) from error
    except subprocess.TimeoutExpired as error:
        raise GpuUnavailable("smi_timeout", "no response within 30 s") from error
    if result.returncode:
        raise GpuUnavailable(*_failure(result.stdout + result.stderr))
    return result.stdout


def _failure(message: str) -> tuple[str, str]:
    """Return the key of ``errors.REASONS`` that matches an error message from nvidia-smi, and the shortened message."""
    detail = " ".join(message.split())[:300]
    reasons = {
        "couldn't communicate with the NVIDIA driver": "driver_not_loaded",
        "Driver/library version mismatch": "version_mismatch",
        "Insufficient Permissions": "no_permission",
        "GPU is lost": "gpu_lost",
        "couldn't find libnvidia-ml.so": "no_driver",
    }
    return next((reason for text, reason in reasons.items() if text in detail), "smi_failed"), detail


class SmiReader:
    """Read the facts about every GPU of the node with ``nvidia-smi -q -x``.

    :param run_command: function that runs a command and returns its output.
    """

    backend = "nvidia_smi"

    def __init__(self, run_command: Run = run) -> None:
        self._run = run_command
        self._log = self._query()

    def close(self) -> None:
        """Do nothing: each query runs nvidia-smi in a separate process, so there is nothing to close."""

    def count(self) -> int:
        attached = _text(self._log, "attached_gpus")
        return int(attached) if attached else len(self._log.findall("gpu"))

    def versions(self) -> dict[str, str | None]:
        """Return the driver version and the newest CUDA version that the driver supports."""
        return {key: _text(self._log, key) for key in ("driver_version", "cuda_version")}

    def devices(self, subsets: Collection[str]) -> list[Device]:
        """Return the facts about every GPU in nvidia-smi's order, which is the same as NVML's."""
        return [_device(index, gpu, subsets) for index, gpu in enumerate(self._log.findall("gpu"))]

    def sample(self) -> list[dict[str, t.Any]]:
        """Return the time-varying values of every GPU. Each call runs nvidia-smi once."""
        self._log = self._query()
        return [sample_of(device) for device in self.devices(("health", "pcie"))]

    def topology(self) -> dict[str, t.Any]:
        """Return the ``topology`` fact, read with ``nvidia-smi topo``. Matrix cells with unknown values are None."""
        count = len(self._log.findall("gpu"))
        unknown = topology.build_matrix(count, lambda row, column: None)
        return topology.as_topology(self._table("-m") or unknown, self._table("-p2p", "r") or None)

    def _table(self, *options: str) -> Matrix:
        # nvidia-smi cannot read the topology of virtual GPUs or in some containers. The other facts are still valid.
        try:
            return topology.parse_table(self._run(["nvidia-smi", "topo", *options]))
        except GpuUnavailable:
            return []

    def _query(self) -> ET.Element:
        text = self._run(["nvidia-smi", "-q", "-x"])
        try:
            # The XML document refers to a DTD, but expat does not fetch DTDs, so parsing opens no network connection.
            return ET.fromstring(text)
        except ET.ParseError as error:
            raise GpuUnavailable("smi_unreadable", str(error)) from error


def _device(index: int, gpu: ET.Element, subsets: Collection[str]) -> Device:
    device = empty_device(index)
    mig = _text(gpu, "mig_mode/current_mig")
    device.update(
        uuid=_text(gpu, "uuid"),
        name=_text(gpu, "product_name"),
        pci_bus_id=_text(gpu, "pci/pci_bus_id"),
        memory_total=_bytes(_text(gpu, "fb_memory_usage/total")),
        memory_used=_bytes(_text(gpu, "fb_memory_usage/used")),
        memory_free=_bytes(_text(gpu, "fb_memory_usage/free")),
        utilization_gpu=_int(_text(gpu, "utilization/gpu_util")),
        utilization_memory=_int(_text(gpu, "utilization/memory_util")),
        temperature=_int(_text(gpu, "temperature/gpu_temp")),
        power_draw=_number(_power(gpu, "power_draw", "average_power_draw", "instant_power_draw")),
        power_limit=_number(_power(gpu, "enforced_power_limit", "current_power_limit", "power_limit")),
        clocks={"sm": _int(_text(gpu, "clocks/sm_clock")), "memory": _int(_text(gpu, "clocks/mem_clock"))},
        clocks_max={"sm": _int(_text(gpu, "max_clocks/sm_clock")), "memory": _int(_text(gpu, "max_clocks/mem_clock"))},
        mig_mode=None if mig is None else mig.lower(),
        # nvidia-smi prints this message instead of the values of a GPU that does not respond.
        error=next((match[0] for text in gpu.itertext() if (match := DEAD.search(text))), None),
    )
    if "health" in subsets:
        device.update(_health(gpu))
    if "pcie" in subsets:
        device["pcie"] = _pcie(gpu)
    if "processes" in subsets:
        device["processes"] = _processes(gpu)
    return device


def _health(gpu: ET.Element) -> Device:
    mode = _text(gpu, "ecc_mode/current_ecc")
    return {
        "ecc": {
            "enabled": None if mode is None else mode == "Enabled",
            "corrected_volatile": _ecc(gpu, "volatile", "single_bit", "_correctable"),
            "uncorrected_volatile": _ecc(gpu, "volatile", "double_bit", "_uncorrectable"),
            "corrected_aggregate": _ecc(gpu, "aggregate", "single_bit", "_correctable"),
            "uncorrected_aggregate": _ecc(gpu, "aggregate", "double_bit", "_uncorrectable"),
        },
        "remapped_rows": {
            "correctable": _int(_text(gpu, "remapped_rows/remapped_row_corr")),
            "uncorrectable": _int(_text(gpu, "remapped_rows/remapped_row_unc")),
            "pending": _yes(_text(gpu, "remapped_rows/remapped_row_pending")),
            "failure": _yes(_text(gpu, "remapped_rows/remapped_row_failure")),
        },
        "retired_pages": {
            "correctable": _int(_text(gpu, "retired_pages/multiple_single_bit_retirement/retired_count")),
            "uncorrectable": _int(_text(gpu, "retired_pages/double_bit_retirement/retired_count")),
            "pending": _yes(_text(gpu, "retired_pages/pending_retirement")),
        },
        "throttle_reasons": _throttle_reasons(gpu),
        "temperature_limits": {
            "slowdown": _int(_text(gpu, "temperature/gpu_temp_slow_threshold")),
            "gpu_max": _int(_text(gpu, "temperature/gpu_temp_max_gpu_threshold")),
            "margin": _int(_text(gpu, "temperature/gpu_temp_tlimit")),
            "margin_slowdown": _int(_text(gpu, "temperature/gpu_temp_slow_tlimit_threshold")),
        },
    }


def _pcie(gpu: ET.Element) -> Device:
    link = "pci/pci_gpu_link_info"
    return {
        "generation": _int(_text(gpu, f"{link}/pcie_gen/current_link_gen")),
        "generation_max": _int(_text(gpu, f"{link}/pcie_gen/max_link_gen")),
        "width": _int(_text(gpu, f"{link}/link_widths/current_link_width")),
        "width_max": _int(_text(gpu, f"{link}/link_widths/max_link_width")),
        "replay_counter": _int(_text(gpu, "pci/replay_counter")),
    }


def _processes(gpu: ET.Element) -> list[dict[str, t.Any]] | None:
    # "None" stands for an empty list here; the other texts in ABSENT mean that the list is unknown.
    text = gpu.findtext("processes", "N/A").strip()
    if text not in ("", "None") and _known(text) is None:
        return None
    return [
        {
            "pid": int(info.findtext("pid", "0")),
            # Instead of the process name, some drivers report the whole command line, which may contain an API key.
            "name": None if (name := _text(info, "process_name")) is None else mask_text(name),
            "memory_used": _bytes(_text(info, "used_memory")),
        }
        for info in gpu.iterfind("processes/process_info")
        if "C" in info.findtext("type", "C")  # Processes of type G only render graphics.
    ]


def _throttle_reasons(gpu: ET.Element) -> list[str] | None:
    """Return the active throttle reasons in the order of ``THROTTLE_BITS``.

    Drivers before 535 use a different name for the section.
    """
    for prefix in ("clocks_event_reason", "clocks_throttle_reason"):
        items = gpu.findall(f"{prefix}s/*")
        states = {item.tag.removeprefix(f"{prefix}_"): _known(item.text) for item in items}
        if any(states.values()):
            names = {REASON_ALIASES.get(name, name) for name, state in states.items() if state == "Active"}
            return [name for name in THROTTLE_BITS.values() if name in names]
    return None


def _ecc(gpu: ET.Element, counter: str, old: str, ending: str) -> int | None:
    """Return the total number of ECC errors of one kind, such as ``corrected_volatile``.

    GPUs older than Ampere report the total; newer GPUs report one value for each type of memory.
    """
    total = _int(_text(gpu, f"ecc_errors/{counter}/{old}/total"))
    if total is not None:
        return total
    parts = [item for item in gpu.iterfind(f"ecc_errors/{counter}/*") if re.search(f"{ending}(_|$)", f"_{item.tag}")]
    counts = [count for item in parts if (count := _int(_known(item.text))) is not None]
    return sum(counts) if counts else None


def _power(gpu: ET.Element, *names: str) -> str | None:
    """Return the first known power value among the XML elements named in ``names``.

    Drivers before 535 put these elements in the section power_readings, and newer ones in gpu_power_readings.
    """
    values = (_text(gpu, f"{section}/{name}") for section in ("gpu_power_readings", "power_readings") for name in names)
    return next((value for value in values if value is not None), None)


def _known(text: str | None) -> str | None:
    stripped = (text or "").strip()
    return None if ABSENT.fullmatch(stripped) else stripped


def _text(element: ET.Element, path: str) -> str | None:
    return _known(element.findtext(path))


def _number(text: str | None) -> float | None:
    """Return the number in a text such as ``1980 MHz``, without converting the unit: facts use nvidia-smi's units."""
    match = re.match(r"-?\d+(\.\d+)?", text or "")
    return float(match.group()) if match else None


def _int(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None else int(number)


def _bytes(text: str | None) -> int | None:
    number = _int(text)
    return None if number is None or text is None else number * UNITS.get(text.split()[-1], 1)


def _yes(text: str | None) -> bool | None:
    return None if text is None else text.lower() in ("yes", "1")
