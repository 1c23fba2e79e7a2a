# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define checks, which are questions that this collection answers, and findings, which are the answers.

The id of a check has the form ``area.name``. The findings of all checks have the same fields. They are typed objects
inside the code, and plain dictionaries in module results and reports.
"""

from __future__ import annotations

import enum
import typing as t
from collections.abc import Iterable
from dataclasses import dataclass, field, fields


class Status(str, enum.Enum):
    """The status of a finding. Anything that could not be measured is ``not_tested``, never ``pass``."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    NOT_TESTED = "not_tested"


#: Statuses in order of severity. ``not_tested`` ranks above ``pass``, because an untested check may hide a problem.
SEVERITY: t.Final[tuple[Status, ...]] = (Status.PASS, Status.NOT_TESTED, Status.WARN, Status.FAIL)


@dataclass(frozen=True)
class Check:
    """A check, which answers one question. Tables show the ``title``; the documentation shows the ``question``."""

    title: str
    question: str


#: Titles of the areas, in the order of the report's numbered sections.
AREAS: t.Final[dict[str, str]] = {
    "hardware": "GPU hardware",
    "tensor_parallel": "Tensor parallelism",
    "memory": "Memory distribution",
    "nccl": "NCCL",
    "performance": "Live performance",
    "utilisation": "GPU utilisation under load",
    "configuration": "Configuration",
    "output": "Answers",
    "network": "Network between nodes",
    "user": "Your thresholds",
    "group": "Group of nodes",
    "fleet": "Fleet",
    "baseline": "Baseline",
}

CHECKS: t.Final[dict[str, Check]] = {
    "hardware.gpu_count": Check("GPU count", "Does the node have as many GPUs as its plan promises?"),
    "hardware.gpu_model": Check("GPU model", "Do the GPUs match the model that the plan promises?"),
    "hardware.driver": Check("Driver", "Does the NVIDIA driver respond for every GPU?"),
    "hardware.topology": Check("Topology", "How are the GPUs connected to each other?"),
    "hardware.p2p": Check("Peer access", "Can the GPUs read each other's memory directly?"),
    "hardware.peer_data": Check("Data between GPUs", "Is what a GPU receives from another one what was sent?"),
    "hardware.pcie_link": Check("PCIe link", "Does each GPU's PCIe link run at its full generation and width?"),
    "hardware.ecc": Check("Memory errors", "Is the GPU memory free of uncorrectable errors and failed row remaps?"),
    "hardware.throttle": Check("Throttling", "Do the GPUs run without being slowed down by heat, power or hardware?"),
    "hardware.temperature": Check("Temperature", "Do the GPUs stay below their own slowdown temperature?"),
    "hardware.xid": Check("Xid errors", "Is the kernel log free of NVIDIA Xid errors?"),
    "tensor_parallel.size": Check("TP size", "Does vLLM use all GPUs on the node?"),
    "tensor_parallel.ranks": Check("TP ranks", "Are all ranks running, each on a separate GPU?"),
    "tensor_parallel.liveness": Check("Liveness", "Do the ranks work together, or does only the API respond?"),
    "tensor_parallel.model_fit": Check(
        "Model fit", "Is the number of attention heads divisible by the tensor-parallel size?"
    ),
    "memory.idle_gpu": Check("Idle GPUs", "Does every GPU hold a part of the model?"),
    "memory.balance": Check("Balance", "Is memory use similar on all GPUs in use?"),
    "memory.headroom": Check("Headroom", "Is some memory free on every GPU, and is the KV cache large enough?"),
    "memory.oom": Check("Out of memory", "Did any process run out of GPU or host memory?"),
    "nccl.errors": Check("NCCL errors", "Are the logs free of NCCL and worker errors?"),
    "nccl.transport": Check(
        "NCCL transport", "Do the GPUs communicate over the fastest path that the hardware supports?"
    ),
    "nccl.bandwidth": Check("NCCL bandwidth", "Does all-reduce reach the bandwidth expected of this interconnect?"),
    "performance.throughput": Check(
        "Throughput", "Does the server complete the load test, and how many tokens per second does it generate?"
    ),
    "performance.ttft": Check("TTFT", "How long does the first token take?"),
    "performance.itl": Check("ITL", "How much time passes between two tokens?"),
    "performance.scaling": Check("Scaling", "How much faster are several GPUs than one?"),
    "performance.roofline": Check(
        "Roofline", "Is the speed of one stream close to what the GPUs' memory bandwidth allows?"
    ),
    "performance.client_limited": Check("Load client", "Was the load generator fast enough?"),
    "performance.token_reconciliation": Check("Token count", "Do client and server count the same number of tokens?"),
    "utilisation.active": Check("Active GPUs", "Is every GPU of the tensor-parallel group active under load?"),
    "utilisation.synchronised": Check("Synchronised", "Do the GPUs work in step, without waiting for each other?"),
    "configuration.arguments": Check(
        "Arguments", "Are all arguments of the server valid and useful for its version of vLLM?"
    ),
    "configuration.environment": Check("Environment", "Are the server's environment variables valid and harmless?"),
    "configuration.profile": Check("Profile", "Do the server's settings match the tuning profile that you set?"),
    "output.valid": Check("Valid answers", "Does the server compute valid numbers and choose the most likely tokens?"),
    "output.reference": Check(
        "Same answers", "Does the server compute what a healthy server of the same model computes?"
    ),
    "network.ports": Check("Ports", "Can every member of the group connect to the others on any port?"),
    "network.round_trip": Check("Round trip", "How long does a small message take to another member and back?"),
    "network.mtu": Check("Packet size", "Do packets of the interface's full size arrive, and is that size the same?"),
    "network.loss": Check("Packet loss", "Does every packet arrive?"),
    "network.goodput": Check("Goodput", "How fast is the network between two members?"),
    "network.clock": Check("Clocks", "Do the clocks of the members agree?"),
    "network.host_name": Check("Host name", "Does the node's own host name lead to an address that others can reach?"),
    "user.threshold": Check("Threshold", "Does the node meet the limits that you set?"),
    "group.ranks": Check("Ranks", "Do the members of the group run all ranks of the server, each once?"),
    "group.versions": Check("Versions", "Do all members run the same versions of vLLM, NCCL, driver, image and model?"),
    "group.addresses": Check("Addresses", "Do the members reach each other over the private network?"),
    "fleet.outlier": Check("Outlier", "Does the node perform like its peers?"),
    "fleet.output": Check("Same answers", "Do nodes with the same model compute the same answers?"),
    "fleet.missing": Check("Missing", "Did every node report every measurement?"),
    "baseline.regression": Check("Regression", "Is the node as fast as before?"),
}


@dataclass(frozen=True)
class Reason:
    """An explanation of a failure: a short ``summary`` for tables, and the ``cause`` and ``remedy`` for a finding."""

    summary: str
    cause: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check.

    ``expected`` and ``measured`` are numbers in ``unit``, or short texts. ``evidence`` contains the data behind the
    result. ``cause`` and ``remedy`` are set if the check fails or warns. ``source`` states where the limit comes from.

    :raises ValueError: if the check id is not in ``CHECKS``.
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
    def wrong(self) -> bool:
        """Whether the status is ``fail`` or ``warn``."""
        return self.status in (Status.FAIL, Status.WARN)

    @property
    def tested(self) -> bool:
        """Whether the status is not ``not_tested``."""
        return self.status is not Status.NOT_TESTED

    def as_dict(self) -> dict[str, t.Any]:
        """Return the finding as a plain dictionary, with the fields in declaration order and the status as text."""
        # A field is named "class_" because "class" is a Python keyword. Remove the underscore from the key.
        result = {item.name.rstrip("_"): getattr(self, item.name) for item in fields(self)}
        result["status"] = self.status.value
        return result

    @classmethod
    def from_dict(cls, data: dict[str, t.Any]) -> Finding:
        """Convert a plain dictionary to a finding. Keys that are not fields of this class are ignored.

        :raises ValueError: if the check id or the status is unknown.
        """
        names = {item.name for item in fields(cls)}
        values = {key: value for key, value in data.items() if key in names}
        return cls(**values | {"status": Status(data["status"])})


def passed(check: str, summary: str, **details: t.Any) -> Finding:
    """Return a finding with the status ``pass``."""
    return Finding(check=check, status=Status.PASS, summary=summary, **details)


def warned(check: str, summary: str, **details: t.Any) -> Finding:
    """Return a ``warn`` finding for something that works but is degraded or at risk.

    Callers must pass ``cause`` and ``remedy``.
    """
    return Finding(check=check, status=Status.WARN, summary=summary, **details)


def failed(check: str, summary: str, **details: t.Any) -> Finding:
    """Return a finding with the status ``fail``. Callers must pass ``cause`` and ``remedy``."""
    return Finding(check=check, status=Status.FAIL, summary=summary, **details)


def not_tested(check: str, reason: str, **details: t.Any) -> Finding:
    """Return a ``not_tested`` finding for a check that could not be performed; ``reason`` explains why."""
    return Finding(check=check, status=Status.NOT_TESTED, summary=reason, **details)


def worst(statuses: Iterable[Status | str]) -> Status:
    """Return the most severe of ``statuses``, or ``not_tested`` if there are no statuses."""
    return max((Status(status) for status in statuses), key=SEVERITY.index, default=Status.NOT_TESTED)


def as_dicts(findings: Iterable[Finding]) -> list[dict[str, t.Any]]:
    """Return the findings as plain dictionaries."""
    return [finding.as_dict() for finding in findings]
