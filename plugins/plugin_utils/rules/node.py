# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect the facts about one node that rules and diagnoses use: the role's options and the results of all modules."""

from __future__ import annotations

import typing as t
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding
from ansible_collections.multigpu.vllm.plugins.plugin_utils.printable import printable
from ansible_collections.multigpu.vllm.plugins.plugin_utils.results import InvalidResult, checked_result
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.recorded_answers import RecordedAnswers
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import Version, parse_version

#: Measurements and the modules that take them, in the order of the role's tasks.
MEASUREMENTS: t.Final[dict[str, str]] = {
    "gpu": "gpu_facts",
    "tensor_parallel": "vllm_tp_check",
    "links": "link_check",
    "load": "throughput_probe",
    "output": "output_check",
    "logs": "nccl_log_scan",
    "peer_data": "p2p_check",
    "nccl_bandwidth": "nccl_bandwidth",
}


@dataclass(frozen=True)
class Measurement:
    """The registered result of one module: its data, or the reason why it has none.

    ``crashed`` marks a module that failed or returned an invalid result, as opposed to one that was skipped.
    """

    module: str
    data: Mapping[str, t.Any] = field(default_factory=dict)
    reason: str | None = None
    crashed: bool = False
    unreachable: bool = False

    @property
    def taken(self) -> bool:
        return self.reason is None

    @property
    def requested(self) -> bool:
        """Whether the module ran, with or without a result."""
        return self.taken or self.crashed

    @classmethod
    def from_result(cls, module: str, result: Mapping[str, t.Any] | None, *, check_mode: bool = False) -> Measurement:
        """Create a measurement from the registered result of a task. If ``result`` is empty, the task did not run."""
        if not result:
            return cls(module, reason=f"{module} was not run")
        if result.get("unreachable"):
            return cls(module, reason=f"connection lost: {ssh_message(result.get('msg'))}", unreachable=True)
        if result.get("timedout"):
            return cls(module, reason=f"{module} had not finished after validate_max_duration", crashed=True)
        if result.get("failed"):
            return cls(module, reason=f"{module} failed: {_one_line(result.get('msg'))}", crashed=True)
        if result.get("skipped"):
            reason = "check mode runs no load test" if check_mode else _one_line(result.get("msg"))
            return cls(module, reason=reason or f"{module} was skipped")
        try:
            return cls(module, data=checked_result(module, result))
        except InvalidResult as error:
            return cls(module, reason=f"invalid result of {module}: {error}", crashed=True)


@dataclass(frozen=True)
class JudgingOptions:
    """Options that the rules read. The ``diagnose`` action has an option with the name of each field.

    ``model``: optional keys ``weight_bytes``, ``layers`` and ``kv_heads``. ``memory_bandwidth``: bytes/s of one GPU.
    ``all_reduce_latency``: seconds. ``speed_limits``: maps a GPU model or ``default`` to two percentages, ``warn`` and
    ``fail``. ``speed_history``: tokens/s of one stream in earlier runs. ``fixed_seed``: whether the load test repeats
    its prompts. ``profile``: tuning preset of the deployment. ``instance_type``: type ID of the Linode plan.
    ``hourly_price``: US dollars. ``output_reference``: a ``RecordedAnswers`` to compare with. ``group``: the group of
    nodes to which the node belongs, as ``check_options`` returns it, with the head's result of ``throughput_probe`` as
    ``load``, and the measured ``links`` from the node; empty if the node serves alone.
    """

    expected_throughput: float | None = None
    model: Mapping[str, t.Any] = field(default_factory=dict)
    memory_bandwidth: float | None = None
    all_reduce_latency: float | None = None
    speed_limits: Mapping[str, t.Any] = field(default_factory=dict)
    speed_history: Sequence[float] = ()
    fixed_seed: bool = False
    profile: str | None = None
    instance_type: str | None = None
    hourly_price: float | None = None
    output_reference: RecordedAnswers | None = None
    group: Mapping[str, t.Any] = field(default_factory=dict)

    @property
    def headless(self) -> bool:
        """Whether the node is a part of a server whose API runs on another node."""
        return bool(self.group.get("rank"))


@dataclass(frozen=True)
class NodeFacts:
    """The role's options and the measurements of one node. Use ``from_results`` to create an instance."""

    name: str
    gpu: Measurement
    tensor_parallel: Measurement
    load: Measurement
    logs: Measurement
    peer_data: Measurement = Measurement("p2p_check", reason="p2p_check was not run")
    nccl_bandwidth: Measurement = Measurement("nccl_bandwidth", reason="nccl_bandwidth was not run")
    links: Measurement = Measurement("link_check", reason="link_check was not run")
    output: Measurement = Measurement("output_check", reason="output_check was not run")
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
        """Create an instance from ``results``, which maps keys of ``MEASUREMENTS`` to registered module results.

        If the node became unreachable, the lost connection is the reason given for every missing measurement.
        """
        measurements = {
            key: Measurement.from_result(module, results.get(key), check_mode=check_mode)
            for key, module in MEASUREMENTS.items()
        }
        if options is not None and options.headless:
            head = Measurement.from_result("throughput_probe", options.group.get("load"))
            # Ansible replaces the value "started" of an asynchronous job by its own.
            sampled = {key: value for key, value in (results.get("load") or {}).items() if key != "started"}
            own = Measurement.from_result("gpu_monitor", sampled, check_mode=check_mode)
            measurements["load"] = _load_of_member(own, head)
        lost = next((item for item in measurements.values() if item.unreachable), None)
        if lost is not None:
            measurements = {
                key: item if item.taken else Measurement(item.module, reason=lost.reason, unreachable=True)
                for key, item in measurements.items()
            }
        return cls(name=name, options=options or JudgingOptions(), check_mode=check_mode, **measurements)

    # --- measurements -------------------------------------------------------------------------------------------------

    def measurement(self, key: str) -> Measurement:
        """Return the measurement for ``key``, which is one of the keys of ``MEASUREMENTS``."""
        item: Measurement = getattr(self, key)
        return item

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        return tuple(self.measurement(key) for key in MEASUREMENTS)

    @property
    def lost(self) -> Measurement | None:
        """The measurement during which the connection was lost, or None if the node stayed reachable."""
        return next((item for item in self.measurements if item.unreachable), None)

    def findings(self, area: str, replaced_by: Sequence[Finding] = ()) -> list[Finding]:
        """Return the findings that modules reported for ``area``, followed by the findings in ``replaced_by``.

        A finding in ``replaced_by`` replaces the modules' findings of the same check, except those that fail or warn.
        """
        reported = [
            Finding.from_dict(dict(data))
            for item in self.measurements
            for data in item.data.get("findings") or ()
            if str(data.get("check", "")).partition(".")[0] == area
        ]
        replaced = {item.check for item in replaced_by}
        return [*(item for item in reported if item.wrong or item.check not in replaced), *replaced_by]

    # --- GPUs ---------------------------------------------------------------------------------------------------------

    @property
    def gpu_facts(self) -> Mapping[str, t.Any]:
        return (self.gpu.data.get("ansible_facts") or {}).get("gpu") or {}

    @property
    def devices(self) -> Sequence[Mapping[str, t.Any]]:
        """GPUs that ``gpu_facts`` returned, in the driver's order; empty if there is no driver."""
        return self.gpu_facts.get("devices") or ()

    @property
    def mig_gpus(self) -> list[int]:
        """Indices of the GPUs in MIG mode, of which vLLM uses only an instance."""
        return [int(device["index"]) for device in self.devices if device.get("mig_mode") == "enabled"]

    @property
    def gpu_names(self) -> Counter[str]:
        """Number of GPUs with each product name; GPUs whose name is unknown are left out."""
        return Counter(device["name"] for device in self.devices if device.get("name"))

    # --- the server ---------------------------------------------------------------------------------------------------

    @property
    def other_engine(self) -> str | None:
        """Name of the engine if the server is known not to be vLLM, for example ``SGLang``."""
        servers = (item.data.get("server") or {} for item in (self.load, self.tensor_parallel))
        return next((str(server["engine"]) for server in servers if server.get("engine")), None)

    @property
    def engine(self) -> Mapping[str, t.Any]:
        """Facts that the log scan found in vLLM's log (the fields of ``EngineFacts``); empty if no log was read.

        They are also empty if the server is not vLLM, because the log then belongs to another server.
        """
        return {} if self.other_engine else self.logs.data.get("engine") or {}

    @property
    def version(self) -> Version | None:
        """Version of the vLLM server, or None if it is unknown."""
        return parse_version(self.tensor_parallel.data.get("vllm_version") or self.engine.get("vllm_version"))

    @property
    def arguments(self) -> Mapping[str, t.Any] | None:
        """Arguments of the running server (secrets are masked), or None if neither a process nor a log shows them."""
        return self.tensor_parallel.data.get("arguments") or self.engine.get("arguments") or None

    @property
    def environment(self) -> Mapping[str, t.Any] | None:
        """The running server's environment variables for vLLM and NCCL, or None if they cannot be read."""
        environment: Mapping[str, t.Any] | None = self.tensor_parallel.data.get("environment")
        return environment if environment is not None else self.engine.get("environment") or None

    def argument(self, name: str, default: t.Any = None) -> t.Any:
        """Return the value of an argument of the running server, or ``default`` if the value is unset or unknown."""
        return (self.arguments or {}).get(name, default)

    def variable(self, name: str) -> str | None:
        """Return the value of an environment variable of the running server, or None if it is unset or unknown."""
        value = (self.environment or {}).get(name)
        return None if value is None else str(value)

    def is_set(self, name: str) -> bool:
        """Return whether an environment variable of the server is set to ``1`` or ``true``."""
        return (self.variable(name) or "").lower() in ("1", "true")

    @property
    def group_size(self) -> int | None:
        """Number of GPUs that the server needs, or None if it is unknown.

        This is the product of the tensor-parallel, pipeline-parallel and data-parallel sizes.
        """
        return self.tensor_parallel_size and self.tensor_parallel_size * self.stages * self.replicas

    @property
    def tensor_parallel_size(self) -> int | None:
        """Number of GPUs that share each layer, or None if it is unknown."""
        return self._size("tensor_parallel_size")

    @property
    def replicas(self) -> int:
        """Number of data-parallel replicas of the server."""
        return self._size("data_parallel_size") or 1

    @property
    def own_gpus(self) -> list[int]:
        """Indices of the GPUs on which the server's processes run; empty if there are not ``group_size`` such GPUs.

        If a second server runs on the node, other GPUs hold a model as well.
        """
        own = [int(index) for index in self.tensor_parallel.data.get("gpus") or ()]
        return own if len(own) == self.group_size else []

    @property
    def stages(self) -> int:
        """Number of pipeline stages of each replica."""
        return self._size("pipeline_parallel_size") or 1

    def _size(self, name: str) -> int | None:
        """Return a parallel size that ``vllm_tp_check`` found, or else that vLLM's log contains; None if unknown."""
        size = self.tensor_parallel.data.get(name) or self.engine.get(name)
        return int(size) if size else None

    @property
    def expert_parallel(self) -> bool:
        """Whether each GPU has whole experts, so that the amount of work depends on the experts that tokens choose."""
        sources = (self.tensor_parallel.data.get(name) or {} for name in ("configuration", "arguments"))
        return any(source.get("enable_expert_parallel") for source in sources)

    @property
    def spans_nodes(self) -> bool:
        """Whether the server runs on several nodes: those of its group, or because this one has too few GPUs for it."""
        if len(self.options.group.get("hosts") or ()) > 1:
            return True
        local = max(len(self.devices), self.gpu_facts.get("expected_count") or 0)
        return self.group_size is not None and self.group_size > local > 0

    @property
    def asleep(self) -> bool:
        """Whether the load test found the engine asleep. Its weights are then not on the GPUs."""
        return any(item.get("measured") == "sleeping" for item in self.load.data.get("findings") or ())

    # --- the load -----------------------------------------------------------------------------------------------------

    @property
    def steps(self) -> Sequence[Mapping[str, t.Any]]:
        """Steps of the load test that were not skipped."""
        return [step for step in self.load.data.get("results") or () if not step.get("skipped")]

    @property
    def preemptions(self) -> dict[str, int]:
        """Number of requests that vLLM preempted in each load step, without the steps in which it preempted none."""
        return {str(step.get("name")): step["preemptions"] for step in self.steps if step.get("preemptions")}

    @property
    def samples(self) -> Sequence[Mapping[str, t.Any]]:
        """GPU samples taken during the load steps. The timestamps of samples and load steps have the same time base."""
        samples = (self.load.data.get("gpu_samples") or {}).get("samples") or ()
        windows = [(step["started"], step["ended"]) for step in self.steps if step.get("ended") is not None]
        if not windows:
            return samples
        return [item for item in samples if any(start <= item["time"] <= end for start, end in windows)]


def _load_of_member(own: Measurement, head: Measurement) -> Measurement:
    """Return the samples of a node without an API together with the times of the head's load steps.

    :param own: result of ``gpu_monitor``, whose clock differs little from that of the head.
    :param head: result of ``throughput_probe`` on the head.
    """
    if not own.taken:
        return own
    if not head.taken:
        return Measurement(own.module, reason=f"no load on the head of the group: {head.reason}")
    if head.data["origin"] is None:
        return Measurement(own.module, reason="no load on the head of the group: the server does not respond")
    steps = [{key: step.get(key) for key in ("name", "started", "ended", "skipped")} for step in head.data["results"]]
    sampled = None
    if own.data["origin"] is not None:
        shift = own.data["origin"] - head.data["origin"]
        samples = [{**sample, "time": sample["time"] + shift} for sample in own.data["samples"]]
        sampled = {"samples": samples, "sample_rate": own.data.get("sample_rate"), "error": own.data["error"]}
    return Measurement(
        own.module,
        {
            "results": steps,
            "origin": head.data["origin"],
            "gpu_samples": sampled,
            "gpu_samples_reason": own.data["error"]
            or "the GPUs were not sampled during the load on the head of the group",
        },
    )


def ssh_message(message: t.Any) -> str:
    """Return ``message``, an SSH error message, without the prefix that Ansible adds."""
    return _one_line(message).removeprefix("Task failed: ").rpartition(" ssh: ")[2]


def _one_line(message: t.Any, limit: int = 200) -> str:
    text = printable(" ".join(str(message or "").split()))
    return text if len(text) <= limit else text[: limit - 3] + "..."
