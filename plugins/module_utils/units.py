# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define binary units of memory, in bytes, and format counts."""

from __future__ import annotations

import typing as t

KIB: t.Final = 2**10
MIB: t.Final = 2**20
GIB: t.Final = 2**30


def gb_per_second(bandwidth: float) -> str:
    """Format a bandwidth in bytes per second, such as ``21.4 GB/s``."""
    return f"{bandwidth / 1e9:.1f} GB/s"


def counted(number: int, noun: str) -> str:
    """Format a number with a noun that forms its plural with ``s``, such as ``1 node`` or ``2 nodes``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
