# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns log lines into faults: one per cause, counted, with the place and the rank; of the last start only.

Pure: lines in, faults out. It sees the lines that the sieve lets through, and the end of the log.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.signatures import (
    ERROR,
    HANG_POINTS,
    HEDGE,
    INFO,
    PROGRESS,
    SHM_WAIT,
    SHM_WAIT_PATTERN,
    SIGNATURES,
    WARNING,
    XID_WARNINGS,
    Signature,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.log_facts import FACT_MARKERS, EngineFacts, LogFacts
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.log_lines import (
    Prefix,
    clean,
    nccl_header,
    strip_prefix,
    without_user_text,
)

#: Every text that lets a line through the sieve.
NEEDLES: t.Final[tuple[str, ...]] = (
    *(signature.needle for signature in SIGNATURES),
    *FACT_MARKERS,
    *PROGRESS,
    SHM_WAIT,
)

_BY_NEEDLE: t.Final = tuple((signature.needle, signature) for signature in SIGNATURES)

#: Characters of one message that are compared, and that are kept of a fact line.
_COMPARED = 8192
_FACT_LENGTH = 1 << 16
#: Characters of a line that a finding shows.
_SHOWN = 500
#: How many kinds of line are remembered, and from which count on a repeated fault is only counted.
_REMEMBERED = 4096
_SATURATED = 1000

#: Classes that vLLM tells in the same words when it only warns: then it went on.
_REFUSALS = frozenset({"vllm_config_error", "engine_failed"})
_CONFIGURATION = re.compile(r"Initializing an? (?:V[01] )?LLM engine|non-default args|args: Namespace")
_DIGITS = b"0123456789"
#: What is left of each marker of a fact without its numbers: a kind with one of them can hold a fact.
_FACT_KINDS = tuple(marker.encode().translate(None, _DIGITS) for marker in FACT_MARKERS)
_TEXT_RANK = re.compile(r"\[(?:PG [^\]]*)?Rank (\d+)\]|\[(\d+)\] is setting up NCCL|\brank (\d+) and rank \d+ both")
_TEXT_DEVICE = re.compile(r"\bcuda:(\d+)\b|\bGPU (\d+) has a total capacity")
_COMM = re.compile(r"\brank (\d+) nranks (\d+) cudaDev")
_STATISTICS = re.compile(
    r"Avg prompt throughput: ([\d.]+) tokens/s, Avg generation throughput: ([\d.]+) tokens/s, Running: (\d+)"
)
#: Idle statistics lines (one each ten seconds) with requests running that make a hang.
_STALLED_STATISTICS = 6


@dataclass
class Fault:
    """One fault: the line it first showed in, how often, and where. Line numbers count from 1."""

    class_: str
    severity: str
    line: str
    first_line: int
    last_line: int
    count: int = 1
    rank: int | None = None
    device: str | None = None
    code: int | None = None
    secondary: bool = False
    kernel: bool = False
    vague: bool = False
    source: str | None = None
    last_source: str | None = None
    ranks: set[int] = field(default_factory=set)


@dataclass
class Scan:
    """What one log (with its rotated siblings) says. ``transports`` counts connections by class.

    ``earlier`` counts, by class, the lines of faults of starts before the last one.
    """

    faults: list[Fault]
    facts: EngineFacts
    transports: dict[str, int]
    earlier: dict[str, int]


class Scanner:
    """Takes sieved lines in order (``feed``), then the end of the log (``finish``).

    ``source`` names the file that the lines come from now; set it when the next rotated file begins.
    """

    def __init__(self) -> None:
        self._facts = LogFacts()
        self._faults: dict[tuple[str, int | None, str | None], Fault] = {}
        self._earlier: dict[str, int] = {}
        self._transports: dict[str, int] = {}
        self._dull: set[bytes] = set()
        self._known: dict[bytes, list[Fault]] = {}
        self._rank_of: dict[tuple[str | None, int | None], int] = {}
        self._hosts: set[str] = set()
        self._waits: dict[str | None, list[tuple[int, str]]] = {}
        self._open_comms = 0
        self.source: str | None = None

    def feed(self, number: int, raw: bytes) -> None:
        """One line of the log with its number; carriage returns of progress bars part it into several messages."""
        for piece in raw.split(b"\r") if b"\r" in raw else (raw,):
            if piece:
                self._feed(number, piece)

    def _feed(self, number: int, raw: bytes) -> None:
        # Lines that differ in numbers only are of one kind; most lines of a flood are told from their kind alone.
        kind = raw[:_COMPARED].translate(None, _DIGITS)
        if kind in self._dull:
            return
        if (known := self._known.get(kind)) is not None:
            for fault in known:
                self._again(fault, number)
            return
        text = raw.decode(errors="replace")
        is_fact = any(marker in text for marker in FACT_MARKERS)
        line = clean(text[:_FACT_LENGTH])
        prefix, message = strip_prefix(line)
        if is_fact:
            self._take_facts(prefix, message)
        if any(mark in line for mark in PROGRESS):
            self._waits.clear()
        if SHM_WAIT in line and SHM_WAIT_PATTERN.search(line):
            self._waits.setdefault(prefix.label, []).append((number, line))
        if is_fact and _CONFIGURATION.search(line):
            return
        faults = self._match(number, without_user_text(line[:_COMPARED]), prefix)
        if not any(marker in kind for marker in _FACT_KINDS):
            self._remember(kind, faults, line)

    def _remember(self, kind: bytes, faults: list[Fault], line: str) -> None:
        """Note what further lines of this kind would say, where that is nothing, or has been said often enough."""
        if not faults:
            if len(self._dull) < _REMEMBERED and not any(mark in line for mark in (SHM_WAIT, *PROGRESS)):
                self._dull.add(kind)
        elif len(self._known) < _REMEMBERED and all(fault.count >= _SATURATED for fault in faults):
            self._known[kind] = faults

    def _take_facts(self, prefix: Prefix, message: str) -> None:
        boots = self._facts.boots
        self._facts.feed_text(prefix, message)
        if boots and self._facts.boots > boots:
            self._forget_start()
        if match := _COMM.search(message):
            self._rank_of.setdefault((prefix.host, prefix.pid), int(match[1]))
            if "Init START" in message:
                self._open_comms += 1
            elif "Init COMPLETE" in message:
                self._open_comms -= 1

    def _forget_start(self) -> None:
        """A new start: what was wrong with the one before is past; what the kernel said is not."""
        for fault in self._faults.values():
            if not fault.kernel and fault.severity != INFO:
                self._earlier[fault.class_] = self._earlier.get(fault.class_, 0) + fault.count
        self._faults = {key: fault for key, fault in self._faults.items() if fault.kernel}
        self._transports.clear()
        self._known.clear()
        self._waits.clear()
        self._rank_of.clear()
        self._open_comms = 0

    def _match(self, number: int, line: str, prefix: Prefix) -> list[Fault]:
        faults: list[Fault] = []
        mild = prefix.source == "vllm" and prefix.level in ("DEBUG", "INFO", "WARNING")
        for signature in [signature for needle, signature in _BY_NEEDLE if needle in line]:
            if mild and signature.class_ in _REFUSALS:
                continue
            match = signature.pattern.search(line)
            if not match or (signature.hedged and HEDGE.search(line[max(0, match.start() - 80) : match.start()])):
                continue
            fault = self._note(signature, match, number, line, prefix)
            if fault not in faults:
                faults.append(fault)
        return faults

    def _note(self, signature: Signature, match: re.Match[str], number: int, line: str, prefix: Prefix) -> Fault:
        groups = match.groupdict()
        code = int(groups["code"]) if groups.get("code") else None
        device = _bus(groups["device"]) if groups.get("device") else None
        if signature.class_ == "xid" and code is None:
            code = 79  # "has fallen off the bus" is what Xid 79 says
        # One fatal fabric fault floods every switch: its number names it.
        key = (signature.class_, code, device if signature.class_ == "xid" else None)
        rank, header_device = self._place(line, prefix)
        if device is None and header_device is not None:
            device = str(header_device)
        fault = self._faults.get(key)
        if fault is None or (fault.secondary and not signature.secondary):
            fault = Fault(
                class_=signature.class_,
                severity=_severity(signature, code, line),
                line=_excerpt(line, match),
                first_line=number,
                last_line=number,
                rank=rank,
                device=device,
                code=code,
                secondary=signature.secondary,
                kernel=signature.kernel,
                vague=signature.vague,
                source=self.source,
                last_source=self.source,
            )
            self._faults[key] = fault
        else:
            self._again(fault, number)
            fault.severity = _worse(fault.severity, _severity(signature, code, line))
            if fault.severity != ERROR and fault.rank != rank:
                fault.rank = None
            if fault.vague and not signature.vague:
                fault.line, fault.vague = _excerpt(line, match), False
        if rank is not None:
            fault.ranks.add(rank)
        return fault

    def _again(self, fault: Fault, number: int) -> None:
        if (number, self.source) != (fault.last_line, fault.last_source):
            fault.count += 1
        fault.last_line, fault.last_source = number, self.source
        if fault.class_.startswith("transport_"):
            self._transports[fault.class_] = fault.count

    def _place(self, line: str, prefix: Prefix) -> tuple[int | None, int | None]:
        """``(rank, device)`` of a line: from its text, else its labels, else NCCL's header."""
        rank, device = prefix.rank, prefix.device
        if header := nccl_header(line):
            host, pid, device = header[1], int(header[2]), int(header[3])
            self._hosts.add(host)
            if rank is None:
                # On one node NCCL's device index is the rank; over several only its own table tells.
                rank = self._rank_of.get((host, pid), device if len(self._hosts) == 1 else None)
        if match := _TEXT_RANK.search(line):
            rank = int(next(group for group in match.groups() if group is not None))
        if match := _TEXT_DEVICE.search(line):
            device = int(match[1] or match[2])
        return rank, device

    def finish(self, tail: list[tuple[int, bytes]]) -> Scan:
        """The result, given the last lines of the log with their numbers."""
        ending = [(number, clean(raw.decode(errors="replace"))) for number, raw in tail]
        facts = self._facts.result()
        self._judge_waits(ending)
        self._judge_statistics(ending)
        faults = list(self._faults.values())
        if any(fault.severity == ERROR and not fault.secondary for fault in faults):
            faults = [fault for fault in faults if not fault.secondary]
        if not any(fault.severity == ERROR or fault.class_ == "worker_hang" for fault in faults):
            faults += self._judge_ending(ending, facts)
        for fault in faults:
            if fault.class_.startswith("transport_"):
                self._transports[fault.class_] = fault.count
        return Scan(faults, facts, dict(self._transports), dict(self._earlier))

    def _judge_waits(self, ending: list[tuple[int, str]]) -> None:
        """A wait that the same process repeats, with no sign of work after it, is a hang."""
        repeated = [waits for waits in self._waits.values() if len(waits) > 1]
        if not repeated:
            return
        last = max(waits[-1][0] for waits in repeated)
        if any(number > last and _is_work(line) for number, line in ending):
            return
        first_number, first = min(waits[0] for waits in repeated)
        count = sum(len(waits) for waits in repeated)
        key = ("worker_hang", None, None)
        if key not in self._faults:
            self._faults[key] = Fault("worker_hang", WARNING, first[:_SHOWN], first_number, last, count)

    def _judge_statistics(self, ending: list[tuple[int, str]]) -> None:
        """Requests run, yet no token moves for a minute at the end of the log: a hang."""
        stalled: list[tuple[int, str]] = []
        for number, line in ending:
            if match := _STATISTICS.search(line):
                idle = float(match[1]) == 0 and float(match[2]) == 0 and int(match[3]) > 0
                stalled = [*stalled, (number, line)] if idle else []
        if len(stalled) >= _STALLED_STATISTICS and ("worker_hang", None, None) not in self._faults:
            (first, line), (last, _line) = stalled[0], stalled[-1]
            self._faults["worker_hang", None, None] = Fault(
                "worker_hang", WARNING, line[:_SHOWN], first, last, len(stalled)
            )

    def _judge_ending(self, ending: list[tuple[int, str]], facts: EngineFacts) -> list[Fault]:
        """A log that ends in the middle of a start, at a point where starts are known to hang."""
        last = next(((number, line) for number, line in reversed(ending) if line.strip()), None)
        if last is None or facts.ready or not facts.boots or (facts.tensor_parallel_size or 2) < 2:
            return []
        number, line = last
        half_open = self._open_comms > 0 and nccl_header(line) is not None
        if not half_open and not any(point.search(line) for point in HANG_POINTS):
            return []
        return [Fault("startup_hang", WARNING, line[:_SHOWN], number, number)]


def _is_work(line: str) -> bool:
    if match := _STATISTICS.search(line):
        return float(match[2]) > 0
    return '"POST ' in line and " 200" in line


def _severity(signature: Signature, code: int | None, line: str) -> str:
    if signature.class_ == "xid" and code in XID_WARNINGS:
        return WARNING
    if signature.class_ == "sxid":
        return WARNING if re.search(r"\bNon-fatal\b", line, re.I) or not re.search(r"\bFatal\b", line) else ERROR
    return signature.severity


def _worse(one: str, other: str) -> str:
    order = (INFO, WARNING, ERROR)
    return max(one, other, key=order.index)


def _bus(address: str) -> str:
    """A PCI address without its function, as Xid lines give it: ``0000:91:00``."""
    return address.rstrip(":").split(".")[0].lower()


def _excerpt(line: str, match: re.Match[str]) -> str:
    """The line as it stands, or of a very long one the part around the match."""
    if match.end() <= _SHOWN:
        return line[:_SHOWN]
    start = max(0, match.start() - _SHOWN // 4)
    return line[start : start + _SHOWN]
