# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One node as the diagnosing rules see it: what was measured, what was found, and what is explained already."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import expectation, gpus, nccl, performance
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings import known_issues
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.expected_speed import Unknown, model_bound
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.roofline import Roofline

WRONG: t.Final = (Status.FAIL, Status.WARN)

#: Checks that say the node is slow.
SPEED: t.Final = ("performance.roofline", "performance.scaling")

THROUGHPUT: t.Final = "performance.throughput"


@dataclass(frozen=True)
class Case:
    """Facts and findings of one node; ``found`` are the diagnoses so far."""

    node: NodeFacts
    findings: tuple[Finding, ...]
    found: tuple[Diagnosis, ...] = ()

    def adding(self, *diagnoses: Diagnosis) -> Case:
        return replace(self, found=(*self.found, *diagnoses))

    # --- what was found ------------------------------------------------------------------------------------------

    def all(self, check: str) -> list[Finding]:
        return [item for item in self.findings if item.check == check]

    def first(self, check: str) -> Finding | None:
        """The worst thing that is wrong about ``check``; ``None`` where nothing is."""
        return next((item for item in self.all(check) if item.status in WRONG), None)

    def wrong(self, *checks: str) -> tuple[str, ...]:
        """Those of ``checks`` that fail or warn."""
        return tuple(check for check in checks if self.first(check) is not None)

    @property
    def explained(self) -> frozenset[str]:
        return frozenset(check for item in self.found for check in item.findings)

    def unexplained(self, *checks: str) -> tuple[str, ...]:
        return tuple(check for check in self.wrong(*checks) if check not in self.explained)

    def has(self, *ids: str) -> bool:
        """Whether one of these causes is named already."""
        return any(item.id in ids for item in self.found)

    # --- what the logs say ---------------------------------------------------------------------------------------

    @cached_property
    def faults(self) -> dict[str, Mapping[str, t.Any]]:
        """Class of a fault in the logs -> its first finding; harmless lines are left out."""
        found: dict[str, Mapping[str, t.Any]] = {}
        for item in self.node.logs.data.get("findings") or ():
            if item.get("class") and item.get("status") in ("fail", "warn"):
                found.setdefault(str(item["class"]), item)
        return found

    def quote(self, fault: str) -> str:
        """The line of the log, short enough to read."""
        line = str(self.faults[fault].get("line") or self.faults[fault].get("summary") or "").strip()
        return f"log: {line if len(line) <= 160 else line[:157] + '...'}"

    # --- what runs -----------------------------------------------------------------------------------------------

    @cached_property
    def version(self) -> known_issues.Version | None:
        server = self.node.tensor_parallel.data
        return known_issues.parse_version(server.get("vllm_version") or self.node.engine.get("vllm_version"))

    @cached_property
    def arguments(self) -> Mapping[str, t.Any]:
        return self.node.tensor_parallel.data.get("arguments") or self.node.engine.get("arguments") or {}

    @cached_property
    def environment(self) -> Mapping[str, t.Any]:
        read = self.node.tensor_parallel.data.get("environment")
        return read if read is not None else self.node.engine.get("environment") or {}

    def is_set(self, name: str) -> bool:
        """Whether a switch in the server's environment is on."""
        return str(self.environment.get(name, "")).lower() in ("1", "true")

    @property
    def gpus(self) -> int:
        """GPUs that the driver shows."""
        return len(self.node.devices)

    @property
    def size(self) -> int | None:
        """GPUs that the parallel sizes ask for."""
        return self.node.group_size

    @cached_property
    def shape(self) -> ModelShape:
        model = self.node.tensor_parallel.data.get("model") or {}
        return ModelShape(model.get("attention_heads"), model.get("kv_heads"), model.get("num_layers"))

    @cached_property
    def transports(self) -> dict[str, int]:
        return nccl.families(self.node.logs.data.get("transports") or {})

    # --- how fast it is ------------------------------------------------------------------------------------------

    @property
    def down(self) -> bool:
        """Whether the server answers nothing, or too little to speak of a speed."""
        found = self.first(THROUGHPUT)
        return found is not None and found.status is Status.FAIL and found.unit != "tok/s"

    @property
    def slow(self) -> tuple[str, ...]:
        """The checks that say the node is slower than it should be."""
        found = self.first(THROUGHPUT)
        # A server that others use is slow for a reason that is no fault of the node.
        own = self.step is not None and not expectation.shared(self.step)
        short = (THROUGHPUT,) if own and found is not None and found.unit == "tok/s" else ()
        return (*self.wrong(*SPEED), *short)

    @property
    def silence(self) -> tuple[str, ...]:
        """The checks that a server which does not answer fails."""
        return (THROUGHPUT, *self.wrong("tensor_parallel.ranks")) if self.down else ()

    @cached_property
    def attained(self) -> float | None:
        """Per cent of the expected speed of one stream."""
        values = [item.evidence.get("attained_percent") for check in (*SPEED, THROUGHPUT) for item in self.all(check)]
        known = [float(value) for value in values if value is not None]
        return min(known, default=None)

    @cached_property
    def step(self) -> Mapping[str, t.Any] | None:
        return performance.single_stream(self.node)

    @cached_property
    def bound(self) -> Roofline | None:
        """The roofline of this node as it runs; ``None`` where a term is unknown."""
        if self.step is None:
            return None
        try:
            return model_bound(expectation.setup(self.node, self.step))
        except Unknown:
            return None

    def speed_words(self) -> tuple[str, ...]:
        """The measured speed as evidence."""
        if self.step is None or self.attained is None:
            return ()
        return (f"one stream: {expectation.decode_rate(self.step):.1f} tok/s, {self.attained:.0f} % of expected",)

    def recovery(self) -> str | None:
        """What the node gains when it is as fast as it should be."""
        if not self.slow or self.step is None or not self.attained:
            return None
        now = expectation.decode_rate(self.step)
        return f"one stream from {now:.0f} to about {100.0 * now / self.attained:.0f} tok/s"

    # --- what the GPUs did ---------------------------------------------------------------------------------------

    @cached_property
    def utilisation(self) -> dict[int, float]:
        return gpus.means(self.node.samples, "utilization_gpu")

    @cached_property
    def power_share(self) -> dict[int, float]:
        """GPU index -> mean power under load in per cent of its limit."""
        limits = {item["index"]: item.get("power_limit") for item in self.node.raw_devices}
        drawn = gpus.means(self.node.samples, "power_draw")
        return {index: 100.0 * watts / limits[index] for index, watts in drawn.items() if limits.get(index)}


def figures(values: Mapping[int, float], unit: str) -> str:
    """``GPU 0 92 %, GPU 1 3 %``."""
    return ", ".join(f"GPU {index} {value:.0f} {unit}" for index, value in values.items())


def listed(words: Sequence[str]) -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
