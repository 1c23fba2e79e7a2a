# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``multigpu.vllm.report_format_errors``; documented in report_format_errors.yml beside it."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import formats


def report_format_errors(names: list[str]) -> list[str]:
    """Why formats cannot be written on this controller, in words; empty where all can."""
    return formats.errors(names)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"report_format_errors": report_format_errors}
