# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the labels before the message on a log line: colours, timestamps, container and process labels, headers.

Several writers share one log (vLLM processes, NCCL, torch, Ray, the kernel), and whatever carried a line (docker,
Kubernetes, journald, syslog, mpirun) adds its own labels. ``strip_prefix`` removes them one by one.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass


@dataclass
class Prefix:
    """The content of the labels before a message; None for what they do not state.

    ``rank`` is set only if a label states it unambiguously. ``device`` is NCCL's ``[n]``, a device index and not a
    rank. ``process`` is the kind of process without ranks (``EngineCore``, ``Worker``, ``RayWorkerWrapper``),
    ``label`` the same with them (``EngineCore_DP0``). ``level`` is upper case. ``source`` is the writer: ``nccl``,
    ``vllm``, ``torch`` or None.
    """

    rank: int | None = None
    tp_rank: int | None = None
    pp_rank: int | None = None
    dp_rank: int | None = None
    device: int | None = None
    pid: int | None = None
    host: str | None = None
    process: str | None = None
    label: str | None = None
    level: str | None = None
    source: str | None = None


# The escape character is lost when logs are pasted, and syslog replaces it by #033.
_ANSI = re.compile(r"(?:\x1b|#033|\\x1b|\\u001b)\[[0-9;?]*[A-Za-z]|\[\d{1,2}(?:;\d{1,3})*m")
_ANSI_HINT = re.compile(r"\x1b|#033|\[\d{1,2}(?:;\d{1,3})*m|\\x1b|\\u001b")
_RAY_REPEAT = re.compile(r"\s*\[repeated \d+x across cluster\].*$")

_ISO = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
_SYSLOG_STAMP = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"

_NEUTRAL = tuple(
    re.compile(pattern)
    for pattern in (
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
_MPI = re.compile(r"\[\d+,(\d+)\]<std(?:out|err)>:?\s?")
_PROCESS = re.compile(
    r"\((?:([A-Za-z][\w:-]*)((?: +(?:rank=\d+|[A-Z]{2,4}\d+|[a-z_]+=\w+))*) +)?pid=(\d+)(?:, *ip=[^)]*)?\)\s?"
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
#: Labels that are removed from one line at most.
_MAX_LABELS = 12


def clean(line: str) -> str:
    """Return the line without colours, its line end, and the JSON record that docker and some log shippers add."""
    line = line.rstrip("\r\n")
    if line.startswith("{"):
        line = _unwrap_json(line)
    if _ANSI_HINT.search(line):
        line = _ANSI.sub("", line)
    return line


def _unwrap_json(line: str) -> str:
    try:
        record = json.loads(line)
    except ValueError:
        return line
    texts = (record.get(key) for key in _JSON_KEYS)
    return next((text.rstrip("\r\n") for text in texts if isinstance(text, str)), line)


def strip_prefix(line: str) -> tuple[Prefix, str]:
    """Split one line into the content of its labels and the message."""
    prefix = Prefix()
    text = _RAY_REPEAT.sub("", clean(line))
    for _unused in range(_MAX_LABELS):
        stripped = text.lstrip()
        rest = _peel(prefix, stripped)
        if rest is None:
            break
        text = rest
    return prefix, text


def _peel(prefix: Prefix, text: str) -> str | None:
    """Store the first label of ``text`` in ``prefix`` and return the rest, or None if there is no label."""
    first = text[:1]
    if first == "(" and (match := _PROCESS.match(text)):
        _note_process(prefix, match)
        return text[match.end() :]
    if first == "[":
        if match := _TORCH_RANK.match(text):
            prefix.rank = int(match[1])
            return text[match.end() :]
        if match := _C10.match(text):
            prefix.level, prefix.source = _C10_LEVELS[match[1]], "torch"
            return text[match.end() :]
        if match := _MPI.match(text):
            prefix.rank = int(match[1])
            return text[match.end() :]
    if match := _VLLM.match(text):
        prefix.level, prefix.source = match[1], "vllm"
        return text[match.end() :]
    if match := _NCCL.match(text):
        prefix.host, prefix.pid, prefix.device = match[1], int(match[2]), int(match[3])
        prefix.level, prefix.source = match[4], "nccl"
        return text[match.end() :]
    for label in _NEUTRAL:
        if match := label.match(text):
            return text[match.end() :]
    return None


def _note_process(prefix: Prefix, match: re.Match[str]) -> None:
    name, middle = match[1] or "", match[2] or ""
    label = (name + middle).strip()
    prefix.pid = int(match[3])
    prefix.label = label or None
    prefix.process = re.split(r"_(?:TP|PP|DP|EP|DCP|PCP)?\d|-\d", name)[0].rstrip(":") or None
    ranks = {kind: int(value) for kind, value in _LABEL_RANK.findall(label)}
    prefix.tp_rank, prefix.pp_rank, prefix.dp_rank = ranks.get("TP"), ranks.get("PP"), ranks.get("DP")
    explicit = re.search(r"rank=(\d+)|VllmWorker-(\d+)", label)
    if explicit:
        prefix.rank = int(explicit[1] or explicit[2])
    elif "TP" in ranks and "PP" not in ranks and "DP" not in ranks:
        # vLLM omits PP and DP from the label if their size is 1, so the TP rank is the rank.
        prefix.rank = ranks["TP"]


def nccl_header(line: str) -> re.Match[str] | None:
    """Return NCCL's header from any position in a line, because processes interleave.

    The groups are host, pid, device and level.
    """
    # The expression can start at every word, and most lines are not from NCCL.
    return _NCCL.search(line) if "CCL " in line else None


def without_user_text(text: str) -> str:
    """Return the part of a message before text that does not describe this server.

    Such text is a prompt, completion, request line or URL from a user, or Ray's list of possible causes.
    """
    if not any(mark in text for mark in _USER_MARKS):
        return text
    match = _USER_TEXT.search(text)
    return text[: match.start()] if match else text


#: Each match of ``_USER_TEXT`` contains one of these, which are faster to find.
_USER_MARKS: t.Final = ("request ", "Generated ", "rompt: ", "common causes", "potential root causes", " HTTP/")
_USER_TEXT: t.Final = re.compile(
    r"Received request |Generated response |Added request |Generated text:|^Prompt: |\bprompt: ['\"]"
    r"|Some common causes include|There are some potential root causes"
    r"|\"(?:GET|POST|PUT|HEAD|DELETE|OPTIONS|PATCH) [^\"]* HTTP/\d"
)
