# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data class for the faults that the scanner finds in a log."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class LogFault:
    """A fault found in a log: its lines, ranks and device, and how often it occurred. Lines are numbered from 1.

    Secrets in ``line`` are masked.
    """

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
