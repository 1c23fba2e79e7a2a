# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive findings from the scan results of one or more logs."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.faults import CONSEQUENCE, FAULTS, ROOT, XIDS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_fault import LogFault
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.scanner import Scan
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.signatures import (
    ERROR,
    INFO,
    PREVIOUS_XID,
    WARNING,
    XID_CLEANUP,
)

#: Statuses by severity, the most severe first.
_STATUS: t.Final = {ERROR: Status.FAIL, WARNING: Status.WARN, INFO: Status.PASS}

_MAKE_READABLE: t.Final = "Run the play with become: true. Replace or omit damaged files."
_GIVE_LOG: t.Final = "Specify vLLM's log with paths, container or journal_unit."
_DEBUG: t.Final = "Start vLLM with NCCL_DEBUG=INFO to log the transports."


@dataclass(frozen=True, kw_only=True)
class LogFinding(Finding):
    """A finding derived from one or more logs.

    ``line`` is the text of line ``first_line`` in ``evidence.source``; lines are numbered from 1. ``class_`` is a key
    of ``FAULTS``. It is None if there is no fault, or if ``FAULTS`` marks the class of the fault as ``unnamed``.
    ``fault`` is the key of the texts in ``FAULTS``; it differs from ``class_`` if the fault is ``unnamed`` or a
    ``variant_of`` the class.
    """

    class_: str | None = None
    fault: str | None = None
    severity: str | None = None
    count: int | None = None
    first_line: int | None = None
    last_line: int | None = None
    rank: int | None = None
    device: str | None = None
    line: str | None = None


@dataclass(frozen=True)
class SourceScan:
    """The scan result of one log. ``kernel`` is true for a kernel log."""

    source: str
    scan: Scan
    kernel: bool = False


@dataclass
class Unread:
    """The logs that could not be read. Each entry has the form ``log: reason``. ``kernel`` lists the kernel logs."""

    logs: list[str] = field(default_factory=list)
    kernel: list[str] = field(default_factory=list)


def healthy(scans: Sequence[SourceScan]) -> bool | None:
    """Return whether the logs are free of errors and serious warnings, or None if no log was read."""
    if not scans:
        return None
    faults = (fault for source in scans for fault in source.scan.faults)
    return not any(
        fault.severity == ERROR or (fault.severity == WARNING and FAULTS[fault.class_].harmful) for fault in faults
    )


def findings(scans: Sequence[SourceScan], unread: Unread, kernel_requested: bool = False) -> list[LogFinding]:
    """Return one finding per fault, the most severe first, followed by one finding per check that found no fault."""
    faults = [(fault, source) for source in scans for fault in source.scan.faults]
    faults.sort(key=lambda item: _order(item[0]))
    result = [_fault_finding(fault, source) for fault, source in faults]
    logs = [source for source in scans if not source.kernel]
    result += [*_errors(result, logs, unread), *_transport(result, logs, unread)]
    if kernel_requested:
        result += _xid(result, [source.source for source in scans if source.kernel], unread)
    return result


def _order(fault: LogFault) -> tuple[int, int, int]:
    return list(_STATUS).index(fault.severity), FAULTS[fault.class_].order, fault.first_line


def _root_cause(fault: LogFault, others: Sequence[LogFault]) -> LogFault | None:
    """Return the earliest root cause in ``others``. Return None if ``fault`` is not a consequence of other faults."""
    if FAULTS[fault.class_].order != CONSEQUENCE:
        return None
    roots = [other for other in others if other.severity == ERROR and FAULTS[other.class_].order == ROOT]
    return min(roots, key=lambda other: other.first_line, default=None)


def _fault_finding(fault: LogFault, source: SourceScan) -> LogFinding:
    fault_class = FAULTS[fault.class_]
    title, cause, remedy = fault_class.summary, fault_class.cause or None, fault_class.remedy or None
    if root := _root_cause(fault, source.scan.faults):
        cause = f"Probably a consequence of: {FAULTS[root.class_].summary.lower()} (line {root.first_line})."
    evidence: dict[str, t.Any] = {"source": fault.source or source.source}
    if fault.last_source and fault.last_source != fault.source:
        evidence["last_source"] = fault.last_source
    if len(fault.ranks) > 1:
        evidence["ranks"] = sorted(fault.ranks)
    if fault.code is not None:
        title = f"{title} {fault.code}"
        evidence["code"] = fault.code
        if fault.class_ == "xid":
            cause, remedy = _xid_texts(fault, source.scan.faults) or (cause, remedy)
    return LogFinding(
        check=fault_class.check,
        status=_STATUS[fault.severity],
        summary=_fault_summary(title, fault),
        measured=fault.count,
        unit="lines",
        evidence=evidence,
        cause=cause,
        remedy=remedy,
        class_=None if fault_class.unnamed else fault_class.variant_of or fault.class_,
        fault=fault.class_,
        severity=None if fault_class.unnamed else fault.severity,
        count=fault.count,
        first_line=fault.first_line,
        last_line=fault.last_line,
        rank=fault.rank,
        device=fault.device,
        line=fault.line,
    )


def _xid_texts(fault: LogFault, faults: Sequence[LogFault]) -> tuple[str, str] | None:
    """Return the cause and remedy of an Xid error, or None if the number is not listed.

    Xid 45 after another Xid on the same GPU is its consequence: "follow the guidance of the other Xid" (NVIDIA Xid
    catalogue). Recent drivers name the other Xid in the line.
    """
    cause, remedy = XIDS.get(fault.code or 0, (None, None))
    if fault.code == XID_CLEANUP:
        named = PREVIOUS_XID.search(fault.line)
        others = (other.code for other in faults if other.class_ == "xid" and other.device == fault.device)
        previous = int(named[1]) if named else next((code for code in others if code and code != XID_CLEANUP), None)
        if previous:
            details = XIDS.get(previous, (FAULTS["xid"].cause, FAULTS["xid"].remedy))
            return f"Clean-up after Xid {previous}. {details[0]}", details[1]
    return (cause, remedy) if cause and remedy else None


def _fault_summary(title: str, fault: LogFault) -> str:
    if fault.severity == INFO:
        return title
    lines = f"{fault.count} lines from line" if fault.count > 1 else "line"
    return f"{title}{_location(fault)} ({lines} {fault.first_line})"


def _location(fault: LogFault) -> str:
    if len(fault.ranks) > 1:
        return f" on ranks {', '.join(map(str, sorted(fault.ranks)))}"
    if fault.rank is not None:
        return f" on rank {fault.rank}"
    if not fault.device:
        return ""
    return f" on switch {fault.device}" if fault.class_ == "sxid" else f" on GPU {fault.device}"


def _errors(faults: Sequence[LogFinding], logs: Sequence[SourceScan], unread: Unread) -> list[LogFinding]:
    """Return an ``nccl.errors`` finding if the logs show no NCCL error, otherwise an empty list.

    The status of the finding is ``pass`` if every log was read, otherwise ``not_tested``.
    """
    if any(finding.check == "nccl.errors" and finding.status is not Status.PASS for finding in faults):
        return []
    evidence: dict[str, t.Any] = {"unread": list(unread.logs)} if unread.logs else {}
    if not logs:
        return [_check_finding("nccl.errors", Status.NOT_TESTED, _nothing_read(unread), evidence, _GIVE_LOG)]
    earlier = {name: count for source in logs for name, count in source.scan.earlier.items()}
    if earlier:
        evidence["earlier_starts"] = earlier
    summary = f"No NCCL or worker error in {', '.join(source.source for source in logs)}"
    summary += "; earlier starts failed" if earlier else ""
    if unread.logs:
        summary += f", but some logs could not be read: {'; '.join(unread.logs)}"
        return [_check_finding("nccl.errors", Status.NOT_TESTED, summary, evidence, _MAKE_READABLE)]
    return [_check_finding("nccl.errors", Status.PASS, summary, evidence)]


def _transport(faults: Sequence[LogFinding], logs: Sequence[SourceScan], unread: Unread) -> list[LogFinding]:
    if any((finding.class_ or "").startswith("transport_") for finding in faults):
        return []
    reason = "The logs do not show the NCCL transport" if logs else _nothing_read(unread)
    return [_check_finding("nccl.transport", Status.NOT_TESTED, reason, {}, _DEBUG if logs else _GIVE_LOG)]


def _xid(faults: Sequence[LogFinding], kernel_logs: Sequence[str], unread: Unread) -> list[LogFinding]:
    check = "hardware.xid"
    if any(finding.check == check for finding in faults):
        return []
    if kernel_logs:
        names = ", ".join(name if name == "kernel log" else f"kernel log {name}" for name in kernel_logs)
        evidence: dict[str, t.Any] = {"unread": list(unread.kernel)} if unread.kernel else {}
        return [_check_finding(check, Status.PASS, f"No Xid error in the {names}", evidence)]
    if unread.kernel:
        return [
            _check_finding(check, Status.NOT_TESTED, "; ".join(unread.kernel), {}, "Run the play with become: true.")
        ]
    return [
        _check_finding(check, Status.NOT_TESTED, "The kernel log is empty", {}, "Specify the file that contains it.")
    ]


def _nothing_read(unread: Unread) -> str:
    return f"No log was read: {'; '.join(unread.logs) or 'no log was specified'}"


def _check_finding(
    check: str, status: Status, summary: str, evidence: dict[str, t.Any], remedy: str | None = None
) -> LogFinding:
    return LogFinding(check=check, status=status, summary=summary, evidence=evidence, remedy=remedy)
