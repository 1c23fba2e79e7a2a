# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From faults to findings: what a scan of several logs says, in the one shape of every verdict."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.scanner import Fault, Scan
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.signatures import (
    CLASSES,
    CONSEQUENCE,
    ERROR,
    INFO,
    ROOT,
    WARNING,
    XID_CAUSES,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask_text

_STATUS: t.Final = {ERROR: Status.FAIL, WARNING: Status.WARN, INFO: Status.PASS}
_SEVERITIES: t.Final = (ERROR, WARNING, INFO)


@dataclass(frozen=True, kw_only=True)
class LogFinding(Finding):
    """A finding from a log. ``first_line`` and ``last_line`` count from 1 in ``evidence.source``; ``line`` is its text.

    ``class_`` is one of ``signatures.CLASSES``; None for a finding that sums up, or whose cause the log does not show.
    """

    class_: str | None = None
    severity: str | None = None
    count: int | None = None
    first_line: int | None = None
    last_line: int | None = None
    rank: int | None = None
    device: str | None = None
    line: str | None = None


@dataclass(frozen=True)
class SourceScan:
    """The scan of one source, by its name; ``kernel``: it is the kernel's log."""

    source: str
    scan: Scan
    kernel: bool = False


@dataclass
class Unread:
    """What could not be read, as ``source: reason``: of vLLM's logs, and of the kernel's."""

    logs: list[str] = field(default_factory=list)
    kernel: list[str] = field(default_factory=list)

    def add(self, reason: str, kernel: bool) -> None:
        (self.kernel if kernel else self.logs).append(reason)


def healthy(scans: Sequence[SourceScan]) -> bool | None:
    """Whether nothing failed and nobody has to act; None where nothing was read."""
    if not scans:
        return None
    faults = (fault for each in scans for fault in each.scan.faults)
    return not any(
        fault.severity == ERROR or (fault.severity == WARNING and CLASSES[fault.class_].harmful) for fault in faults
    )


def findings(scans: Sequence[SourceScan], unread: Unread, kernel_asked: bool = False) -> list[LogFinding]:
    """Every fault, root causes first, then what the logs say about the checks that no fault answers."""
    found = [(fault, each) for each in scans for fault in each.scan.faults]
    found.sort(key=lambda item: _place(item[0]))
    made = [_fault_finding(each.source, fault, _root_cause(fault, each.scan.faults)) for fault, each in found]
    logs = [each for each in scans if not each.kernel]
    made += [*_errors(made, logs, unread), *_transport(made, logs, unread)]
    return [*made, *_xid(made, [each.source for each in scans if each.kernel], unread)] if kernel_asked else made


def _place(fault: Fault) -> tuple[int, int, int]:
    return _SEVERITIES.index(fault.severity), CLASSES[fault.class_].order, fault.first_line


def _root_cause(fault: Fault, others: Sequence[Fault]) -> Fault | None:
    """The fault of the same log that explains this one."""
    if CLASSES[fault.class_].order != CONSEQUENCE:
        return None
    roots = [other for other in others if other.severity == ERROR and CLASSES[other.class_].order == ROOT]
    return min(roots, key=lambda other: other.first_line, default=None)


def _fault_finding(source: str, fault: Fault, root: Fault | None) -> LogFinding:
    meaning = CLASSES[fault.class_]
    cause, remedy = meaning.cause or None, meaning.remedy or None
    title = meaning.summary
    if fault.code is not None:
        title = f"{title} {fault.code}"
        if fault.class_ == "xid":
            cause, remedy = XID_CAUSES.get(fault.code, (cause, remedy))
    if root is not None:
        cause = f"Probably follows from: {CLASSES[root.class_].summary.lower()} (line {root.first_line})."
    evidence: dict[str, t.Any] = {"source": fault.source or source}
    if fault.last_source and fault.last_source != fault.source:
        evidence["last_source"] = fault.last_source
    if len(fault.ranks) > 1:
        evidence["ranks"] = sorted(fault.ranks)
    if fault.code is not None:
        evidence["code"] = fault.code
    return LogFinding(
        check=meaning.check,
        status=_STATUS[fault.severity],
        summary=_summary(title, fault),
        measured=fault.count,
        unit="lines",
        evidence=evidence,
        cause=cause,
        remedy=remedy,
        class_=None if meaning.unnamed else fault.class_,
        severity=None if meaning.unnamed else fault.severity,
        count=fault.count,
        first_line=fault.first_line,
        last_line=fault.last_line,
        rank=fault.rank,
        device=fault.device,
        line=mask_text(fault.line),
    )


def _on_device(fault: Fault) -> str:
    if not fault.device:
        return ""
    return f" on switch {fault.device}" if fault.class_ == "sxid" else f" on GPU {fault.device}"


def _summary(title: str, fault: Fault) -> str:
    where = f" on rank {fault.rank}" if fault.rank is not None else _on_device(fault)
    if len(fault.ranks) > 1:
        where = f" on ranks {', '.join(map(str, sorted(fault.ranks)))}"
    if fault.severity == INFO:
        return title
    often = f", {fault.count} lines from line {fault.first_line}" if fault.count > 1 else f", line {fault.first_line}"
    return f"{title}{where}{often}"


def _errors(made: Sequence[LogFinding], logs: Sequence[SourceScan], unread: Unread) -> list[LogFinding]:
    """``nccl.errors`` where no fault answers it; a log that was not read as a whole is no pass."""
    if any(finding.check == "nccl.errors" and finding.status is not Status.PASS for finding in made):
        return []
    evidence: dict[str, t.Any] = {"unread": list(unread.logs)} if unread.logs else {}
    if not logs:
        return [_sum("nccl.errors", Status.NOT_TESTED, _nothing_read(unread), evidence, _GIVE_LOG)]
    earlier = {name: count for each in logs for name, count in each.scan.earlier.items()}
    if earlier:
        evidence["earlier_starts"] = earlier
    said = f"No NCCL or worker error in {', '.join(each.source for each in logs)}"
    said += "; earlier starts in it failed" if earlier else ""
    if unread.logs:
        reason = f"{said}, but not all could be read: {'; '.join(unread.logs)}"
        return [_sum("nccl.errors", Status.NOT_TESTED, reason, evidence, _MAKE_READABLE)]
    return [_sum("nccl.errors", Status.PASS, said, evidence)]


def _transport(made: Sequence[LogFinding], logs: Sequence[SourceScan], unread: Unread) -> list[LogFinding]:
    if any((finding.class_ or "").startswith("transport_") for finding in made):
        return []
    why = "The logs name no transport" if logs else _nothing_read(unread)
    return [_sum("nccl.transport", Status.NOT_TESTED, why, {}, _DEBUG if logs else _GIVE_LOG)]


def _xid(made: Sequence[LogFinding], kernel_logs: Sequence[str], unread: Unread) -> list[LogFinding]:
    if any(finding.check == "hardware.xid" for finding in made):
        return []
    if kernel_logs:
        names = ", ".join(name if name == "kernel log" else f"kernel log {name}" for name in kernel_logs)
        evidence: dict[str, t.Any] = {"unread": list(unread.kernel)} if unread.kernel else {}
        return [_sum("hardware.xid", Status.PASS, f"No Xid error in the {names}", evidence)]
    if unread.kernel:
        return [
            _sum("hardware.xid", Status.NOT_TESTED, "; ".join(unread.kernel), {}, "Run the play with become: true.")
        ]
    return [_sum("hardware.xid", Status.NOT_TESTED, "The kernel log is empty", {}, "Name the file that has it.")]


def _nothing_read(unread: Unread) -> str:
    return f"No log was read: {'; '.join(unread.logs) or 'no log was given'}"


_MAKE_READABLE = "Run the play with become: true; replace damaged files, or leave them out."
_GIVE_LOG = "Name vLLM's log: paths, container or journal_unit."
_DEBUG = "Start vLLM with NCCL_DEBUG=INFO to see which transport NCCL chose."


def _sum(check: str, status: Status, summary: str, evidence: dict[str, t.Any], remedy: str | None = None) -> LogFinding:
    return LogFinding(check=check, status=status, summary=summary, evidence=evidence, remedy=remedy)
