# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare every field of ``gpu_facts`` with ``nvidia-smi -q -x``, ``topo`` and ``--query-gpu``.

The mapping is written from nvidia-smi's document, independently of the collection's nvidia-smi backend.
"""

from __future__ import annotations

import re
import typing as t
import xml.etree.ElementTree as ET
from collections.abc import Callable

from node import output_of, run_module

Field = tuple[str, t.Any, t.Any, str]


def number(text: str | None) -> float | None:
    match = re.match(r"-?\d+(\.\d+)?", (text or "").strip())
    return float(match.group()) if match else None


def state(text: str | None) -> bool | None:
    return {"Enabled": True, "Disabled": False, "Yes": True, "No": False}.get((text or "").strip())


def mebibytes(value: int | None) -> int | None:
    return None if value is None else value // 2**20


def total(gpu: ET.Element, counter: str, pattern: str) -> float | None:
    """Return the sum of counters whose name matches: nvidia-smi lists each memory, NVML only the sum."""
    section = gpu.find(f"ecc_errors/{counter}")
    values = [number(item.text) for item in (section if section is not None else ()) if re.search(pattern, item.tag)]
    available = [value for value in values if value is not None]
    return sum(available) if available else None


#: Path in our device, reader of nvidia-smi's value, conversion of our value, and the allowed difference, because both
#: are read at different times.
TABLE: t.Final[list[tuple[str, Callable[[ET.Element], t.Any], Callable[[t.Any], t.Any], float]]] = []


def row(
    path: str,
    nvidia_smi: Callable[[ET.Element], t.Any],
    ours: Callable[[t.Any], t.Any] = lambda value: value,
    within: float = 0,
) -> None:
    TABLE.append((path, nvidia_smi, ours, within))


def text_at(path: str) -> Callable[[ET.Element], str | None]:
    return lambda gpu: {"N/A": None}.get(value := (gpu.findtext(path) or "").strip(), value) or None


def number_at(path: str) -> Callable[[ET.Element], float | None]:
    return lambda gpu: number(gpu.findtext(path))


row("uuid", text_at("uuid"))
row("name", text_at("product_name"))
row("pci_bus_id", text_at("pci/pci_bus_id"))
row("memory_total", number_at("fb_memory_usage/total"), mebibytes)
row("memory_used", number_at("fb_memory_usage/used"), mebibytes, 64)
row("memory_free", number_at("fb_memory_usage/free"), mebibytes, 64)
row("utilization_gpu", number_at("utilization/gpu_util"), within=5)
row("utilization_memory", number_at("utilization/memory_util"), within=5)
row("temperature", number_at("temperature/gpu_temp"), within=2)
row("temperature_limits.margin", number_at("temperature/gpu_temp_tlimit"), within=2)
row("temperature_limits.margin_slowdown", number_at("temperature/gpu_temp_slow_tlimit_threshold"))
row("temperature_limits.slowdown", number_at("temperature/gpu_temp_slow_threshold"))
row("temperature_limits.gpu_max", number_at("temperature/gpu_temp_max_gpu_threshold"))
row("power_draw", number_at("gpu_power_readings/average_power_draw"), within=60)
row("power_limit", number_at("gpu_power_readings/current_power_limit"))
row("clocks.sm", number_at("clocks/sm_clock"), within=150)
row("clocks.memory", number_at("clocks/mem_clock"))
row("clocks_max.sm", number_at("max_clocks/sm_clock"))
row("clocks_max.memory", number_at("max_clocks/mem_clock"))
LINK = "pci/pci_gpu_link_info"
row("pcie.generation", number_at(f"{LINK}/pcie_gen/current_link_gen"))
row("pcie.generation_max", number_at(f"{LINK}/pcie_gen/max_link_gen"))
row("pcie.width", number_at(f"{LINK}/link_widths/current_link_width"))
row("pcie.width_max", number_at(f"{LINK}/link_widths/max_link_width"))
row("pcie.replay_counter", number_at("pci/replay_counter"))
row("ecc.enabled", lambda gpu: state(gpu.findtext("ecc_mode/current_ecc")))
for counter in ("volatile", "aggregate"):
    row(f"ecc.corrected_{counter}", lambda gpu, counter=counter: total(gpu, counter, r"_correctable$"))
    row(f"ecc.uncorrected_{counter}", lambda gpu, counter=counter: total(gpu, counter, r"_uncorrectable"))
row("remapped_rows.correctable", number_at("remapped_rows/remapped_row_corr"))
row("remapped_rows.uncorrectable", number_at("remapped_rows/remapped_row_unc"))
row("remapped_rows.pending", lambda gpu: state(gpu.findtext("remapped_rows/remapped_row_pending")))
row("remapped_rows.failure", lambda gpu: state(gpu.findtext("remapped_rows/remapped_row_failure")))
row("retired_pages.correctable", number_at("retired_pages/multiple_single_bit_retirement/retired_count"))
row("retired_pages.uncorrectable", number_at("retired_pages/double_bit_retirement/retired_count"))
row("retired_pages.pending", lambda gpu: state(gpu.findtext("retired_pages/pending_retirement")))
row("mig_mode", lambda gpu: (gpu.findtext("mig_mode/current_mig") or "").lower().replace("n/a", "") or None)
row(
    "throttle_reasons",
    lambda gpu: sorted(
        item.tag.removeprefix("clocks_event_reason_")
        for item in (gpu.find("clocks_event_reasons") if gpu.find("clocks_event_reasons") is not None else ())
        if (item.text or "").strip() == "Active"
    ),
    lambda value: None if value is None else sorted(value),
)
row(
    "processes",
    lambda gpu: sorted(
        [
            int(item.findtext("pid", "0")),
            (item.findtext("process_name") or "").strip(),
            number(item.findtext("used_memory")),
        ]
        for item in gpu.findall("processes/process_info")
    ),
    lambda value: sorted([item["pid"], item["name"], mebibytes(item["memory_used"])] for item in value or ()),
)


def at(device: dict[str, t.Any], path: str) -> t.Any:
    value: t.Any = device
    for key in path.split("."):
        value = value[key]
    return value


def verdict(ours: t.Any, nvidia_smi: t.Any, within: float) -> str:
    if ours == nvidia_smi:
        return "equal"
    if (
        within
        and isinstance(ours, (int, float))
        and isinstance(nvidia_smi, (int, float))
        and abs(ours - nvidia_smi) <= within
    ):
        return f"within {within:g}"
    if nvidia_smi is None:
        return "nvidia-smi has no value"
    return "gpu_facts has no value" if ours is None else "DIFFERENT"


def matrix(text: str) -> list[list[str]]:
    """Return the cells between GPUs of a table of ``nvidia-smi topo``."""
    clean = [line.split() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()]
    head, *rows = [words for words in clean if words and re.fullmatch(r"GPU\d+", words[0])] or [[]]
    count = sum(bool(re.fullmatch(r"GPU\d+", word)) for word in head)
    return [words[1 : count + 1] for words in rows]


def compare() -> dict[str, t.Any]:
    """Compare all fields of all GPUs and of the node: ``{field, gpu, ours, nvidia_smi, verdict}``."""
    result = run_module("gpu_facts", {"backend": "nvml"})
    document = output_of("nvidia-smi", "-q", "-x")
    facts, log = result["ansible_facts"]["gpu"], ET.fromstring(document)
    rows = [
        {
            "gpu": index,
            "field": path,
            "ours": write(at(device, path)),
            "nvidia_smi": (value := read(gpu)),
            "verdict": verdict(write(at(device, path)), value, within),
        }
        for index, (device, gpu) in enumerate(zip(facts["devices"], log.findall("gpu"), strict=True))
        for path, read, write, within in TABLE
    ]
    capabilities = output_of("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader").split()
    node: list[tuple[str, t.Any, t.Any]] = [
        ("count", facts["count"], int(log.findtext("attached_gpus", "0"))),
        ("driver_version", facts["driver_version"], log.findtext("driver_version")),
        ("cuda_version", facts["cuda_version"], log.findtext("cuda_version")),
        ("compute_capability", [device["compute_capability"] for device in facts["devices"]], capabilities),
        ("topology.matrix", facts["topology"]["matrix"], matrix(output_of("nvidia-smi", "topo", "-m"))),
        ("topology.p2p", facts["topology"]["p2p"], matrix(output_of("nvidia-smi", "topo", "-p2p", "r"))),
    ]
    rows += [
        {"gpu": None, "field": name, "ours": ours, "nvidia_smi": nvidia_smi, "verdict": verdict(ours, nvidia_smi, 0)}
        for name, ours, nvidia_smi in node
    ]
    other = run_module("gpu_facts", {"backend": "nvidia_smi"})
    return {
        "fields": rows,
        "facts": facts,
        "findings": result["findings"],
        "facts_nvidia_smi": other.get("ansible_facts"),
        "document": document,
    }
