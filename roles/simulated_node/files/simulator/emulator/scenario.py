# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load a scenario together with its Linode plan, GPUs, model and interconnect."""

from __future__ import annotations

import argparse
import json
import pathlib
import typing as t
import uuid
from dataclasses import dataclass, field, replace

from .boards import Fault
from .layout import Layout
from .speed import Interconnect, Model
from .state import UNSUPPORTED, Record

ROOT: t.Final = pathlib.Path(__file__).resolve().parent.parent
DRIVER_VERSION: t.Final = "580.95.05"
CUDA_VERSION: t.Final = 13000
NCCL_VERSION: t.Final = "2.28.9"
#: Directories of the models' configurations in the node's directory.
MODEL: t.Final = "model"
SECOND_MODEL: t.Final = "model-second"
GIB: t.Final = 2**30

#: nvmlReturn_t codes from nvml.h, by the name that scenarios use.
NVML_FAULTS: t.Final = {"driver_not_loaded": 9, "no_permission": 4, "gpu_lost": 15}
#: nvmlGpuTopologyLevel_t codes by their name in ``nvidia-smi topo -m``.
TOPOLOGY: t.Final = {"PIX": 10, "PXB": 20, "PHB": 30, "NODE": 40, "SYS": 50}
#: Numbers of GPUs that vLLM's own all-reduce supports, without NVLink only 2.
CUSTOM_SIZES: t.Final = (2, 4, 6, 8)


class UnknownScenario(ValueError):
    """Raised for an unknown scenario name. The message lists the available scenarios."""


def load_json(name: str) -> t.Any:
    return json.loads((ROOT / name).read_text("utf-8"))


def scenario_names() -> list[str]:
    return sorted(path.stem for path in (ROOT / "scenarios").glob("*.json"))


def versions() -> list[str]:
    return sorted(path.name[5:-4] for path in (ROOT / "data/versions").glob("boot-*.log"))


@dataclass(frozen=True)
class Scenario:
    """Content of a scenario file, ``scenarios/NAME.json``. The role's README documents the keys of the file."""

    name: str
    description: str
    expected_gpu_count: int
    gpu: dict[str, t.Any]
    gpu_count: int
    model: Model
    arguments: dict[str, t.Any]
    interconnect: Interconnect
    plan: str | None = None
    behaviour: str = "serve"
    environment: dict[str, str] = field(default_factory=dict)
    nvml: str | None = None
    p2p: bool = True
    peer_fault: str | None = None
    logit_noise: float = 0.0
    token_flip: float = 0.0
    topology: str = "PHB"
    #: Addresses of the node by interface. By default, vLLM and NCCL use the first one.
    interfaces: dict[str, str] = field(default_factory=lambda: {"eth0": "192.0.2.10"})
    link: dict[str, float] = field(default_factory=dict)
    group: str | None = None
    gpus: dict[int, dict[str, t.Any]] = field(default_factory=dict)
    second_server: dict[str, t.Any] | None = None
    stop_rank: int | None = None
    kill_rank: int | None = None
    boot_until: str | None = None
    then: list[str] = field(default_factory=list)
    log_age: float = 0.0
    kernel_log: list[str] = field(default_factory=list)
    expected: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def load(cls, name: str) -> Scenario:
        """Load the scenario with the given name.

        :raises UnknownScenario: if there is no scenario with this name.
        """
        if name not in scenario_names():
            raise UnknownScenario(f"unknown scenario {name!r}; must be one of {', '.join(scenario_names())}")
        raw = load_json(f"scenarios/{name}.json")
        plan = load_json("data/plans.json").get(raw.get("plan"), {})
        return cls(
            **{
                **raw,
                "name": name,
                "gpu": load_json("data/gpus.json")[raw.get("gpu") or plan["gpu"]],
                "gpu_count": raw.get("gpu_count", plan.get("count")),
                "expected_gpu_count": raw.get("expected_gpu_count", plan.get("count")),
                "model": Model(**load_json("data/models.json")[raw["model"]]),
                "interconnect": Interconnect(**load_json("data/interconnects.json")[raw["interconnect"]]),
                "gpus": {int(index): facts for index, facts in raw.get("gpus", {}).items()},
            }
        )

    def size(self, kind: str) -> int:
        """Return the ``tensor``, ``pipeline`` or ``data`` parallel size in the scenario's arguments."""
        return int(self.arguments.get(f"{kind}-parallel-size", 1))

    @property
    def second(self) -> Scenario:
        """The scenario of the node's second server, which differs in its model, arguments and environment."""
        own = self.second_server or {}
        model = Model(**load_json("data/models.json")[own["model"]])
        return replace(self, model=model, arguments=own["arguments"], environment=own["environment"])

    def deployed(self, environment: t.Mapping[str, str]) -> Scenario:
        """Return the scenario of a server in a container: the node's hardware, without the faults of its first server.

        :param environment: variables of the container. Those of NCCL select the path between the GPUs.
        """
        return replace(
            self,
            environment={
                name: value
                for name, value in environment.items()
                if name.startswith(("NCCL_", "CUDA_", "GLOO_")) or name == "VLLM_HOST_IP"
            },
            interconnect=self._interconnect(environment),
            arguments={},
            behaviour="serve",
            second_server=None,
            stop_rank=None,
            kill_rank=None,
            boot_until=None,
            then=[],
            log_age=0.0,
        )

    def _interconnect(self, environment: t.Mapping[str, str]) -> Interconnect:
        """Return the path that NCCL uses with these variables: peer access, shared memory or sockets."""
        if any("phase" in facts for facts in self.gpus.values()):
            return self.interconnect
        links = self.topology.startswith("NV")
        name = "nvlink" if links else "p2p-gen5" if self.gpu["pcie_generation"] >= 5 else "p2p"
        levels = ("LOC", "NVL", "PIX", "PXB", "PHB", "SYS")
        level = environment.get("NCCL_P2P_LEVEL", "SYS")
        near = level not in levels or levels.index("NVL" if links else self.topology) <= levels.index(level)
        if not self.p2p or not near or environment.get("NCCL_P2P_DISABLE") == "1":
            name = "socket" if environment.get("NCCL_SHM_DISABLE") == "1" else "shm"
        return Interconnect(**load_json("data/interconnects.json")[name])

    @property
    def visible_gpus(self) -> list[int]:
        """Indices of the GPUs that the server may use."""
        chosen = self.environment.get("CUDA_VISIBLE_DEVICES")
        return [int(index) for index in chosen.split(",")] if chosen else list(range(self.gpu_count))

    def layout(self, options: argparse.Namespace) -> Layout:
        sizes = (options.tensor_parallel_size, options.pipeline_parallel_size, options.data_parallel_size)
        return Layout(*sizes, gpus=self.visible_gpus, nodes=options.nnodes, node=options.node_rank)

    def custom_all_reduce(self, options: argparse.Namespace) -> Interconnect | None:
        """Return the path of vLLM's own all-reduce, or None if vLLM uses NCCL for all messages."""
        size, nvlink = options.tensor_parallel_size, self.topology.startswith("NV")
        if options.disable_custom_all_reduce or not self.p2p or size not in CUSTOM_SIZES[: None if nvlink else 1]:
            return None
        if self.interconnect.transport.startswith("P2P"):
            return self.interconnect
        return Interconnect(**load_json("data/interconnects.json")["nvlink" if nvlink else "p2p"])

    def speed(self, options: argparse.Namespace) -> dict[str, t.Any]:
        """Return the arguments of ``Speed`` for one engine of the server."""
        return {
            "model": self.model,
            "tensor_parallel": options.tensor_parallel_size,
            "stages": options.pipeline_parallel_size,
            "nodes": options.nnodes,
            **self.link,
            "bandwidth": self.gpu["memory_bandwidth"] * self.gpu["bandwidth_efficiency"],
            "flops": self.gpu["flops"] * self.gpu["flops_efficiency"],
            "interconnect": self.interconnect,
            "custom": self.custom_all_reduce(options),
        }

    def fault(self, index: int) -> Fault:
        fields = Fault.__dataclass_fields__
        return Fault(**{key: value for key, value in self.gpus.get(index, {}).items() if key in fields})

    # ---- records for the state file

    def bus_id(self, index: int) -> str:
        """Return the PCI bus id of a GPU. On a Linode with GPUs, the first GPU is in slot 2 of PCI bus 0."""
        return f"00000000:00:{index + 2:02X}.0"

    def node_record(self) -> Record:
        size = 16
        topology, p2p = [0] * size * size, [0] * size * size
        for first in range(self.gpu_count):
            for second in range(self.gpu_count):
                # NVML reports the path through the host in addition to NVLink.
                topology[first * size + second] = 0 if first == second else TOPOLOGY.get(self.topology, 40)
                p2p[first * size + second] = 0 if self.p2p else 1
        return {
            "init_result": 0 if self.nvml in (None, "gpu_lost") else NVML_FAULTS[self.nvml],
            "cuda_version": CUDA_VERSION,
            "topology": topology,
            "p2p": p2p,
            "driver_version": DRIVER_VERSION,
            "nvml_version": f"13.{DRIVER_VERSION}",
        }

    def gpu_record(self, index: int, node: str) -> Record:
        """Return the fields that describe an idle GPU in the state file.

        :param index: number of the GPU in the node.
        :param node: name of the node. The UUID of the GPU is derived from this name and the index.
        """
        facts, overrides = self.gpu, self.gpus.get(index, {})
        identity = uuid.uuid5(uuid.NAMESPACE_DNS, f"{node}.{index}")
        milliwatt = round(1000 * facts["power_limit"])
        threshold = facts["threshold"]
        record: Record = {
            "result": NVML_FAULTS["gpu_lost"] if overrides.get("lost") else 0,
            "memory_total": facts["memory_total"],
            "memory_used": 0,
            "memory_reserved": facts["memory_reserved"],
            "bar1_total": facts["bar1_total"],
            "utilization_gpu": 0,
            "utilization_memory": 0,
            "temperature": facts["temperature_idle"],
            "fan_speed": facts["fan_speed"],
            "power_draw": round(1000 * facts["power_idle"]),
            "power_limit": round(1000 * overrides.get("power_limit", facts["power_limit"])),
            "power_limit_default": milliwatt,
            "power_limit_min": round(1000 * facts["power_limit_min"]),
            "power_limit_max": round(1000 * facts["power_limit_max"]),
            "energy": 0,
            "clocks": facts["clocks_idle"],
            "clocks_max": facts["clocks_max"],
            "memory_bus_width": facts["memory_bus_width"],
            "cores": facts["cores"],
            "pcie_generation": 1,
            "pcie_generation_max": facts["pcie_generation"],
            "pcie_width": overrides.get("pcie_width", facts["pcie_width"]),
            "pcie_width_max": facts["pcie_width"],
            "pcie_speed": facts["pcie_speed"],
            "pcie_replay_counter": overrides.get("pcie_replay_counter", 0),
            "pcie_throughput": [0, 0],
            "ecc_mode": facts["ecc_mode"],
            "ecc_errors": overrides.get("ecc_errors", [0, 0, 0, 0]),
            "remapped_rows": overrides.get("remapped_rows", facts["remapped_rows"]),
            "throttle_reasons": 1,
            "throttle_reasons_supported": 0x1FF,
            "persistence_mode": 1,
            "compute_capability": facts["compute_capability"],
            "architecture": facts["architecture"],
            "performance_state": 8,
            "pci": [0, 0, index + 2, facts["device_id"], facts["subsystem_id"]],
            "process_count": 0,
            "name": facts["name"],
            "uuid": f"GPU-{identity}",
            "serial": "",
            "vbios": facts["vbios"],
            "pci_bus_id": self.bus_id(index),
        }
        if facts["thresholds_readable"]:
            record["temperature_threshold"] = [threshold["shutdown"], threshold["slowdown"], None, threshold["max"]]
        if self.topology.startswith("NV"):
            # Each GPU is connected to one other GPU.
            links = int(self.topology[2:])
            record["nvlink_state"], record["nvlink_peer"] = [1] * links, [index ^ 1] * links
        if facts["tlimit"]:
            record["tlimit"] = facts["tlimit"]
            record["temperature_margin"] = threshold["max"] - facts["temperature_idle"]
        return {name: UNSUPPORTED if value is None else value for name, value in record.items()}
