# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one shape that every verdict of this collection has.

A *check* is a question with an id ``area.name``; a *finding* is its answer. Findings cross every boundary
(module result, report, filter) as plain dictionaries and are typed objects inside.
"""

from __future__ import annotations

import enum
import typing as t
from collections.abc import Iterable
from dataclasses import dataclass, field, fields


class Status(str, enum.Enum):
    """How a check ended. What could not be measured is ``not_tested``, never ``pass``."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    NOT_TESTED = "not_tested"


#: From harmless to serious. ``not_tested`` ranks above ``pass``: an unanswered question is not good news.
SEVERITY: t.Final[tuple[Status, ...]] = (Status.PASS, Status.NOT_TESTED, Status.WARN, Status.FAIL)


@dataclass(frozen=True)
class Check:
    """A question this collection answers: ``title`` for a table row, ``question`` for the documentation."""

    title: str
    question: str


#: Areas in the order of the report's numbered sections.
AREAS: t.Final[dict[str, str]] = {
    "hardware": "GPU hardware",
    "tensor_parallel": "Tensor parallelism",
    "memory": "Memory distribution",
    "nccl": "NCCL",
    "performance": "Live performance",
    "utilisation": "GPU utilisation under load",
    "configuration": "Configuration",
    "user": "Your thresholds",
    "fleet": "Fleet",
    "baseline": "Baseline",
}

CHECKS: t.Final[dict[str, Check]] = {
    "hardware.gpu_count": Check("GPU count", "Does the node have as many GPUs as its plan promises?"),
    "hardware.gpu_model": Check("GPU model", "Are the GPUs of the model that the plan is sold with?"),
    "hardware.driver": Check("Driver", "Does the NVIDIA driver answer for every GPU?"),
    "hardware.topology": Check("Topology", "How are the GPUs connected to each other?"),
    "hardware.p2p": Check("Peer access", "Can the GPUs read each other's memory directly?"),
    "hardware.pcie_link": Check("PCIe link", "Does each GPU's PCIe link run at its full generation and width?"),
    "hardware.ecc": Check("Memory errors", "Is the GPU memory free of uncorrectable errors and failed row remaps?"),
    "hardware.throttle": Check("Throttling", "Do the GPUs run without being slowed down by heat, power or hardware?"),
    "hardware.temperature": Check("Temperature", "Do the GPUs stay below their own slowdown temperature?"),
    "hardware.xid": Check("Xid errors", "Is the kernel log free of NVIDIA Xid errors?"),
    "tensor_parallel.size": Check("TP size", "Does vLLM use all GPUs of the node?"),
    "tensor_parallel.ranks": Check("TP ranks", "Does every rank run, on a GPU of its own?"),
    "tensor_parallel.model_fit": Check("Model fit", "Can the model's heads be divided by this tensor-parallel size?"),
    "memory.idle_gpu": Check("Idle GPUs", "Does every GPU hold a part of the model?"),
    "memory.balance": Check("Balance", "Is memory use similar on all GPUs in use?"),
    "memory.headroom": Check("Headroom", "Is there memory left on every GPU, and enough for the KV cache?"),
    "memory.oom": Check("Out of memory", "Has no process run out of GPU or host memory?"),
    "nccl.errors": Check("NCCL errors", "Are the logs free of NCCL and worker errors?"),
    "nccl.transport": Check("NCCL transport", "Do the GPUs talk over the fastest path that the hardware has?"),
    "nccl.bandwidth": Check("NCCL bandwidth", "Does all-reduce reach the bandwidth of this interconnect?"),
    "performance.throughput": Check("Throughput", "Does the server complete the load, and how many tokens per second?"),
    "performance.ttft": Check("TTFT", "How long until the first token?"),
    "performance.itl": Check("ITL", "How long between two tokens?"),
    "performance.scaling": Check("Scaling", "What do several GPUs gain over one?"),
    "performance.roofline": Check("Roofline", "Is the speed near what the GPUs' memory bandwidth allows?"),
    "performance.client_limited": Check("Load client", "Was the load generator itself fast enough?"),
    "performance.token_reconciliation": Check("Token count", "Do client and server count the same tokens?"),
    "utilisation.active": Check("Active GPUs", "Does every GPU of the tensor-parallel group work under load?"),
    "utilisation.synchronised": Check("Synchronised", "Do the GPUs work in step, without waiting for each other?"),
    "configuration.arguments": Check("Arguments", "Are vLLM's arguments valid and useful in this version?"),
    "configuration.environment": Check("Environment", "Are the environment variables valid and harmless?"),
    "configuration.profile": Check("Profile", "Do the settings match the stated aim?"),
    "user.threshold": Check("Threshold", "Does the node keep the limits that you set yourself?"),
    "fleet.outlier": Check("Outlier", "Does the node perform like its peers?"),
    "fleet.missing": Check("Missing", "Did every node report every measurement?"),
    "baseline.regression": Check("Regression", "Is the node as fast as it was?"),
}


@dataclass(frozen=True)
class Reason:
    """Why something could not be done: ``summary`` for a table, ``cause`` and ``remedy`` for a finding."""

    summary: str
    cause: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The answer to one check.

    ``expected`` and ``measured`` are numbers or short texts in ``unit``; ``evidence`` is what a doubter would ask
    for; ``cause`` and ``remedy`` are set where something is wrong; ``source`` says where a limit comes from.

    :raises ValueError: for a check id that is not in ``CHECKS``.
    """

    check: str
    status: Status
    summary: str
    expected: t.Any = None
    measured: t.Any = None
    unit: str | None = None
    evidence: dict[str, t.Any] = field(default_factory=dict)
    cause: str | None = None
    remedy: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        if self.check not in CHECKS:
            raise ValueError(f"unknown check id {self.check!r}; known ids: {', '.join(CHECKS)}")

    @property
    def area(self) -> str:
        return self.check.partition(".")[0]

    def as_dict(self) -> dict[str, t.Any]:
        """Plain dictionary for the boundary; keys in declaration order, ``status`` as text."""
        # A trailing underscore lets a subclass carry a key that is a Python keyword ("class").
        result = {item.name.rstrip("_"): getattr(self, item.name) for item in fields(self)}
        result["status"] = self.status.value
        return result

    @classmethod
    def from_dict(cls, data: dict[str, t.Any]) -> Finding:
        """Typed finding from a plain dictionary; keys of extended findings that ``cls`` lacks are dropped.

        :raises ValueError: for an unknown check id or status.
        """
        known = {item.name for item in fields(cls)}
        kept = {key: value for key, value in data.items() if key in known}
        return cls(**{**kept, "status": Status(data["status"])})


def passed(check: str, summary: str, **details: t.Any) -> Finding:
    """The check is answered well."""
    return Finding(check=check, status=Status.PASS, summary=summary, **details)


def warned(check: str, summary: str, **details: t.Any) -> Finding:
    """Works, but degraded or at risk; give ``cause`` and ``remedy``."""
    return Finding(check=check, status=Status.WARN, summary=summary, **details)


def failed(check: str, summary: str, **details: t.Any) -> Finding:
    """Not what it should be; give ``cause`` and ``remedy``."""
    return Finding(check=check, status=Status.FAIL, summary=summary, **details)


def not_tested(check: str, reason: str, **details: t.Any) -> Finding:
    """The question could not be answered; ``reason`` says why, in words a user understands."""
    return Finding(check=check, status=Status.NOT_TESTED, summary=reason, **details)


def worst(statuses: Iterable[Status | str]) -> Status:
    """The most serious of ``statuses``; ``not_tested`` where there are none."""
    return max((Status(status) for status in statuses), key=SEVERITY.index, default=Status.NOT_TESTED)


def as_dicts(findings: Iterable[Finding]) -> list[dict[str, t.Any]]:
    return [finding.as_dict() for finding in findings]
