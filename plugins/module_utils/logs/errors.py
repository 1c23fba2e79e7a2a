# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of reading a log: the node refuses access to it, or it does not exist."""

from __future__ import annotations


class LogUnavailable(Exception):
    """An existing log could not be read (permission, no container engine, damaged file).

    The node is in this state, so report the check as ``not_tested``. ``source`` is the name of the log.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")


class UnknownLog(ValueError):
    """The user named a file, container or unit that does not exist. This is an input error."""
