# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exceptions for logs that cannot be read or do not exist."""

from __future__ import annotations


class LogUnavailable(Exception):
    """Raised if a log cannot be read, for example because permission is denied or a file is damaged.

    The cause is the state of the node and not invalid input, so report the check as ``not_tested``. ``source`` is the
    name of the log.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")


class UnknownLog(ValueError):
    """The log file, container or systemd unit that the user specified does not exist. This is an input error."""
