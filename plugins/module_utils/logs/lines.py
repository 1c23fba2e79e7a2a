# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the prefixes of log lines: timestamps, container and process names, and the headers of libraries such as NCCL.

Several programs write to one log (vLLM processes, NCCL, torch, Ray, the kernel), and each program that forwards a line
(docker, Kubernetes, journald, syslog, mpirun) adds a prefix. ``strip_prefix`` removes the prefixes one by one.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass


@dataclass
class Prefix:
    """Values parsed from the prefixes of a log line. A field is None if no prefix contains its value.

    ``rank`` is set only if a prefix states it unambiguously. ``device`` is NCCL's ``[n]``, which is a device index and
    not a rank. ``process`` is the type of process without ranks (``EngineCore``, ``Worker``, ``RayWorkerWrapper``), and
    ``label`` is the same with ranks (``EngineCore_DP0``). ``level`` is the log level in upper case. ``source`` is the
    program that wrote the message: ``nccl``, ``vllm`` or ``torch``. ``node`` is the address of another node whose line
    Ray forwards.
    """

    rank: int | None = None
    device: int | None = None
    pid: int | None = None
    host: str | None = None
    process: str | None = None
    label: str | None = None
    level: str | None = None
    source: str | None = None
    node: str | None = None


# Colour codes start with an escape character. Copying and pasting loses this character; syslog replaces it with #033.
_ANSI = re.compile(r"(?:\x1b|#033|\\x1b|\\u001b)\[[0-9;?]*[A-Za-z]|\[\d{1,2}(?:;\d{1,3})*m")
_ANSI_HINT = re.compile(r"\x1b|#033|\[\d{1,2}(?:;\d{1,3})*m|\\x1b|\\u001b")
_RAY_REPEAT = re.compile(r"(?<!\s)\s*\[repeated \d+x across cluster\].*$")

_ISO = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
_SYSLOG_STAMP = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"

_NEUTRAL = re.compile(
    "|".join(
        (
            rf"{_ISO} (?:stdout|stderr) [FP] ",  # CRI
            rf"(?:{_ISO}|{_SYSLOG_STAMP}) [\w.:-]+ [\w./@()-]+(?:\[\d+\])?: ",  # syslog, journald
            rf"{_ISO}(?:\s+|$)",
            rf"\[{_ISO}\]\s*",
            r"kern\s*:\s*\w+\s*:\s*",  # dmesg --decode
            r"<\d{1,3}>(?:1 )?",
            r"\[\s*\d+\.\d+\]\s*",  # dmesg
            r"\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\]\s*",  # dmesg -T
            r"\[pod/[^\]]+\]\s*",
            r"(?:[\w.-]+\s*)?\|\s",  # docker compose, loguru
            r">\s+",  # a quoted log
            r"\d{1,4}:\s+(?=\S)",  # srun --label
            r"kernel: ",
        )
    )
)
_PROGRAM = re.compile(rf"([\w.-]+)\s*\|\s|(?:{_ISO}|{_SYSLOG_STAMP}) [\w.:-]+ ([\w./@()-]+)(?:\[\d+\])?: ")
_MPI = re.compile(r"\[\d+,(\d+)\]<std(?:out|err)>:?\s?")
_PROCESS = re.compile(
    r"\((?:([A-Za-z][\w:-]*)((?: +(?:rank=\d+|[A-Z]{2,4}\d+|[a-z_]+=\w+))*) +)?pid=(\d+)(?:, *ip=([^)]*))?\)\s?"
)
_LABEL_RANK = re.compile(r"(?:^|[_ ])(TP|PP|DP)(\d+)")
_TORCH_RANK = re.compile(r"\[rank(\d+)\]:?\s?")
_C10 = re.compile(r"\[(?:rank\d+\]:\[)?([EWIFC])(?:\d{3,4} [\d:.]+)?\s*(?:\d+ )?[\w./-]+\.(?:cpp|cc|cu|h|hpp):\d+\]\s*")
_VLLM = re.compile(
    r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)?\s+(?:\[[^\]\s]+:\d+\]|[\w./-]+:\d+\])\s?"
)
_NCCL = re.compile(
    r"([\w.-]+):(\d+):(?:\d+) \[(-?\d+)\] (?:[\d:. -]{8,26} )?(?:[\w./-]+:\d+ )?(?:NCCL|RCCL) "
    r"(WARN|INFO|TRACE|VERSION|ABORT)\b\s?"
)
_C10_LEVELS = {"E": "ERROR", "W": "WARNING", "I": "INFO", "F": "CRITICAL", "C": "CRITICAL"}
_JSON_KEYS = ("log", "message", "MESSAGE", "msg")
_JSON_ERRORS = frozenset({"ERROR", "FATAL", "CRITICAL", "PANIC"})
_JSON_LOWER_LEVELS = frozenset({"DEBUG", "INFO", "WARN", "WARNING"})
#: Maximum number of prefixes to remove from one line.
_MAX_PREFIXES = 12


def clean(line: str) -> str:
    """Remove colour codes, the line ending, and the JSON in which docker or a log shipper may have wrapped the line."""
    line = line.rstrip("\r\n")
    if line.startswith("{"):
        line = _unwrap_json(line)
    if _ANSI_HINT.search(line):
        line = _ANSI.sub("", line)
    return line


def _unwrap_json(line: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return line
    texts = (record.get(key) for key in _JSON_KEYS)
    text = next((text.rstrip("\r\n") for text in texts if isinstance(text, str)), line)
    levels = {str(record.get(key)).upper() for key in ("level", "levelname", "severity")}
    if levels & _JSON_ERRORS:
        return f"ERROR {text}"
    # Other levels are marked only in records of Go programs, because the messages of vLLM have to stay as they are.
    lower = levels & _JSON_LOWER_LEVELS if "caller" in record else ()
    return f"{min(lower)} {text}" if lower else text


def strip_prefix(line: str) -> tuple[Prefix, str]:
    """Split a log line into its parsed prefixes and the message."""
    prefix = Prefix()
    text = clean(line)
    if "[repeated " in text:
        text = _RAY_REPEAT.sub("", text)
    for _unused in range(_MAX_PREFIXES):
        rest = _without_first_prefix(prefix, text.lstrip())
        if rest is None:
            break
        text = rest
    return prefix, text


def _without_first_prefix(prefix: Prefix, text: str) -> str | None:
    """Store the values of the first prefix of ``text`` in ``prefix``. Return the rest of ``text``.

    Return None if ``text`` has no prefix.
    """
    if match := _PROCESS.match(text):
        _store_process(prefix, match)
    elif match := _TORCH_RANK.match(text) or _MPI.match(text):
        prefix.rank = int(match[1])
    elif match := _C10.match(text):
        prefix.level, prefix.source = _C10_LEVELS[match[1]], "torch"
    elif match := _VLLM.match(text):
        prefix.level, prefix.source = match[1], "vllm"
    elif match := _NCCL.match(text):
        prefix.host, prefix.pid, prefix.device = match[1], int(match[2]), int(match[3])
        prefix.level, prefix.source = match[4], "nccl"
    else:
        match = _NEUTRAL.match(text)
    return text[match.end() :] if match else None


def _store_process(prefix: Prefix, match: re.Match[str]) -> None:
    name = match[1] or ""
    label = (name + (match[2] or "")).strip()
    prefix.pid = int(match[3])
    prefix.node = match[4] or prefix.node
    prefix.label = label or None
    prefix.process = re.split(r"_(?:TP|PP|DP|EP|DCP|PCP)?\d|-\d", name)[0].rstrip(":") or None
    ranks = dict(_LABEL_RANK.findall(label))
    if explicit := re.search(r"rank=(\d+)|VllmWorker-(\d+)", label):
        prefix.rank = int(explicit[1] or explicit[2])
    elif set(ranks) == {"TP"}:
        # vLLM omits PP and DP from the label if their size is 1, so the TP rank is also the global rank.
        prefix.rank = int(ranks["TP"])


def program_of(line: str) -> str | None:
    """Return the container or program that docker compose, syslog or journald names in a line, or None."""
    match = _PROGRAM.match(line)
    return (match[1] or match[2]) if match else None


def nccl_header(line: str) -> re.Match[str] | None:
    """Return a match for the first NCCL header in a line, or None. The groups are host, PID, device and log level.

    Another process may have written to the same line before NCCL, so the header can be anywhere in the line.
    """
    # Skip most lines quickly, because the regular expression is slow and few lines come from NCCL.
    return _NCCL.search(line) if "CCL " in line else None


def without_user_text(text: str) -> str:
    """Remove text that is not about this server, such as a user's prompt, from the end of a message.

    Such text is a user's prompt, completion, request line or URL, or Ray's list of possible causes.
    """
    if not any(mark in text for mark in _USER_MARKS):
        return text
    match = _USER_TEXT.search(text)
    return text[: match.start()] if match else text


#: Every match of ``_USER_TEXT`` contains one of these strings, which are faster to find.
_USER_MARKS: t.Final = (
    "request ",
    "Generated ",
    "rompt: ",
    "text",
    "ontent",
    "common causes",
    "potential root causes",
    "ossible reasons",
    " HTTP/",
)
_USER_TEXT: t.Final = re.compile(
    r"Received request |Generated response |Added request |Generated text:|^Prompt: |\bprompt: ['\"]"
    r"|\b(?:text|content)['\"]?[:=] ?\[?['\"]"
    r"|Some common causes include|There are some potential root causes|Possible reasons include"
    r"|\"(?:GET|POST|PUT|HEAD|DELETE|OPTIONS|PATCH) [^\"]* HTTP/\d"
)
