# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse vLLM versions into tuples that can be compared, and format such tuples."""

from __future__ import annotations

import re

Version = tuple[int, ...]


def parse_version(text: str | None) -> Version | None:
    """Parse a vLLM version: ``0.32.0+cpu`` becomes ``(0, 32, 0)``. Return ``None`` if ``text`` is not a version."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text or "")
    return tuple(int(part or 0) for part in match.groups()) if match else None


def show_version(version: Version | None) -> str:
    """Format a vLLM version as text; an unknown version becomes ``of unknown version``."""
    return ".".join(map(str, version)) if version else "of unknown version"
