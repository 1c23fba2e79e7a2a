# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was gathered about one node, in the shape that the rules read."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding

#: Measurement -> the module that takes it. The order is that of the role's tasks.
MEASUREMENTS: t.Final[dict[str, str]] = {
    "gpu": "gpu_facts",
    "tensor_parallel": "vllm_tp_check",
    "load": "throughput_probe",
    "logs": "nccl_log_scan",
    "nccl_bandwidth": "nccl_bandwidth",
}


@dataclass(frozen=True)
class Measurement:
    """One module's registered result: its data, or the reason why there is none.

    ``crashed`` tells a module that failed (an error of the run) from one that was not asked or could not be asked.
    """

    module: str
    data: Mapping[str, t.Any] = field(default_factory=dict)
    reason: str | None = None
    crashed: bool = False
    unreachable: bool = False

    @property
    def taken(self) -> bool:
        return self.reason is None

    @classmethod
    def from_result(cls, module: str, result: Mapping[str, t.Any] | None, *, check_mode: bool = False) -> Measurement:
        """Read a registered result; ``None`` or ``{}`` is a task that did not run."""
        if not result:
            return cls(module, reason=f"{module} was not run")
        if result.get("unreachable"):
            return cls(module, reason=f"connection lost: {said_by_ssh(result.get('msg'))}", unreachable=True)
        if result.get("failed"):
            return cls(module, reason=f"{module} failed: {_one_line(result.get('msg'))}", crashed=True)
        if result.get("skipped"):
            said = "check mode makes no load" if check_mode else _one_line(result.get("msg"))
            return cls(module, reason=said or f"{module} was skipped")
        return cls(module, data=result)


@dataclass(frozen=True)
class Device:
    """One GPU as rules need it; bytes and bytes/s, ``None`` where the GPU or driver does not say."""

    index: int
    name: str | None = None
    memory_total: int | None = None
    memory_used: int | None = None
    memory_bandwidth: int | None = None
    bandwidth_source: str | None = None

    @classmethod
    def from_facts(cls, data: Mapping[str, t.Any]) -> Device:
        return cls(
            index=int(data["index"]),
            name=data.get("name"),
            memory_total=data.get("memory_total"),
            memory_used=data.get("memory_used"),
            memory_bandwidth=data.get("memory_bandwidth"),
            bandwidth_source=data.get("memory_bandwidth_source"),
        )


@dataclass(frozen=True)
class JudgingOptions:
    """The role's options that a rule may read.

    ``model`` may give ``weight_bytes, layers, kv_heads``; ``memory_bandwidth`` is bytes/s of one GPU,
    ``all_reduce_latency`` seconds; ``speed_limits`` maps a GPU model (or ``default``) to ``{warn, fail}`` in per cent;
    ``speed_history`` are tokens/s of one stream in earlier runs. ``fixed_seed``: the load repeats its prompts.
    ``profile``: the tuning preset that the deployment states.
    ``instance_type`` is the id of the Linode plan, ``hourly_price`` US dollars.
    """

    expected_throughput: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    model: Mapping[str, t.Any] = field(default_factory=dict)
    memory_bandwidth: float | None = None
    all_reduce_latency: float | None = None
    speed_limits: Mapping[str, t.Any] = field(default_factory=dict)
    speed_history: Sequence[float] = ()
    fixed_seed: bool = False
    profile: str | None = None
    instance_type: str | None = None
    hourly_price: float | None = None


@dataclass(frozen=True)
class NodeFacts:
    """Everything that rules may look at. Build it with ``from_results``; rules only read it."""

    name: str
    gpu: Measurement
    tensor_parallel: Measurement
    load: Measurement
    logs: Measurement
    nccl_bandwidth: Measurement = Measurement("nccl_bandwidth", reason="nccl_bandwidth was not run")
    options: JudgingOptions = JudgingOptions()
    check_mode: bool = False

    @classmethod
    def from_results(
        cls,
        name: str,
        results: Mapping[str, Mapping[str, t.Any] | None],
        *,
        options: JudgingOptions | None = None,
        check_mode: bool = False,
    ) -> NodeFacts:
        """``results`` maps the keys of ``MEASUREMENTS`` to registered results.

        A module that was skipped because the node was lost before it ran carries the reason of the loss.
        """
        taken = {
            key: Measurement.from_result(module, results.get(key), check_mode=check_mode)
            for key, module in MEASUREMENTS.items()
        }
        lost = next((item for item in taken.values() if item.unreachable), None)
        if lost is not None:
            taken = {
                key: item if item.taken else Measurement(item.module, reason=lost.reason, unreachable=True)
                for key, item in taken.items()
            }
        return cls(name=name, options=options or JudgingOptions(), check_mode=check_mode, **taken)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        return tuple(getattr(self, key) for key in MEASUREMENTS)

    @property
    def lost(self) -> Measurement | None:
        """The measurement at which the connection broke; ``None`` for a node that answered to the end."""
        return next((item for item in self.measurements if item.unreachable), None)

    @property
    def devices(self) -> tuple[Device, ...]:
        """GPUs in the driver's order; empty without a driver."""
        return tuple(Device.from_facts(item) for item in self.raw_devices)

    @property
    def raw_devices(self) -> Sequence[Mapping[str, t.Any]]:
        """The entries of ``gpu.devices`` as the module gave them, for verdicts that the module's own code makes."""
        return self.gpu_facts.get("devices") or ()

    @property
    def gpu_facts(self) -> Mapping[str, t.Any]:
        return (self.gpu.data.get("ansible_facts") or {}).get("gpu") or {}

    @property
    def engine(self) -> Mapping[str, t.Any]:
        """What vLLM's own log says about itself (``EngineFacts`` as a dictionary); empty without a log."""
        return self.logs.data.get("engine") or {}

    @property
    def arguments(self) -> Mapping[str, t.Any] | None:
        """Options of the running server, secrets masked; ``None`` where neither a process nor a log shows them."""
        return self.tensor_parallel.data.get("arguments") or self.engine.get("arguments") or None

    @property
    def environment(self) -> Mapping[str, t.Any] | None:
        """Variables of the running server that concern vLLM and NCCL; ``None`` where nobody can read them."""
        seen: Mapping[str, t.Any] | None = self.tensor_parallel.data.get("environment")
        return seen if seen is not None else self.engine.get("environment") or None

    @property
    def group_size(self) -> int | None:
        """GPUs that the served model should use: TP x PP x DP of the running server; ``None`` if unknown."""
        data = self.tensor_parallel.data
        size = data.get("tensor_parallel_size")
        if size is None:
            return None
        return int(size) * int(data.get("pipeline_parallel_size") or 1) * int(data.get("data_parallel_size") or 1)

    @property
    def own_gpus(self) -> list[int]:
        """GPUs on which the server's processes run, where they are as many as it needs; else empty.

        On a node with a second server these are fewer than hold a model.
        """
        own = [int(index) for index in self.tensor_parallel.data.get("gpus") or ()]
        return own if len(own) == self.group_size else []

    @property
    def only_tensor_parallel(self) -> bool:
        """Whether every GPU of the group has an equal share of every layer: no pipeline stages, no replicas."""
        return self.group_size is not None and self.group_size == self.tensor_parallel.data["tensor_parallel_size"]

    @property
    def spans_nodes(self) -> bool:
        """Whether the group is larger than the node, so that a network between its GPUs is as it should be."""
        here = max(len(self.raw_devices), self.gpu_facts.get("expected_count") or 0)
        return self.group_size is not None and self.group_size > here > 0

    @property
    def steps(self) -> Sequence[Mapping[str, t.Any]]:
        """Load steps that ran."""
        return [step for step in self.load.data.get("results") or () if not step.get("skipped")]

    @property
    def samples(self) -> Sequence[Mapping[str, t.Any]]:
        """GPU samples taken while load ran, without the pauses; ``time`` in seconds of the probe's clock."""
        every = (self.load.data.get("gpu_samples") or {}).get("samples") or ()
        windows = [(step["started"], step["ended"]) for step in self.steps if step.get("ended") is not None]
        if not windows:
            return every
        return [item for item in every if any(start <= item["time"] <= end for start, end in windows)]

    def findings(self, area: str) -> list[Finding]:
        """What the modules themselves found in ``area``, in the order of the measurements.

        Findings of ids that this version does not know (a newer module on the node) are dropped.
        """
        found = []
        for item in self.measurements:
            for data in item.data.get("findings") or ():
                if str(data.get("check", "")).partition(".")[0] == area:
                    found.append(Finding.from_dict(dict(data)))
        return found


def said_by_ssh(message: t.Any) -> str:
    """What ssh said, without the sentences that Ansible puts before it."""
    return _one_line(message).removeprefix("Task failed: ").rpartition(" ssh: ")[2]


def _one_line(message: t.Any, limit: int = 200) -> str:
    text = " ".join(str(message or "").split())
    return text if len(text) <= limit else text[: limit - 3] + "..."
