# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give the diagnosis rules access to the facts, findings and earlier diagnoses of one node."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis, conclude
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import expectation, gpus, nccl, performance
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.expected_speed import Unknown, model_bound
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.roofline import Roofline, uncertainty

THROUGHPUT: t.Final = "performance.throughput"
LIVENESS: t.Final = "tensor_parallel.liveness"


@dataclass(frozen=True)
class DiagnosisContext:
    """Facts and findings of one node, and the diagnoses made by earlier rules."""

    node: NodeFacts
    findings: tuple[Finding, ...]
    diagnoses: tuple[Diagnosis, ...] = ()

    def adding(self, *diagnoses: Diagnosis) -> DiagnosisContext:
        """Return a copy of this context with additional diagnoses."""
        return replace(self, diagnoses=(*self.diagnoses, *diagnoses))

    # --- findings and diagnoses ---------------------------------------------------------------------------------------

    def all(self, check: str) -> list[Finding]:
        """Return all findings of ``check``, worst first."""
        return [item for item in self.findings if item.check == check]

    def worst_finding(self, check: str) -> Finding | None:
        """Return the worst failure or warning of ``check``, or None if the check has neither."""
        return next((item for item in self.all(check) if item.wrong), None)

    def worst_findings(self, *checks: str) -> list[Finding]:
        """Return the worst failure or warning of each check in ``checks``. Leave out checks that have neither."""
        return [item for check in checks if (item := self.worst_finding(check)) is not None]

    def wrong(self, *checks: str) -> tuple[str, ...]:
        """Return the checks in ``checks`` that fail or warn."""
        return tuple(item.check for item in self.worst_findings(*checks))

    def any_fails(self, *checks: str) -> bool:
        """Return whether at least one of ``checks`` fails."""
        return any(item.status is Status.FAIL for item in self.worst_findings(*checks))

    @property
    def explained(self) -> frozenset[str]:
        """Checks whose failures and warnings are explained by an earlier diagnosis."""
        return frozenset(check for item in self.diagnoses for check in item.findings)

    def unexplained(self, *checks: str) -> tuple[str, ...]:
        """Return the checks in ``checks`` that fail or warn and are not explained by an earlier diagnosis."""
        return tuple(check for check in self.wrong(*checks) if check not in self.explained)

    def has_diagnosis(self, *ids: str) -> bool:
        """Return whether an earlier rule made one of the diagnoses with these ``ids``."""
        return any(item.id in ids for item in self.diagnoses)

    # --- logs ---------------------------------------------------------------------------------------------------------

    @cached_property
    def faults(self) -> dict[str, Mapping[str, t.Any]]:
        """The first failure or warning in the logs for each fault, keyed by its name in ``FAULTS``."""
        faults: dict[str, Mapping[str, t.Any]] = {}
        for item in self.node.logs.data.get("findings") or ():
            if item.get("fault") and item.get("status") in ("fail", "warn"):
                faults.setdefault(str(item["fault"]), item)
        return faults

    def quote(self, fault: str) -> str:
        """Return the log line that reports ``fault``, truncated to 160 characters, as evidence for a diagnosis."""
        line = str(self.faults[fault].get("line") or self.faults[fault].get("summary") or "").strip()
        return f"log: {line if len(line) <= 160 else line[:157] + '...'}"

    # --- GPUs and model -----------------------------------------------------------------------------------------------

    @property
    def gpu_count(self) -> int:
        """Number of GPUs that the driver lists."""
        return len(self.node.devices)

    @property
    def visible_gpus(self) -> int | None:
        """Number of GPUs in the server's CUDA_VISIBLE_DEVICES, or None if the variable is not set or is ``all``."""
        value = self.node.variable("CUDA_VISIBLE_DEVICES")
        if value is None or value.lower() == "all":
            return None
        return len([part for part in value.split(",") if part.strip()])

    @cached_property
    def shape(self) -> ModelShape:
        model = self.node.tensor_parallel.data.get("model") or {}
        return ModelShape(model.get("attention_heads"), model.get("kv_heads"), model.get("num_layers"))

    @cached_property
    def transports(self) -> dict[str, int]:
        """Number of NCCL connections between the GPUs over each transport: ``p2p``, ``shm``, ``socket`` and ``ib``."""
        return nccl.families(self.node.logs.data.get("transports") or {})

    # --- speed --------------------------------------------------------------------------------------------------------

    @property
    def down(self) -> bool:
        """Whether the server sends no responses, or too few to measure its speed."""
        throughput = self.worst_finding(THROUGHPUT)
        failed = throughput is not None and throughput.status is Status.FAIL and throughput.unit in (None, "requests")
        return failed or self.any_fails(LIVENESS)

    @property
    def outage_checks(self) -> tuple[str, ...]:
        """The checks that fail because the server does not respond; empty if the server responds."""
        return self.wrong(THROUGHPUT, LIVENESS, "tensor_parallel.ranks") if self.down else ()

    @property
    def computes_nan(self) -> tuple[str, ...]:
        """The check that fails because the model computed NaN; empty if it did not."""
        throughput = self.worst_finding(THROUGHPUT)
        return (THROUGHPUT,) if throughput is not None and throughput.unit == "corrupted requests" else ()

    @property
    def slow(self) -> tuple[str, ...]:
        """The checks that fail or warn because the node is slow."""
        throughput = self.worst_finding(THROUGHPUT)
        # Low throughput is not the node's fault if other clients use the server.
        alone = self.step is not None and not expectation.shared(self.step)
        short = (THROUGHPUT,) if alone and throughput is not None and throughput.unit == "tok/s" else ()
        return (*self.wrong(*expectation.SPEED), *short)

    @cached_property
    def attained(self) -> float | None:
        """Measured speed of one stream as a percentage of its expected speed."""
        values = [
            item.evidence.get("attained_percent")
            for check in (*expectation.SPEED, THROUGHPUT)
            for item in self.all(check)
        ]
        return min((float(value) for value in values if value is not None), default=None)

    @cached_property
    def step(self) -> Mapping[str, t.Any] | None:
        """The first valid load step with a single stream, or None if no such step exists."""
        return performance.single_stream(self.node)

    @cached_property
    def roofline(self) -> Roofline | None:
        """The roofline (speed limit of one stream) of this node, or None if it is unknown or does not apply."""
        if self.step is None or expectation.speculative(self.node, self.step):
            return None
        try:
            return model_bound(expectation.setup(self.node, self.step))
        except Unknown:
            return None

    def speed_evidence(self) -> tuple[str, ...]:
        """Format the measured speed of one stream as evidence; return an empty tuple if the speed is unknown."""
        if self.step is None or self.attained is None:
            return ()
        return (f"one stream: {expectation.decode_rate(self.step):.1f} tok/s, {self.attained:.0f} % of expected",)

    def recovery(self) -> str | None:
        """Return a text with the current speed of one stream and the speed expected after a fix.

        Return None if the node is not slow.
        """
        if not self.slow or self.step is None or not self.attained:
            return None
        now = expectation.decode_rate(self.step)
        return f"one stream from {now:.0f} to about {100.0 * now / self.attained:.0f} tok/s ({self.uncertainty})"

    @property
    def uncertainty(self) -> str:
        """Format the relative error of predicted speeds on the node's GPUs, for example ``±10 %``."""
        names = list(self.node.gpu_names)
        return f"±{100 * uncertainty(names[0] if len(names) == 1 else None):.0f} %"

    # --- GPU activity under load --------------------------------------------------------------------------------------

    @cached_property
    def utilisation(self) -> dict[int, float]:
        """Mean utilisation of each GPU under load as a percentage, keyed by GPU index."""
        return gpus.means(self.node.samples, "utilization_gpu")

    @cached_property
    def power_share(self) -> dict[int, float]:
        """Mean power draw of each GPU under load as a percentage of its power limit, keyed by GPU index."""
        limits = {item["index"]: item.get("power_limit") for item in self.node.devices}
        drawn = gpus.means(self.node.samples, "power_draw")
        return {index: 100.0 * watts / limit for index, watts in drawn.items() if (limit := limits.get(index))}


def figures(values: Mapping[int, float], unit: str) -> str:
    """Format one value per GPU, such as ``GPU 0 92 %, GPU 1 3 %``."""
    return ", ".join(f"GPU {index} {value:.0f} {unit}" for index, value in values.items())


def listed(items: Sequence[str]) -> str:
    """Join items into one phrase, such as ``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def conclude_from_log(
    context: DiagnosisContext, fault: str, identity: str, *checks: str, evidence: Iterable[str] = ()
) -> Diagnosis | None:
    """Return the diagnosis with the id ``identity`` if the logs report a fault of class ``fault``, otherwise None.

    The fault proves the diagnosis. The diagnosis explains the checks in ``checks`` that fail or warn, and also a server
    that does not respond.
    """
    if fault not in context.faults:
        return None
    return conclude(
        identity,
        confidence="high",
        evidence=(context.quote(fault), *evidence),
        findings=(*context.wrong(*checks), *context.outage_checks),
    )
