# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of a vLLM log: the start, what went wrong, or all of it. Pure: lines in, lines out."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.startup import READY, STAGES

PARTS: t.Final = ("all", "start", "errors")

_READY: t.Final = dict(STAGES)[READY]
_WRONG: t.Final = re.compile(
    r"\b(WARNING|ERROR|CRITICAL|FATAL)\b|NCCL WARN|Traceback|\w(Error|Exception)\b|^\S+: error:"
)


def part_of(lines: Sequence[str], part: str) -> list[str]:
    """``start``: up to the line that says that the API is open; ``errors``: warnings and worse; ``all``: everything."""
    if part == "start":
        end = next((index for index, line in enumerate(lines) if _READY.search(line)), len(lines) - 1)
        return list(lines[: end + 1])
    if part == "errors":
        return [line for line in lines if _WRONG.search(line)]
    return list(lines)


def split_stamped(line: str) -> tuple[str, str]:
    """``(time stamp, text)`` of a line of ``docker logs --timestamps``."""
    stamp, _unused, text = line.partition(" ")
    return stamp, text


def newer_than(lines: Sequence[str], stamp: str) -> list[str]:
    """Stamped lines after ``stamp``; Docker answers a time with the line of that time once more.

    Both streams of a container are answered one after the other, so the lines are put in order first.
    """
    return sorted((line for line in lines if split_stamped(line)[0] > stamp), key=lambda line: split_stamped(line)[0])
