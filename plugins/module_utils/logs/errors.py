# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two ways in which a log cannot be read: the node refuses it, or it does not exist."""

from __future__ import annotations


class LogUnavailable(Exception):
    """An existing log could not be read (permission, no container engine, damaged file).

    This is a state of the node: report it as ``not_tested``. ``source`` names the log, ``reason`` is for the user.
    """

    def __init__(self, source: str, reason: str) -> None:
        self.source = source
        self.reason = reason
        super().__init__(f"{source}: {reason}")


class UnknownLog(ValueError):
    """The user named a file, container or unit that does not exist. This is an input error; the message names it."""
