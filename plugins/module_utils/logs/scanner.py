# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the faults that a log shows since the last startup of vLLM, and the lines and ranks of each fault.

The scanner processes the lines that the log filter returns, and the last lines of the log. It does not read any file.
"""

from __future__ import annotations

import itertools
import re
import typing as t
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.engine_facts import (
    FACT_MARKERS,
    EngineFacts,
    EngineLogParser,
    numbers_change_facts,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.failures import (
    EXCEPTION,
    FAULT_LENGTH,
    HARMLESS_LEVELS,
    KERNEL_LINE,
    LOWER_LEVEL,
    STOP,
    continues_warning,
    ends_process,
    is_calm,
    is_failure,
    open_traceback,
    shows_progress,
    strength,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.lines import (
    Prefix,
    clean,
    nccl_header,
    program_of,
    strip_prefix,
    without_user_text,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_fault import LogFault
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_filter import LogTail
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.signatures import (
    ERROR,
    HANG_POINT,
    HEDGE,
    INFO,
    PREVIOUS_XID,
    PROGRESS,
    SHM_WAIT,
    SHM_WAIT_PATTERN,
    SIGNATURES,
    SIGNIFICANT_NUMBERS,
    WARNING,
    XID_WARNINGS,
    Signature,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.template_cache import (
    ALWAYS_PARSE,
    FACTS_ONLY,
    NO_MATCH,
    LineTemplate,
    TemplateCache,
    as_in_templates,
    without_decimal_digits,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask_line

#: A log line without any of these substrings shows neither a fault nor a fact.
REQUIRED_SUBSTRINGS: t.Final[tuple[str, ...]] = (
    *(signature.needle for signature in SIGNATURES),
    *FACT_MARKERS,
    *PROGRESS,
    SHM_WAIT,
)

_SIGNATURES_BY_NEEDLE: t.Final[dict[str, list[Signature]]] = {}
for _signature in SIGNATURES:
    _SIGNATURES_BY_NEEDLE.setdefault(_signature.needle, []).append(_signature)

_SUBSTRINGS_IN_TEMPLATES: t.Final = as_in_templates(REQUIRED_SUBSTRINGS)
_SUBSTRINGS_WITH_DIGITS: t.Final = without_decimal_digits(REQUIRED_SUBSTRINGS)
_NEEDLES_IN_TEMPLATES: t.Final = as_in_templates(list(_SIGNATURES_BY_NEEDLE))

#: Number of characters at the start of a message that are searched for facts.
_FACT_LENGTH = 1 << 16
#: Maximum number of characters of a log line in a finding.
_SHOWN = 500
#: Number of occurrences of a fault after which similar lines are only counted and no longer parsed.
_SATURATED = 128

#: Fault classes that involve a network: several nodes may have written the log, even if it names only one host.
_NETWORK_CLASSES = frozenset(
    "nccl_ib_error nccl_net_plugin nccl_bootstrap_network nccl_remote_error "
    "transport_net_socket transport_net_ib transport_net_other".split()
)
_CONFIGURATION = re.compile(r"Initializing an? (?:V[01] )?LLM engine|non-default args|args: Namespace")
_WAITING = re.compile(
    r"Waiting for (?:creating a placement group(?:.*? (\d+) seconds)?|\d+ (?:local|remote|core engine))"
    r"|Still waiting for"
)
#: Empty lines, and the marks under a line of source code in a traceback.
_NO_WORDS = re.compile(r"^\s*$|[~^]\s*$")
#: Lines about an exception that does not end the process, because a request raised it.
_SURVIVED = re.compile(r"Exception in ASGI application|/serving(?:_\w+)?\.py|\[?serving_\w+\.py:")
#: Maximum number of lines of a warning.
_WARNING_LINES = 20
_TIMEOUT_ERROR = re.compile(r"\bTimeoutError(?:$|: )")
#: Number of lines to search for a traceback at the end of the log, and number of lines after which an error is old.
_TRACEBACK_LINES, _LINES_AFTER_TRACEBACK = 200, 12
_TEXT_RANK = re.compile(r"\[(?:PG [^\]]*)?Rank (\d+)\]|\[(\d+)\] is setting up NCCL|\brank (\d+) and rank \d+ both")
_TEXT_DEVICE = re.compile(r"\bcuda:(\d+)\b|\bGPU (\d+) has a total capacity")
_COMM = re.compile(r"\brank (\d+) nranks (\d+) cudaDev")
_STATISTICS = re.compile(
    r"Avg prompt throughput: ([\d.]+) tokens/s, Avg generation throughput: ([\d.]+) tokens/s,.{0,80}? Running: (\d+)"
)
#: Number of consecutive statistics lines (one every ten seconds) with running requests but no tokens after which the
#: server is considered to hang.
_STALLED_STATISTICS = 6


@dataclass
class Scan:
    """The scan result of one log, including its rotated files.

    ``transports`` is the number of connections by fault class of the transport. ``earlier`` is the number of lines with
    faults before the last start, by fault class.
    """

    faults: list[LogFault]
    facts: EngineFacts
    transports: dict[str, int]
    earlier: dict[str, int]


class Scanner:
    """Find the faults in a log. Pass filtered lines to ``feed`` in order, and then the end of the log to ``finish``.

    Call ``start_file`` before passing the lines of each file. A rotated log consists of several files.
    """

    def __init__(self) -> None:
        self._facts = EngineLogParser()
        self._faults: dict[tuple[str, int | None, str | None], LogFault] = {}
        self._earlier: Counter[str] = Counter()
        self._templates = TemplateCache(
            _SUBSTRINGS_IN_TEMPLATES, _SUBSTRINGS_WITH_DIGITS, _NEEDLES_IN_TEMPLATES, SIGNIFICANT_NUMBERS
        )
        self._rank_of: dict[tuple[str | None, int | None], int] = {}
        self._hosts: set[str] = set()
        self._waits: dict[str | None, list[tuple[int, str]]] = {}
        self._open_comms = 0

    def start_file(self, name: str) -> None:
        """Set the name of the file that contains the lines of the following ``feed`` calls."""
        self._templates.flush_counts()
        self._templates.source = name

    def feed(self, matches: bytes) -> None:
        """Process log lines, each in the form ``<number>:<line>\\n``."""
        if b"\r" in matches:
            matches = matches.replace(b"\r\n", b"\n")
        for line in self._templates.lines_to_parse(matches):
            if line.exact_key is None:
                # Progress bars print carriage returns, so one line may contain several messages.
                for message in filter(None, line.text.split(b"\r")):
                    self._parse(line.number, message, line.template)
            else:
                self._templates.remember(line, self._parse(line.number, line.text))

    def _parse(self, number: int, raw: bytes, template: LineTemplate | None = None) -> LineTemplate | None:
        """Process one message. Return how to process similar messages, or None if that is not known yet.

        :param template: how to process similar messages (``ALWAYS_PARSE`` or ``FACTS_ONLY``), or None if not known yet.
        """
        text = raw.decode(errors="replace")
        is_fact = any(marker in text for marker in FACT_MARKERS)
        line = clean(text[:_FACT_LENGTH])
        prefix, message = strip_prefix(line)
        if is_fact:
            self._read_facts(prefix, message)
        is_progress = any(mark in line for mark in PROGRESS)
        if is_progress:
            self._waits.clear()
        is_wait = SHM_WAIT in line and SHM_WAIT_PATTERN.search(line) is not None
        if is_wait:
            self._waits.setdefault(prefix.label, []).append((number, line))
        if is_fact and _CONFIGURATION.search(line):
            return ALWAYS_PARSE
        faults = [] if template is FACTS_ONLY else self._match(number, without_user_text(line[:FAULT_LENGTH]), prefix)
        if is_progress or is_wait or (is_fact and (template is not None or numbers_change_facts(prefix, message))):
            return ALWAYS_PARSE
        if not faults:
            return NO_MATCH
        return LineTemplate(tuple(faults)) if all(fault.count >= _SATURATED for fault in faults) else None

    def _read_facts(self, prefix: Prefix, message: str) -> None:
        boots = self._facts.boots
        self._facts.feed(prefix, message)
        if boots and self._facts.boots > boots:
            self._forget_last_start()
        if " nranks " in message and (match := _COMM.search(message)):
            self._rank_of.setdefault((prefix.host, prefix.pid), int(match[1]))
            if "Init START" in message:
                self._open_comms += 1
            elif "Init COMPLETE" in message:
                self._open_comms -= 1

    def _forget_last_start(self) -> None:
        """Discard the faults that were found before vLLM was restarted, except those that the kernel logged."""
        self._templates.forget()
        for fault in self._faults.values():
            if not fault.kernel and fault.severity != INFO:
                self._earlier[fault.class_] += fault.count
        self._faults = {key: fault for key, fault in self._faults.items() if fault.kernel}
        self._waits.clear()
        self._rank_of.clear()
        self._open_comms = 0

    def _match(self, number: int, line: str, prefix: Prefix) -> list[LogFault]:
        """Record the faults that a line shows, and return them."""
        faults: list[LogFault] = []
        # vLLM has handled any problem that it logs below level ERROR, unless an NCCL message is on the same line.
        handled = prefix.source == "vllm" and prefix.level in HARMLESS_LEVELS and not nccl_header(line)
        candidates = (signatures for needle, signatures in _SIGNATURES_BY_NEEDLE.items() if needle in line)
        for signature in itertools.chain.from_iterable(candidates):
            if handled and signature.severity == ERROR:
                continue
            match = signature.pattern.search(line)
            if not match or (signature.hedged and _is_hedged(line[: match.start()], signature.secondary)):
                continue
            fault = self._record(signature, match, number, line, prefix)
            if fault not in faults:
                faults.append(fault)
        return faults

    def _record(self, signature: Signature, match: re.Match[str], number: int, line: str, prefix: Prefix) -> LogFault:
        """Add one occurrence to the fault that ``signature`` identifies, and return the fault."""
        groups = match.groupdict()
        code = int(groups["code"]) if groups.get("code") else None
        device = _pci_address(groups["device"]) if groups.get("device") else None
        if signature.class_ == "xid" and code is None:
            code = 79  # Xid 79 means "GPU has fallen off the bus"
        # All NVSwitches report the same fatal NVLink fault, so do not distinguish SXid faults by device.
        key = (signature.class_, code, device if signature.class_ == "xid" else None)
        rank, line_device = self._rank_and_device(line, prefix, signature.class_ in _NETWORK_CLASSES)
        if device is None and line_device is not None:
            device = str(line_device)
        severity, source = _severity(signature, code, line), self._templates.source
        fault = self._faults.get(key)
        if fault is None or (fault.secondary and not signature.secondary):
            self._faults[key] = fault = LogFault(
                class_=signature.class_,
                severity=severity,
                line=_shown(line, match),
                first_line=number,
                last_line=number,
                rank=rank,
                device=device,
                code=code,
                secondary=signature.secondary,
                kernel=signature.kernel,
                vague=signature.vague,
                source=source,
                last_source=source,
            )
        else:
            if (number, source) != (fault.last_line, fault.last_source):
                fault.count += 1
            fault.last_line, fault.last_source = number, source
            fault.severity = max(fault.severity, severity, key=(INFO, WARNING, ERROR).index)
            if fault.severity != ERROR and fault.rank != rank:
                fault.rank = None
            if fault.vague and not signature.vague:
                fault.line, fault.vague = _shown(line, match), False
        if rank is not None:
            fault.ranks.add(rank)
        return fault

    def _rank_and_device(self, line: str, prefix: Prefix, between_nodes: bool) -> tuple[int | None, int | None]:
        """Return the rank and device that a line names. The message of the line takes precedence over its prefixes."""
        rank, device = prefix.rank, prefix.device
        if header := nccl_header(line):
            host, pid, device = header[1], int(header[2]), int(header[3])
            self._hosts.add(host)
            if rank is None:
                # On one node, the rank equals NCCL's device index. On several nodes, use the ranks from the log.
                one_node = len(self._hosts) == 1 and not between_nodes
                rank = self._rank_of.get((host, pid), device if one_node else None)
        if match := _TEXT_RANK.search(line):
            rank = int(next(group for group in match.groups() if group is not None))
        if match := _TEXT_DEVICE.search(line):
            device = int(match[1] or match[2])
        return rank, device

    def finish(self, tail: LogTail) -> Scan:
        """Process the last lines of the log, and return the scan result."""
        self._templates.flush_counts()
        facts = self._facts.result()
        self._add_repeated_waits(tail)
        self._add_stalled_requests(tail)
        faults = [fault for fault in self._faults.values() if not (facts.ready and fault.class_ == _RAY)]
        if any(fault.severity == ERROR and not fault.secondary for fault in faults):
            faults = [fault for fault in faults if not fault.secondary]
        if not any(fault.severity == ERROR or fault.class_ == "worker_hang" for fault in faults):
            faults += self._unfinished_start(tail, facts)
        transports = {fault.class_: fault.count for fault in faults if fault.class_.startswith("transport_")}
        return Scan(faults, facts, transports, dict(self._earlier))

    def _add_repeated_waits(self, tail: LogTail) -> None:
        """Record a hang if a process waits repeatedly or until a time-out, and no request makes progress afterwards."""
        timed_out = any(_TIMEOUT_ERROR.search(line) for line in tail.text) if self._waits else False
        repeated = [waits for waits in self._waits.values() if timed_out or len(waits) > 1]
        if not repeated:
            return
        last = max(waits[-1][0] for waits in repeated)
        if any(_shows_work(line) for line in tail.text[max(0, last + 1 - tail.first) :]):
            return
        first_number, first = min(waits[0] for waits in repeated)
        count = sum(len(waits) for waits in repeated)
        self._faults.setdefault(_HANG, LogFault("worker_hang", WARNING, _shown(first), first_number, last, count))

    def _add_stalled_requests(self, tail: LogTail) -> None:
        """Record a hang if requests are running but produce no tokens in the last minute of the log."""
        stalled: list[int] = []
        for index, line in enumerate(tail.text):
            if match := _STATISTICS.search(line):
                idle = float(match[1]) == 0 and float(match[2]) == 0 and int(match[3]) > 0
                stalled = [*stalled, index] if idle else []
        if len(stalled) >= _STALLED_STATISTICS and _HANG not in self._faults:
            first, last = tail.first + stalled[0], tail.first + stalled[-1]
            line = _shown(tail.text[stalled[0]])
            self._faults[_HANG] = LogFault("worker_hang", WARNING, line, first, last, len(stalled))

    def _unfinished_start(self, tail: LogTail, facts: EngineFacts) -> list[LogFault]:
        """Return a fault if the log ends during startup, either with an exception or at a step that often hangs."""
        lines = tail.text
        last = next((index for index in reversed(range(len(lines))) if lines[index].strip()), None)
        if last is None:
            return []
        fatal_lines = _without_ignored_exceptions(lines)
        if not facts.ready:
            if (fatal := _final_exception(fatal_lines)) is not None:
                number = tail.first + fatal
                return [LogFault("engine_failed", ERROR, _shown(lines[fatal]), number, number, secondary=True)]
            if (hang := self._startup_hang(tail, facts, last)) is not None:
                return [hang]
        for failure in _failure_lines(fatal_lines, facts.ready):
            number = tail.first + failure
            if not any(_explains(fault, number) for fault in self._faults.values()):
                return [LogFault("unrecognised_error", WARNING, _shown(lines[failure]), number, number)]
        return []

    def _startup_hang(self, tail: LogTail, facts: EngineFacts, last: int) -> LogFault | None:
        """Return a fault if ``last``, the last line of the log, is a step of the startup that often hangs."""
        lines = tail.text
        if (facts.tensor_parallel_size or 2) < 2:
            return None
        # If the log begins in the middle of a startup, a single message about a short wait does not prove a hang.
        waits = [match for line in lines if (match := _WAITING.search(line))]
        if not facts.boots and len(waits) < 2 and not any(len(wait[1] or "") > 2 for wait in waits):
            return None
        half_open = self._open_comms > 0 and nccl_header(lines[last]) is not None
        if not half_open and not HANG_POINT.search(lines[last]):
            return None
        number = tail.first + last
        class_ = _RAY if "placement group" in lines[last] else "startup_hang"
        return LogFault(class_, WARNING, _shown(lines[last]), number, number)


_HANG: t.Final = ("worker_hang", None, None)
_RAY: t.Final = "ray_resources_missing"


def _explains(fault: LogFault, number: int) -> bool:
    """Return whether a line belongs to a known fault or fact. Of a fact, only the first and the last line do."""
    if fault.severity == INFO:
        return number in (fault.first_line, fault.last_line)
    return fault.first_line <= number <= fault.last_line


def _shows_work(line: str) -> bool:
    if match := _STATISTICS.search(line):
        return float(match[2]) > 0
    return '"POST ' in line and " 200" in line


def _is_alive(line: str) -> bool:
    """Return whether the line was written by a server that has started."""
    return "startup complete" in line or ' HTTP/1.1" ' in line or _STATISTICS.search(line) is not None


def _survived(lines: Sequence[str]) -> bool:
    """Return whether the process that wrote the lines survived the exceptions in them, or was a started server."""
    return any(_SURVIVED.search(line) or _is_alive(line) for line in lines)


def _without_ignored_exceptions(lines: Sequence[str]) -> list[str]:
    """Replace the lines about exceptions in destructors by empty lines, because they do not end a process.

    Replace also the text of a warning after its first line.
    """
    result, ignored, warned = [], False, 0
    for line, following in itertools.zip_longest(lines, lines[1:], fillvalue=""):
        ignored = ignored or "Exception ignored" in line
        warned = warned + 1 if warned < _WARNING_LINES and continues_warning(line, following, warned > 0) else 0
        result.append("" if ignored or warned > 1 else line)
        ignored = ignored and not EXCEPTION.match(strip_prefix(line)[1])
    return result


def _failure_lines(lines: Sequence[str], ready: bool) -> list[int]:
    """Return the indexes of the lines at the end of the log that report any failure, and of all such kernel lines.

    If the server worked before, only failures that end a process count, and only if nothing shows that it works again.
    """
    old = len(lines) - _LINES_AFTER_TRACEBACK
    if ready or _survived(lines[-_TRACEBACK_LINES:]):
        alive = max((index for index, line in enumerate(lines) if _is_alive(line)), default=-1)
        return [index for index in range(max(old, alive + 1), len(lines)) if ends_process(lines[index])]
    last = [index for index, line in enumerate(lines) if not _NO_WORDS.search(line)][-2:]
    went_on = max((index for index, line in enumerate(lines) if any(mark in line for mark in PROGRESS)), default=-1)
    failures = [
        index
        for index, line in enumerate(lines)
        if (index >= max(old, went_on) or KERNEL_LINE.search(line)) and is_failure(line, index in last)
    ]
    failures = [
        i
        for i in failures
        if KERNEL_LINE.search(lines[i])
        or ends_process(lines[i])
        or not (_was_stopped(lines[max(old, 0) : i + 1]) or _went_on(lines, i, last))
    ]
    recent = max(old, 0)
    frame = open_traceback(lines[recent:])
    return failures if frame is None else [*failures, recent + frame]


def _was_stopped(lines: Sequence[str]) -> bool:
    """Return whether somebody stopped the program before the last line, and it did not start again."""
    for line in reversed(lines):
        if STOP.search(line):
            return True
        if is_calm(line):
            return False
    return False


def _went_on(lines: Sequence[str], failure: int, last: Sequence[int]) -> bool:
    """Return whether lines after the index ``failure`` show that the program or process that failed works.

    After a clear failure, one message is not enough, because a process also logs while it ends. If the line of the
    failure names no program or process, messages of all of them count.
    """
    program, process = program_of(lines[failure]), strip_prefix(lines[failure])[0].label
    messages = 0
    for index in range(failure + 1, len(lines)):
        line = lines[index]
        is_same_program = program_of(line) == program
        if is_same_program and shows_progress(line, index in last):
            return True
        if (is_same_program or program is None) and process in (None, strip_prefix(line)[0].label):
            messages += is_calm(line)
    return messages >= strength(lines[failure])


def _final_exception(lines: Sequence[str]) -> int | None:
    """Return the index of the line with the exception that ended the process, or None without one.

    The log may be cut: neither the start of vLLM nor the line "Traceback" needs to be in it.
    """
    last_lines = lines[-_TRACEBACK_LINES:]
    if _survived(last_lines):
        return None
    prefixes, messages = zip(*map(strip_prefix, last_lines), strict=True)
    start = max((index for index, message in enumerate(messages) if message.startswith("Traceback (")), default=0)
    for index in range(max(start, len(messages) - _LINES_AFTER_TRACEBACK), len(messages)):
        if EXCEPTION.match(messages[index]) and prefixes[index].level not in HARMLESS_LEVELS:
            return len(lines) - len(messages) + index
    return None


def _is_hedged(before: str, secondary: bool) -> bool:
    """Return whether the text before a match makes it advice or, for a secondary fault, a message of a low level."""
    return HEDGE.search(before[-80:]) is not None or (secondary and LOWER_LEVEL.search(before) is not None)


def _severity(signature: Signature, code: int | None, line: str) -> str:
    if signature.class_ == "xid" and code in XID_WARNINGS:
        previous = PREVIOUS_XID.search(line)
        return ERROR if previous and int(previous[1]) not in XID_WARNINGS else WARNING
    if signature.class_ == "sxid":
        return WARNING if re.search(r"\bNon-fatal\b", line, re.I) or not re.search(r"\bFatal\b", line) else ERROR
    return signature.severity


def _pci_address(address: str) -> str:
    """Return a PCI address without its function number, in the form that Xid messages use: ``0000:91:00``."""
    return address.rstrip(":").split(".")[0].lower()


def _shown(line: str, match: re.Match[str] | None = None) -> str:
    """Return at most ``_SHOWN`` characters of ``line`` with secrets masked, including the start of ``match``."""
    # Secrets are masked first, because the rest of a secret that is cut off may not be recognisable.
    if match is None or match.end() <= _SHOWN:
        return mask_line(line)[:_SHOWN]
    before = mask_line(line[: match.start()])[-_SHOWN // 4 :]
    return (before + mask_line(line[match.start() :]))[:_SHOWN]
