# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Determine the stage of a vLLM server's startup, or the cause of a failed startup, from the server's log."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.logs import log_scan
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.lines import clean, strip_prefix
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask_line

READY: t.Final = "ready"

#: Startup stages in order, each with the pattern of its log lines in vLLM 0.6 to 0.33.
STAGES: t.Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("starting", re.compile(r"vLLM API server version|non-default args|\bversion \d|LLM engine")),
    # The number of ranks differs from that on this node only if the server spans several nodes.
    (
        "connecting the nodes",
        re.compile(
            r"headless multiproc executor|DP group leader: .*\bworld_size=(\d+), local_world_size=(?!\1\b)\d|"
            r"Waiting for Ray on the head|Connecting to existing Ray cluster"
        ),
    ),
    ("downloading the model", re.compile(r"Fetching \d+ files|Downloading|\.safetensors: +\d+%|downloading weights")),
    (
        "loading the weights",
        re.compile(r"Starting to load model|Loading (?:safetensors|pt) checkpoint|Loading weights took"),
    ),
    ("compiling", re.compile(r"Dynamo bytecode transform|torch\.compile takes|Compiling a graph|Model loading took")),
    ("reserving the KV cache", re.compile(r"KV cache memory|KV cache size|# (?:GPU|CUDA) blocks")),
    ("capturing CUDA graphs", re.compile(r"Capturing CUDA graph|Graph capturing|Capturing the model for CUDA")),
    ("opening the API", re.compile(r"init engine \(|Starting vLLM (?:API )?server|Available routes")),
    (READY, re.compile(r"Application startup complete")),
)
#: Pattern of the progress within a startup stage.
_DETAIL: t.Final = re.compile(r"(\d+)% Completed|(?:Fetching|safetensors:).*?(\d+)%|KV cache size: ([\d,]+ tokens)")

#: Patterns of error lines of a failed start, most specific first. Use the first pattern that matches any line.
REASONS: t.Final[tuple[re.Pattern[str], ...]] = (
    re.compile(r"^\S+: error: .+"),
    re.compile(r"Value error, .+|^ValueError: .+"),
    re.compile(r"(?:GatedRepoError|RepositoryNotFoundError|401 Client Error|403 Client Error)\b.*"),
    re.compile(r"No space left on device.*"),
    re.compile(r"^(?:[\w.]+\.)?(?!RuntimeError: Engine core init)[A-Z]\w*(?:Error|Exception): .+"),
    re.compile(r"(?:exec|stat|open) [^:]*: no such file or directory.*|executable file not found.*"),
    re.compile(r"\bERROR\b.+"),
)
#: Maximum number of characters to return from a log line.
_MAX_LINE: t.Final = 500


@dataclass(frozen=True)
class Cause:
    """The log ``line`` that shows why startup failed and, for known faults, a ``summary`` and a ``remedy``."""

    line: str
    summary: str | None = None
    remedy: str | None = None


def stage_of(lines: Sequence[str]) -> tuple[str, str | None]:
    """Return the last startup stage that the log lines show, and the latest progress in that stage."""
    latest, detail = 0, None
    for line in lines:
        for part in line.split("\r"):
            reached = next((i for i in range(len(STAGES) - 1, -1, -1) if STAGES[i][1].search(part)), None)
            if reached is None or reached < latest:
                continue
            if reached > latest:
                latest, detail = reached, None
            if match := _DETAIL.search(part):
                detail = match[3] or f"{match[1] or match[2]} %"
    return STAGES[latest][0], detail


def root_cause(lines: Sequence[str]) -> Cause | None:
    """Return the cause of a failed startup, or None if the log is empty."""
    scan = log_scan.run({"text": "\n".join(lines)})
    for finding in scan["findings"]:
        if finding["status"] == "fail" and finding.get("line"):
            return Cause(finding["line"], finding["summary"], finding["remedy"])
    texts = [text for text in (strip_prefix(clean(line))[1].strip() for line in lines) if text]
    for pattern in REASONS:
        for text in texts:
            if match := pattern.search(text):
                return Cause(_masked(match[0]))
    return Cause(_masked(texts[-1])) if texts else None


def _masked(text: str) -> str:
    """Mask the secrets in ``text``, and cut it to ``_MAX_LINE`` characters."""
    return mask_line(text)[:_MAX_LINE]
