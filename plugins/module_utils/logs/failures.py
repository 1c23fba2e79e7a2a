# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognise log lines with which any program reports a failure: levels, words, exit codes, and texts of the C library.

These rules name no cause. They only decide whether a line that no signature explains reports a failure.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import typing as t
from collections.abc import Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.lines import strip_prefix, without_user_text
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.signatures import HEDGE

#: Number of characters at the start of a message that are searched for faults.
FAULT_LENGTH: t.Final = 8192
#: Log levels of vLLM that do not indicate an error.
HARMLESS_LEVELS: t.Final = frozenset({"DEBUG", "INFO", "WARNING"})
#: First line of the message about an exception, with which a traceback ends.
EXCEPTION: t.Final = re.compile(
    r"(?:[A-Za-z_]\w*\.)*(?!Cancelled)[A-Z]\w*(?:Error|Exception)(?:_\w+)?(?:: |$)"
    r"|(?:\w+\.)+(?:exc|errors?|exceptions?)\.(?!Cancelled)[A-Z]\w*(?:: |$)"
)
KERNEL_LINE: t.Final = re.compile(
    r"^\s*(?:\[ *\d{1,8}\.\d+\]|kern\s*:|NVRM:)|^\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d |\bkernel: "
)
#: Messages about the end of a process or container, whatever their level. Exit codes of SIGINT and SIGTERM do not
#: count, because somebody stopped the program.
PROCESS_END: t.Final = re.compile(
    r"core dumped|(?:^|: line \d+: +\d+ |\| +)Killed\b(?! 0 )|has been marked (?:as )?dead|CrashLoopBackOff|OOMKilled"
    r"|(?i:\b(?:process|worker|\w*server) (?:has )?(?:crashed|died)\b)"
    r"|\*\*\* SIG(?!INT|TERM)\w+ received|[Ff]ailed with result '|repeated too quickly|restart counter is at (?!1\b)"
    r"|(?i:\bexit(?:ed|s|ing)?[ _]?(?:with )?(?:exit )?(?:code|status)?[ :=(]+(?!-(?:2|15)\b|(?:130|143)\b)-?[1-9])"
    r"|\b(?:Exited|Restarting) \((?!130|143)[1-9]|code=(?:exited|killed|dumped), status=(?!0|2/INT|15|130|143)"
)


def _level(names: str, letters: str, words: str) -> str:
    """Return a pattern for log levels in the formats of many programs: ``names`` in upper case, ``words`` in any."""
    return (
        rf"(?<![\w-])(?:{names})(?![\w-])|^\[[\d: ,.-]+ [{letters}] \d+ \d+\]|(?<!\S)[{letters}]\d{{4}} \d\d:"
        rf"|[:\]] [{letters}] [\w./-]+:\d+\]|\[[{letters}](?: [\w./-]+:\d+)?\]|\blevelname\W+[{letters}]\b"
        rf"|(?i:(?<!log[ _-])\b(?:level(?:name)?|lvl|severity)\W{{1,4}}(?:{words})|[\[<(](?:{words})[\]>)])"
    )


_ERROR_LEVEL: t.Final = re.compile(
    _level(
        "ERROR?|ERR|FATAL?|FTL|CRIT(?:ICAL)?|SEVERE|PANIC|EMERG|ALERT",
        "EFC",
        "alert|crit(?:ical)?|d?panic|emerg|err(?:or)?|fatal",
    )
)
_WARNING: t.Final = _level("WARN(?:ING)?|WRN", "W", "warn(?:ing)?") + r"|Warning: |^W: |\b(?i:warning):"
#: Log levels below those of errors. A failure in such a line did not end the program.
LOWER_LEVEL: t.Final = re.compile(
    _level("DBG|DEBU?G?|TRACE|INFO?|NOTICE", "DI", "debug|info|notice|trace")
    + rf"|: info: |\b(?i:hint|note):|\bLOG:  |{_WARNING}"
)
#: Lines that may quote the end of a process: commands that a shell prints, and messages of Go programs below errors,
#: whose fields contain the errors that they handled.
_QUOTES: t.Final = re.compile(r"\blevel=(?:debug|info|warn)|^\++ ")
#: Words with which any program reports a failure.
_WORDS: t.Final = (
    r"errors?|fatal(?:ly)?|fail(?:s|ed|ing|ures?)?|panic(?:ked)?|abort(?:ed|ing)?|crash(?:ed|es|ing)?|killed|dead|died"
    r"|faults?|faulted|faulty|bad|wrong|oops|evicted|broken|deadlock|hangs?|hung|lockup|lost|stalled|stuck|degraded"
    r"|can(?:no|['\u2019]|\sno)t|could(?:n['\u2019]| no)t|unable to|gave up|giving up|bail(?:ed|ing)? out|back-off"
    r"|do(?:es)?(?:n['\u2019]| no)t (?:exist|match|support|fit|work|recogni[sz]e|contain|respond)"
    r"|did(?:n['\u2019]| no)t (?:\w+ )?(?:start|respond|complete|finish|match|succeed|become|return|receive|get)"
    r"|not (?:a valid|accessible|allowed|authori[sz]ed|available|compatible|configured|connected|defined"
    r"|detected|enough|exist|found|healthy|implemented|initiali[sz]ed|installed|known|match|mounted|permitted|present|reachable"
    r"|readable|ready|recogni[sz]ed|registered|responding|running|supported|trusted|valid|writable)"
    r"|no (?:\w+ ){1,3}(?:available|configured|detected|exists?|found|left|present|provided|visible)"
    r"|no (?:such|route|space|matching|healthy|suitable|compatible|usable|runtime|response)"
    r"|denied|denies|refus(?:ed|es|ing)|reject(?:ed|s|ing)|forbidden|revoked|expired|exhausted|interrupted"
    r"|tim(?:ed|ing) out|(?:i/o|connect|connection|handshake|read) timeout|exceed(?:ed|s|ing)"
    r"|time-?out (?:after|while|waiting|reached|exceeded|expired|occurred)"
    r"|limit(?:s)? (?:reached|hit)|conflict(?:s|ing)?|violat(?:ed|es|ion)|overflow(?:ed)?|disconnected|self[- ]signed"
    r"|in(?:accessible|compatible|complete|consistent|feasible|sufficient|valid)|illegal|impossible"
    r"|malformed|truncated|misaligned|misconfigured|mismatch(?:ed|es)?|missing|lacks|corrupt(?:ed|ion)?|nonexistent"
    r"|out of (?:bounds|disk|memory|range|resources?|space|sync)|read-only|already (?:allocated|in use|running)"
    r"|un(?:authenticated|authori[sz]ed|available|caught|correctable|corrected|defined|expected(?:ly)?|handled|healthy"
    r"|implemented|initiali[sz]ed|known|met|reachable|recogni[sz]ed|recoverable|resolved|responsive|satisfi(?:able|ed)"
    r"|schedulable|supported|terminated|tolerated|trusted|usable)|must (?:be|have|match|not)|(?:is|link|went) down"
    r"|too (?:big|few|high|large|late|long|low|many|much|new|old|short|slow|small)|(?:is|still|too) busy"
    r"|exit(?:ing)? (?:because|due)|prematurely|connection reset|requires? reset|[1-9]\d*% packet loss"
    r"|(?:back|call|stack) ?trace"
)
#: Names of exceptions, error codes and events, and results of calls, in which a case or a number is significant.
_NAMES: t.Final = (
    r"\b\w*(?<!Cancelled)(?:ERROR|Error|Exception)(?:_\w+)?(?![\w=./-])|\b\w+_(?:ERR|FAIL)(?:_\w+|ED|URE)?(?![\w=])"
    r"|[a-z](?:Failed|Failure|Exceeded|BackOff|Unavailable|Refused|Timeout)\b|\b(?:Failed|Err)[A-Z]\w+|\bNotReady\b"
    r"|\bCU\w+_STATUS_(?!SUCCESS)\w+|\bstatus=[1-9]|non-zero exit|return(?:ed)? ?code:? -?[1-9]|returned -[1-9]"
    r"|\b(?:rc|ret|errno) ?[=:] ?-?[1-9]|\berr(?:or)?=(?!\"?(?:\"|0\b|<?nil|none|None|null))\S"
    r"|\b(?:HTTP|[Ss]tatus(?:[ _]?code)?)[ :=]+5\d\d\b|\s0/[1-9]\d* +Pending\b|^E: |\*\*\* \[|\b[A-Z]+_ASSERT: "
    r"|\bSIG(?:ABRT|BUS|FPE|ILL|SEGV)\b|\b(?:by|received|sending) SIGKILL\b"
    r"|goroutine \d+ \[|\(\w*\+0x[\da-f]+\) ?\[0x|\bframe #\d+: |what\(\): |\bexpected [^.]{1,80}\bgot\b"
)
#: Text before a word for a failure that makes it a condition, a possibility, a setting, a thing of the past or a count
#: of zero.
_TALK_BEFORE: t.Final = re.compile(
    r"\b(?i:if|when(?:ever)?|unless|until|whether|(?:checking|check|looking) for"
    r"|to (?:detect|disable|handle))\b[^.:;]{0,60}$"
    r"|\b(?i:clean|clear|detect|handl|logg|remov)ing (?:(?:all|any|of|old|stale|the|up) ){0,2}$|\b[Pp]revious(?:ly)? $"
    r"|\b(?i:no|without|zero)(?: \w+){0,2} $|\bwill(?: \w+){0,4} $"
    r"|(?:^|[.!:,;] )(?i:please|(?:check (?:if|out|that|the|whether|your)|consider|ensure|make sure|refer to|run|see"
    r"|submit|try|use|visit) )[^.!;]*$"
    r"|\bcan(?: \w+){0,3} $|(?:^|[,;()] ?|\b(?:[Dd]etected|[Ff]ound|[Kk]illed|had|has|with) )0(?: \w+){0,2} $"
    r"|(?i:action|log[ _-]?level|mode|policy)(?: set)? ?(?:to|[:=])\s*[\"']?\w*$"
)
#: Word for a failure that is part of a longer name, or whose value says that nothing failed.
_TALK: t.Final = re.compile(
    r"(?i)(?:crash|deadlock|errors?|failures?|faults?|hang|hung)(?: report| task)? (?:correction|count(?:er)?s?"
    r"|detect(?:ion|or)|generation|handlers?|happens|logs?|occurs|policy|rate|reporting|reports|recovery|threshold"
    r"|tracking)\b"
    r"|(?:dropped|killed|lost) 0 |\w+ 0(?:\s*$|\s+\w+ \d|[,;)])|\w+\s+False\b|not supported (?:by|for|in|on) all\b"
    r"|\w+(?: (?:count|total))?\s*[:=]\s*[\"']?(?:\(?(?:0|none|null|nil|false|n/a)|\[\]|\{\})[\"')]?"
    r"\s*(?:\.?$|[,;)|}\]]|\w+:\d)"
)
#: Stems of verbs with which a program says that it ends, and of words that say nothing about what it does instead.
_ENDING: t.Final = (
    "abort|bail|clos|crash|disconnect|dying|exit|fail|finish|giving up|halt|kill|quit|restart|shut|stop|tear|terminat"
)
_NO_REMEDY: t.Final = "accord|dur|evict|giv|includ|lost|miss|paus|rais|regard|reject|retry|skip|throw|wait"
#: Clause with which a program says what it does instead of what failed: "not found, using the default", "unavailable;
#: will be disabled". A verb that ends the program and advice ("Reducing the size may help") do not count.
_WORKAROUND: t.Final = re.compile(
    rf"(?i)(?:[,.;]|\s-+) (?:also |instead |now |so |then |we |will )*(?!(?:re-?)?(?:{_ENDING}|{_NO_REMEDY})\w*ing\b)"
    r"[a-z-]+ing\b(?![^.]*\b(?:can|could|may|might|should|will) )|\bfall(?:ing|s)? ?back\b"
    rf"|\bwill (?:not )?be (?!{_ENDING}|{_NO_REMEDY})[a-z]+ed\b"
)
#: Phrases about a failure that did not happen or that the program works around.
_HARMLESS: t.Final = re.compile(
    r"(?i)\bno (?:\w+ ){0,2}(?:changes?|conflicts?|issues?|problems?|processes|updates?) (?:detected|found)\b|: 0 OK\b"
    r"|(?<!be )(?<!not )\b(?:corrected|reconnected|recovered|repaired|restored)\b|(?:^|\] )ignore "
    r"|\berror: note: |\b(?:cache|metadata|state) file\b.*no such file|\bincomplete \w+ data checkpoint file"
    r"|\bignor(?:ed|ing)\b|\bskip(?:ped|ping)?\b|\bdeprecated\b|\bharmless\b|\bthis is expected\b"
    r"|\b(?:going|switching|using) [^.:]+ instead\b|unable to find image|unrecognized keys"
    r"|newly initialized|not a git repository|\s: *(?:0|N/A|No|None)\s*$"
    r"|^(?:debconf|dpkg-preconfigure|invoke-rc\.d|locale): |^can't set locale\b|\berror caught was\b"
)
#: TensorFlow logs a library that was loaded twice as an error, containerd the unused network of Kubernetes, the
#: kubelet statistics that do not exist yet at its start, and pip a conflict that does not stop it.
_HARMLESS_ERROR: t.Final = re.compile(
    r"Unable to register cu\w+ factory|computation placer already registered|no network config found in /etc/cni/net\.d"
    r"|: skip plugin\b| garbage collection failed once\b"
    r"|pip's dependency resolver does not|, but you have .+ which is incompatible"
)
_RETRY: t.Final = re.compile(
    r"(?i)\bretrying\b|\btrying (?:again|to re\w+)|\b(?:retry|attempt) (\d+)(?:/| of )(?!\1\b)\d"
)
#: Lines that are no messages: data in JSON, an HTTP status, the entry of a legend, headings, also those of tables, the
#: items of a numbered list of possible causes, the description of an option, a directive of a configuration, and
#: progress bars.
_DATA: t.Final = re.compile(
    r"^\s*(?:\{|\"[^\"]*\"\s*[]:,}])|^HTTP/|^\s*\S+\s+= |^\s*(?:\w+ )?(?:[Ee]rrors|[Ff]ailures):?\s*$"
    r"|^\s*-(?:\w,? |-[A-Za-z])|^\s*\w+_\w+ [^:]*;$|^[#\s]*[A-Za-z]+(?:\s{2,}#?[A-Za-z]+){2,}\s*$|^usage: "
    r"|^\s*(?:\d+[.)]|\(\d+\)) |\d%\|"
)
#: Lines about failures of the kernel itself, of disks, PCIe devices and networks, or in a stack trace of the NVIDIA
#: driver. Of the other lines of the kernel, only those count that the NVIDIA driver wrote.
_KERNEL_FAILURE: t.Final = re.compile(
    r"\+0x[\da-f]+/0x[\da-f]+ \[nvidia|general protection fault|\bBUG: |\bOops: |Kernel panic|Kernel memory exposure"
    r"|(?:soft|hard) (?i:lockup)|blocked for more than \d+ seconds|(?i:detected stalls on)"
    r"|(?i:\bhardware error\b.*(?:\bfatal|machine check:|machine check exception|recoverable|uncorrected))"
    r"|EDAC .*MC\d+: .*(?i:error)"
    r"|page allocation failure|divide error|I/O error(?!.*\bdev (?:fd|sr)\d)|Remounting filesystem read-only"
    r"|\b(?:EXT4-fs|XFS|BTRFS)\b.*(?i:\berror\b|corrupt|shut(?:ting)? ?down)|nvme\S* .*(?:controller is down|timeout)"
    r"|transmit queue \d+ timed out|(?:DMAR|AMD-Vi|arm-smmu).*(?:\b|_)(?i:fault)|AER: .*\bUncorrect"
    r"|device recovery failed|mlx5_core .*(?i:fatal|compromised|error)|not responding, |rejected by pids controller"
    r"|table full, dropping"
)
_DRIVER_LINE: t.Final = re.compile(r"(?i)^(?!.*(?:drm|modeset)).*(?:nvidia|nvrm|nvswitch)")
#: Messages of the NVIDIA driver on nodes that work.
_HARMLESS_DRIVER: t.Final = re.compile(
    r"module verification failed|Chipset Setup Function|nvCheckOkFailedNoLog|taint|i2c timeout"
)
#: Messages of a program that works, although something failed before.
_WENT_ON: t.Final = re.compile(
    r"(?i)^(?!.*\b(?:check|ensure|if|sure|until|verify|wait(?:ing)?|when|whether)\b).*(?:\bready (?:for|to) |\d%\|"
    r"|\b(?:is|are|now|server|and) (?:healthy|online|ready|running|up)\b(?! ?\?)|\bsucceeded\b"
    r"|\blisten(?:ing)? (?:at|on)\b|\bloading \d+/\d|\bresuming from\b|\brunning (?:as|on http)"
    r"|(?:^|[]:>] )successfully |\b(?:start-?up|initiali[sz]ation|configuration) (?:complete|finished|done))"
)
#: Messages of a program that ends.
_ENDS: t.Final = re.compile(rf"(?i)\b(?:{_ENDING})")
#: Start of a message of another program, or of a traceback, which does not belong to the warning before it.
_RECORD: t.Final = re.compile(r"\d+:|\S+: |Traceback \(")
_JAVA_FRAME: t.Final = re.compile(r"\s+at [\w$.]+\(")
_FRAME: t.Final = re.compile(r'(?:^|\s)File "[^"]+", line \d+, in \S')
#: Messages of a program that somebody stops. Failures in the lines after it are consequences.
STOP: t.Final = re.compile(
    r"(?i)\b(?:caught|got|received|trigger\w*)\b[^.]{0,30}\b(?:SIGTERM|SIGINT|signal:? ?(?:15|2)\b|interrupt)"
    r"|\bsignal received: ?(?:15|2)\b|\bshut(?:ting)?[ -]?down (?:complete|initiated|requested|triggered)"
    r"|\bKeyboardInterrupt\b|^\^C"
)
#: Exceptions with which a program is stopped.
_STOPPED: t.Final = re.compile(r"KeyboardInterrupt|SystemExit|CancelledError")


#: Processes of vLLM that serve all requests.
_ENGINE: t.Final = re.compile(r"EngineCore|(?:Ray|Vllm)?Worker")


@functools.cache
def _failure() -> re.Pattern[str]:
    """Return the pattern of all words for failures, including the texts of ``strerror`` for all errors."""
    system_errors = "|".join(sorted(re.escape(os.strerror(code)) for code in errno.errorcode))
    return re.compile(rf"(?<![\w./=#-])(?i:{_WORDS}|{system_errors})(?![\w=/]|[.-]\w)|{_NAMES}")


def ends_process(line: str) -> bool:
    """Return whether a log line reports the end of a process, or an error of a process that serves all requests.

    Only such failures count in the log of a server that worked before, because requests fail for other reasons too.
    """
    prefix, message = strip_prefix(line)
    is_engine = prefix.level == "ERROR" and _ENGINE.match(prefix.process or "") is not None
    return PROCESS_END.search(without_user_text(line[:FAULT_LENGTH])) is not None or (
        is_engine and EXCEPTION.match(message) is not None
    )


def is_failure(line: str, is_last: bool = False) -> bool:
    """Return whether a log line reports a failure of any program.

    :param line: the line without colour codes, with its prefixes.
    :param is_last: whether the line is one of the last two of the log. The log may end with a call that is repeated.
    """
    text = without_user_text(line[:FAULT_LENGTH])
    if KERNEL_LINE.search(text):
        if _KERNEL_FAILURE.search(text):
            return True
        if not _DRIVER_LINE.search(text) or _HARMLESS_DRIVER.search(text):
            return False
    if PROCESS_END.search(text) and not _QUOTES.search(text):
        return True
    prefix, message = strip_prefix(text)
    if prefix.level in HARMLESS_LEVELS or any(p.search(text) for p in (_DATA, _QUOTES, _HARMLESS_ERROR)):
        return False
    if _works_around(text):
        return False
    if not is_last and _RETRY.search(text):
        return False
    if prefix.source == "nccl":
        # NCCL logs its errors as warnings. Errors of its RAS service do not affect the job.
        return prefix.level == "WARN" and " ras/" not in text and _has_failure_word(message)
    if prefix.level is not None or EXCEPTION.match(message):
        return True
    if error := _ERROR_LEVEL.search(text):
        before = text[: error.start()]
        return not _is_talk(before) and not LOWER_LEVEL.search(before)
    return _has_failure_word(text)


def shows_progress(line: str, is_last: bool = False) -> bool:
    """Return whether a log line reports that its program went on after a failure. See ``is_failure``."""
    if _RETRY.search(line):
        return not is_last
    return _WENT_ON.search(line) is not None and not _failure().search(line)


def is_calm(line: str) -> bool:
    """Return whether a line shows a working program: it has a time or a low level, and reports no failure or end."""
    prefix, message = strip_prefix(line)
    is_record = prefix.level or LOWER_LEVEL.search(line) or len(message) < len(line.strip())
    return bool(is_record) and not any(p.search(line) for p in (_ENDS, _RETRY)) and not is_failure(line)


def continues_warning(line: str, following: str, after_warning: bool) -> bool:
    """Return whether a line is a warning or, if ``after_warning``, the next line of a warning.

    :param following: the line after it. Java programs log the exception that a warning is about, and its stack frames.
    """
    prefix, message = strip_prefix(line)
    if prefix.level:
        return prefix.level == "WARNING"
    if _ERROR_LEVEL.search(line) or LOWER_LEVEL.search(line):
        return re.search(_WARNING, line) is not None and not _ERROR_LEVEL.search(line)
    if not after_warning or PROCESS_END.search(line):
        return False
    return _JAVA_FRAME.match(following) is not None or (message.strip() == line.strip() and not _RECORD.match(line))


def strength(line: str) -> int:
    """Return how clearly a log line reports a failure: 2 if it has an error level and a word for a failure, else 1."""
    prefix, message = strip_prefix(line)
    level = _ERROR_LEVEL.search(message) or re.search(r"(?i)\b(?:error|fatal): ", message)
    return 1 + (bool(prefix.level or level) and _failure().search(message, level.end() if level else 0) is not None)


def open_traceback(lines: Sequence[str]) -> int | None:
    """Return the index of the last stack frame if the log ends within its traceback or the text of its exception."""
    frame = max((index for index, line in enumerate(lines) if _FRAME.search(line)), default=None)
    if frame is None or any(LOWER_LEVEL.search(line) or _STOPPED.search(line) for line in lines[frame:]):
        return None
    return frame


def _has_failure_word(text: str) -> bool:
    if _HARMLESS.search(text):
        return False
    lower = LOWER_LEVEL.search(text)
    words = _failure().finditer(text, 0, lower.start() if lower else len(text))
    return any(not _is_talk(text[: word.start()]) and not _TALK.match(text, word.start()) for word in words)


def _is_talk(before: str) -> bool:
    return HEDGE.search(before) is not None or _TALK_BEFORE.search(before) is not None


def _works_around(text: str) -> bool:
    """Return whether a clause says what the program does instead, and names no failure itself."""
    clause = _WORKAROUND.search(text)
    return clause is not None and not _failure().search(text[clause.start() :].partition(". ")[0], 2)
