# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns log lines into faults: one per cause, counted, with the place and the rank; of the last start only.

Pure: lines in, faults out. It sees the lines that the sieve lets through, and the end of the log.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.engine_facts import (
    FACT_MARKERS,
    EngineFacts,
    LogFacts,
    tells,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.lines import (
    Prefix,
    clean,
    nccl_header,
    strip_prefix,
    without_user_text,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_filter import Tail, minimal
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.signatures import (
    ERROR,
    HANG_POINTS,
    HEDGE,
    INFO,
    PROGRESS,
    SHM_WAIT,
    SHM_WAIT_PATTERN,
    SIGNATURES,
    TELLING_NUMBERS,
    WARNING,
    XID_WARNINGS,
    Signature,
)

#: Every text that lets a line through the sieve.
NEEDLES: t.Final[tuple[str, ...]] = (
    *(signature.needle for signature in SIGNATURES),
    *FACT_MARKERS,
    *PROGRESS,
    SHM_WAIT,
)

_BY_NEEDLE: t.Final[dict[str, list[Signature]]] = {}
for _signature in SIGNATURES:
    _BY_NEEDLE.setdefault(_signature.needle, []).append(_signature)

_DIGITS = b"0123456789"
#: Numbers, and the letters of hexadecimal ones: ids and addresses.
_HEXADECIMAL = _DIGITS + b"abcdefABCDEF"
#: The same as they are in a line without numbers.
_BARE_NEEDLES: t.Final = minimal([needle.encode().translate(None, _HEXADECIMAL) for needle in NEEDLES])
_BARE_FAULTS: t.Final = minimal([needle.encode().translate(None, _HEXADECIMAL) for needle in _BY_NEEDLE])

#: Characters of one message that are compared, and that are kept of a fact line.
_COMPARED = 8192
_FACT_LENGTH = 1 << 16
#: Characters of a line that a finding shows.
_SHOWN = 500
#: How many kinds of line are remembered, and from which count on a repeated fault is only counted.
_REMEMBERED = 4096
_SATURATED = 128

#: Classes that tell of a network, hence of other nodes, even if the log shows only one.
_BETWEEN_NODES = frozenset(
    {
        *("nccl_ib_error", "nccl_net_plugin", "nccl_bootstrap_network", "nccl_remote_error"),
        *("transport_net_socket", "transport_net_ib", "transport_net_other"),
    }
)
#: Levels of vLLM's own lines that are no errors.
_MILD = frozenset({"DEBUG", "INFO", "WARNING"})
_CONFIGURATION = re.compile(r"Initializing an? (?:V[01] )?LLM engine|non-default args|args: Namespace")
_WAITING = re.compile(r"Waiting for (?:creating a placement group|\d+ (?:local|remote|core engine))|Still waiting for")
_EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception)(?:: |$)")
#: Lines of a traceback, and of what a process still says after the last one.
_TRACEBACK, _LAST_WORDS = 200, 12
#: Longer lines are read each.
_LONGEST_KIND = 2048
_TEXT_RANK = re.compile(r"\[(?:PG [^\]]*)?Rank (\d+)\]|\[(\d+)\] is setting up NCCL|\brank (\d+) and rank \d+ both")
_TEXT_DEVICE = re.compile(r"\bcuda:(\d+)\b|\bGPU (\d+) has a total capacity")
_COMM = re.compile(r"\brank (\d+) nranks (\d+) cudaDev")
_STATISTICS = re.compile(
    r"Avg prompt throughput: ([\d.]+) tokens/s, Avg generation throughput: ([\d.]+) tokens/s,.{0,80}? Running: (\d+)"
)
#: Idle statistics lines (one each ten seconds) with requests running that make a hang.
_STALLED_STATISTICS = 6


@dataclass
class LogFault:
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


@dataclass(eq=False, slots=True)
class _Kind:
    """What lines say that differ in numbers only: ``faults`` that they repeat, or nothing.

    ``count`` of them up to ``last`` are not told to the faults yet. ``numbers``: the ones that do make a difference.
    """

    faults: tuple[LogFault, ...] = ()
    numbers: tuple[re.Pattern[bytes], ...] = ()
    count: int = 0
    last: bytes = b""


#: Lines of this kind say nothing; lines of the others have to be read each, those of the last for facts alone.
_DULL, _TELLING, _FACTS = _Kind(), _Kind(), _Kind()


@dataclass
class Scan:
    """What one log (with its rotated siblings) says. ``transports`` counts connections by class.

    ``earlier`` counts, by class, the lines of faults of starts before the last one.
    """

    faults: list[LogFault]
    facts: EngineFacts
    transports: dict[str, int]
    earlier: dict[str, int]


class Scanner:
    """Takes sieved lines in order (``feed``), then the end of the log (``finish``).

    ``source`` names the file that the lines come from now; set it when the next rotated file begins.
    """

    def __init__(self) -> None:
        self._facts = LogFacts()
        self._faults: dict[tuple[str, int | None, str | None], LogFault] = {}
        self._earlier: dict[str, int] = {}
        self._kinds: dict[bytes, _Kind] = {}
        self._rank_of: dict[tuple[str | None, int | None], int] = {}
        self._hosts: set[str] = set()
        self._waits: dict[str | None, list[tuple[int, str]]] = {}
        self._open_comms = 0
        self._source: str | None = None

    @property
    def source(self) -> str | None:
        return self._source

    @source.setter
    def source(self, name: str | None) -> None:
        self._tell_counts()
        self._source = name

    def feed(self, hits: bytes) -> None:
        """Lines of the log, each behind its number and a colon.

        Most lines of a flood differ in numbers only, and are told by what is left of them without numbers.
        """
        if b"\r\n" in hits:
            hits = hits.replace(b"\r\n", b"\n")
        known_kind = self._kinds.get
        for kind, hit in zip(hits.translate(None, _HEXADECIMAL).split(b"\n"), hits.split(b"\n"), strict=True):
            known = known_kind(kind)
            if known is _DULL:
                continue
            if known is not None and known.faults:
                known.count += 1
                known.last = hit
            elif hit:
                self._feed_line(kind, known, hit)

    def _feed_line(self, kind: bytes, known: _Kind | None, hit: bytes) -> None:
        """One line whose kind alone does not tell what it says."""
        before, _colon, raw = hit.partition(b":")
        number = int(before)
        if known in (_TELLING, _FACTS) or len(raw) > _LONGEST_KIND or b"\r" in raw:
            # Carriage returns of progress bars part a line into several messages.
            for piece in filter(None, raw.split(b"\r")):
                self._read(number, piece, known)
            return
        key = b"\n" + raw.translate(None, _DIGITS)
        if known is None and self._kinds.get(key) is _DULL:
            return
        numbers = known.numbers if known else tuple(each for each in TELLING_NUMBERS if each.search(raw))
        if numbers:
            key = b"\n".join([kind, *(found for each in numbers for found in each.findall(raw))])
            same = self._kinds.get(key)
            if same is _DULL:
                return
            if same is not None and same.faults:
                same.count += 1
                same.last = hit
                return
        meaning = self._read(number, raw)
        if meaning is _TELLING:
            self._remember(kind, _TELLING if any(needle in kind for needle in _BARE_FAULTS) else _FACTS)
        elif numbers:
            self._remember(kind, known or _Kind(numbers=numbers))
            self._remember(key, meaning)
        elif meaning is _DULL and any(needle in kind for needle in _BARE_NEEDLES):
            # Without its letters it looks like a fault; a fault may look like it.
            self._remember(key, meaning)
        else:
            self._remember(kind, meaning)

    def _remember(self, key: bytes, kind: _Kind | None) -> None:
        if kind is None:
            return
        if len(self._kinds) >= _REMEMBERED:
            self._tell_counts()
            self._kinds.clear()
        self._kinds[key] = kind

    def _tell_counts(self) -> None:
        """Note on the faults what was only counted."""
        for known in self._kinds.values():
            if known.count:
                number = int(known.last.partition(b":")[0])
                for fault in known.faults:
                    fault.count += known.count
                    if self._source != fault.last_source or number > fault.last_line:
                        fault.last_line, fault.last_source = number, self._source
                known.count = 0

    def _read(self, number: int, raw: bytes, known: _Kind | None = None) -> _Kind | None:
        """Take in one line, and say what others of its kind would say; None where they have to be looked at yet."""
        text = raw.decode(errors="replace")
        is_fact = any(marker in text for marker in FACT_MARKERS)
        line = clean(text[:_FACT_LENGTH])
        prefix, message = strip_prefix(line)
        if is_fact:
            self._take_facts(prefix, message)
        is_progress = any(mark in line for mark in PROGRESS)
        if is_progress:
            self._waits.clear()
        is_wait = SHM_WAIT in line and SHM_WAIT_PATTERN.search(line) is not None
        if is_wait:
            self._waits.setdefault(prefix.label, []).append((number, line))
        if is_fact and _CONFIGURATION.search(line):
            return _TELLING
        faults = [] if known is _FACTS else self._match(number, without_user_text(line[:_COMPARED]), prefix)
        if is_progress or is_wait or (is_fact and (known is not None or tells(prefix, message))):
            return _TELLING
        if not faults:
            return _DULL
        return _Kind(tuple(faults)) if all(fault.count >= _SATURATED for fault in faults) else None

    def _take_facts(self, prefix: Prefix, message: str) -> None:
        boots = self._facts.boots
        self._facts.feed_text(prefix, message)
        if boots and self._facts.boots > boots:
            self._forget_start()
        if " nranks " in message and (match := _COMM.search(message)):
            self._rank_of.setdefault((prefix.host, prefix.pid), int(match[1]))
            if "Init START" in message:
                self._open_comms += 1
            elif "Init COMPLETE" in message:
                self._open_comms -= 1

    def _forget_start(self) -> None:
        """A new start: what was wrong with the one before is past; what the kernel said is not."""
        self._tell_counts()
        for fault in self._faults.values():
            if not fault.kernel and fault.severity != INFO:
                self._earlier[fault.class_] = self._earlier.get(fault.class_, 0) + fault.count
        self._faults = {key: fault for key, fault in self._faults.items() if fault.kernel}
        for kind in [kind for kind, known in self._kinds.items() if known.faults]:
            del self._kinds[kind]
        self._waits.clear()
        self._rank_of.clear()
        self._open_comms = 0

    def _match(self, number: int, line: str, prefix: Prefix) -> list[LogFault]:
        faults: list[LogFault] = []
        # What vLLM tells as a warning it has dealt with, unless NCCL spoke in between.
        mild = prefix.source == "vllm" and prefix.level in _MILD and not nccl_header(line)
        for signature in [each for needle, wordings in _BY_NEEDLE.items() if needle in line for each in wordings]:
            if mild and signature.severity == ERROR:
                continue
            match = signature.pattern.search(line)
            if not match or (signature.hedged and HEDGE.search(line[max(0, match.start() - 80) : match.start()])):
                continue
            fault = self._note(signature, match, number, line, prefix)
            if fault not in faults:
                faults.append(fault)
        return faults

    def _note(self, signature: Signature, match: re.Match[str], number: int, line: str, prefix: Prefix) -> LogFault:
        groups = match.groupdict()
        code = int(groups["code"]) if groups.get("code") else None
        device = _bus(groups["device"]) if groups.get("device") else None
        if signature.class_ == "xid" and code is None:
            code = 79  # "has fallen off the bus" is what Xid 79 says
        # One fatal fabric fault floods every switch: its number names it.
        key = (signature.class_, code, device if signature.class_ == "xid" else None)
        rank, header_device = self._place(line, prefix, signature.class_ in _BETWEEN_NODES)
        if device is None and header_device is not None:
            device = str(header_device)
        fault = self._faults.get(key)
        if fault is None or (fault.secondary and not signature.secondary):
            fault = LogFault(
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

    def _again(self, fault: LogFault, number: int) -> None:
        if (number, self.source) != (fault.last_line, fault.last_source):
            fault.count += 1
        fault.last_line, fault.last_source = number, self.source

    def _place(self, line: str, prefix: Prefix, between_nodes: bool) -> tuple[int | None, int | None]:
        """``(rank, device)`` of a line: from its text, else its labels, else NCCL's header."""
        rank, device = prefix.rank, prefix.device
        if header := nccl_header(line):
            host, pid, device = header[1], int(header[2]), int(header[3])
            self._hosts.add(host)
            if rank is None:
                # On one node NCCL's device index is the rank; over several only its own table tells.
                one_node = len(self._hosts) == 1 and not between_nodes
                rank = self._rank_of.get((host, pid), device if one_node else None)
        if match := _TEXT_RANK.search(line):
            rank = int(next(group for group in match.groups() if group is not None))
        if match := _TEXT_DEVICE.search(line):
            device = int(match[1] or match[2])
        return rank, device

    def finish(self, tail: Tail) -> Scan:
        """The result, given how the log ends."""
        self._tell_counts()
        ending = _Ending(tail)
        facts = self._facts.result()
        self._judge_waits(ending)
        self._judge_statistics(ending)
        faults = list(self._faults.values())
        if any(fault.severity == ERROR and not fault.secondary for fault in faults):
            faults = [fault for fault in faults if not fault.secondary]
        if not any(fault.severity == ERROR or fault.class_ == "worker_hang" for fault in faults):
            faults += self._judge_ending(ending, facts)
        transports = {fault.class_: fault.count for fault in faults if fault.class_.startswith("transport_")}
        return Scan(faults, facts, transports, dict(self._earlier))

    def _judge_waits(self, ending: _Ending) -> None:
        """A wait that the same process repeats, with no sign of work after it, is a hang."""
        repeated = [waits for waits in self._waits.values() if len(waits) > 1]
        if not repeated:
            return
        last = max(waits[-1][0] for waits in repeated)
        if any(_is_work(line) for line in ending.lines[max(0, last + 1 - ending.first) :]):
            return
        first_number, first = min(waits[0] for waits in repeated)
        count = sum(len(waits) for waits in repeated)
        self._faults.setdefault(_HANG, LogFault("worker_hang", WARNING, first[:_SHOWN], first_number, last, count))

    def _judge_statistics(self, ending: _Ending) -> None:
        """Requests run, yet no token moves for a minute at the end of the log: a hang."""
        stalled: list[int] = []
        for place, line in enumerate(ending.lines):
            if match := _STATISTICS.search(line):
                idle = float(match[1]) == 0 and float(match[2]) == 0 and int(match[3]) > 0
                stalled = [*stalled, place] if idle else []
        if len(stalled) >= _STALLED_STATISTICS and _HANG not in self._faults:
            first, last = ending.first + stalled[0], ending.first + stalled[-1]
            line = ending.lines[stalled[0]][:_SHOWN]
            self._faults[_HANG] = LogFault("worker_hang", WARNING, line, first, last, len(stalled))

    def _judge_ending(self, ending: _Ending, facts: EngineFacts) -> list[LogFault]:
        """A log that ends in the middle of a start, at a point where starts are known to hang."""
        place = next((place for place in reversed(range(len(ending.lines))) if ending.lines[place].strip()), None)
        if place is None or facts.ready:
            return []
        if facts.boots and (fatal := _uncaught(ending.lines)) is not None:
            number = ending.first + fatal
            return [LogFault("engine_failed", ERROR, ending.lines[fatal][:_SHOWN], number, number, secondary=True)]
        if (facts.tensor_parallel_size or 2) < 2:
            return []
        line = ending.lines[place]
        # Without the start itself one sign is not enough: the log may be a piece of a longer one.
        if not facts.boots and sum(_WAITING.search(each) is not None for each in ending.lines) < 2:
            return []
        half_open = self._open_comms > 0 and nccl_header(line) is not None
        if not half_open and not any(point.search(line) for point in HANG_POINTS):
            return []
        number = ending.first + place
        return [LogFault("startup_hang", WARNING, line[:_SHOWN], number, number)]


_HANG: t.Final = ("worker_hang", None, None)


class _Ending:
    """The last lines of a log as text. ``first`` is the number of the first of them, counted only where it is asked."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self.lines = [clean(raw.decode(errors="replace")) for raw in tail.lines]

    @property
    def first(self) -> int:
        return self._tail.first


def _is_work(line: str) -> bool:
    if match := _STATISTICS.search(line):
        return float(match[2]) > 0
    return '"POST ' in line and " 200" in line


def _uncaught(lines: Sequence[str]) -> int | None:
    """Where in the last lines of a log the exception stands that ended it; its traceback stands above."""
    messages = [strip_prefix(line)[1] for line in lines[-_TRACEBACK:]]
    start = next((place for place in reversed(range(len(messages))) if messages[place].startswith("Traceback (")), None)
    if start is None or any(message.startswith("Exception ignored") for message in messages):
        return None
    place = next((place for place in range(start, len(messages)) if _EXCEPTION.match(messages[place])), None)
    if place is None or len(messages) - place > _LAST_WORDS:
        return None
    return len(lines) - len(messages) + place


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
