# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Select lines from a vLLM log: those up to the end of startup, only warnings and errors, or all."""

from __future__ import annotations

import operator
import re
import typing as t
from collections.abc import Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask_line
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.startup import READY, STAGES

_READY: t.Final = dict(STAGES)[READY]
_ERROR: t.Final = re.compile(
    r"\b(WARNING|ERROR|CRITICAL|FATAL)\b|NCCL WARN|Traceback|\w(Error|Exception)\b|^\S+: error:"
)


def part_of(lines: Sequence[str], part: str) -> list[str]:
    """Return the lines of a vLLM log that are selected by ``part``, with secrets masked.

    :param part: ``start``: up to the line that reports that the API is ready; ``errors``: warnings and errors;
        ``all``: all lines.
    """
    if part == "start":
        end = next((index for index, line in enumerate(lines) if _READY.search(line)), len(lines) - 1)
        lines = lines[: end + 1]
    elif part == "errors":
        lines = [line for line in lines if _ERROR.search(line)]
    return [mask_line(line) for line in lines]


def newer_than(lines: Sequence[str], stamp: str) -> list[tuple[str, str]]:
    """Return the timestamp and the text of each line of ``docker logs --timestamps`` that is later than ``stamp``.

    ``docker logs --since`` also prints the line at exactly that time, and prints a container's standard output and
    standard error one after the other. The result is in chronological order.
    """
    stamped = [(moment, text) for moment, _space, text in (line.partition(" ") for line in lines) if moment > stamp]
    return sorted(stamped, key=operator.itemgetter(0))
