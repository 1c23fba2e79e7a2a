# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One row of the table of settings: when it holds, and what then is to be said."""

from __future__ import annotations

import enum
import re
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status

Version = tuple[int, ...]

VLLM: t.Final = "vLLM source, releases 0.6.3 to 0.33.0"
NCCL: t.Final = "NCCL environment variables, NVIDIA documentation"


class IssueKind(str, enum.Enum):
    """What is wrong with a setting."""

    INVALID = "invalid"  # no version takes this value: the server does not start
    GONE = "gone"  # this version does not know it any more: the server does not start
    TOO_NEW = "too_new"  # this version does not know it yet: the server does not start
    CONFLICT = "conflict"  # does the opposite of what it is for, together with another setting
    DEPRECATED = "deprecated"  # works, and will be gone
    IGNORED = "ignored"  # has no effect
    HARMFUL = "harmful"  # works, and costs speed or safety
    REDUNDANT = "redundant"  # is so by itself

    @property
    def status(self) -> Status:
        if self in (IssueKind.INVALID, IssueKind.GONE, IssueKind.TOO_NEW, IssueKind.CONFLICT):
            return Status.FAIL
        return Status.PASS if self is IssueKind.REDUNDANT else Status.WARN


@dataclass(frozen=True, kw_only=True)
class SettingRule:
    """Setting ``name`` draws ``verdict`` in versions ``since <= version < before``.

    ``values``: only these (lower case); ``unless``: all but these; ``above`` and ``below``: numbers beyond a limit.
    ``cause`` is the consequence, ``remedy`` the replacement. Rows without bounds hold for an unknown version too.
    """

    name: str
    verdict: IssueKind
    summary: str
    cause: str
    remedy: str
    values: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    above: float | None = None
    below: float | None = None
    since: Version | None = None
    before: Version | None = None
    source: str = VLLM

    @property
    def status(self) -> Status:
        return self.verdict.status

    def applies(self, settings: Mapping[str, t.Any], version: Version | None) -> bool:
        return self.name in settings and self._is_about(settings[self.name]) and self._holds_in(version)

    def _is_about(self, value: t.Any) -> bool:
        text = str(value).strip().lower()
        if (self.values and text not in self.values) or (self.unless and text in self.unless):
            return False
        if self.above is None and self.below is None:
            return True
        try:
            number = float(text)
        except ValueError:
            return False
        return (self.above is not None and number > self.above) or (self.below is not None and number < self.below)

    def _holds_in(self, version: Version | None) -> bool:
        if self.since is None and self.before is None:
            return True
        if version is None:
            return False
        return (self.since or ()) <= version and (self.before is None or version < self.before)


def parse_version(text: str | None) -> Version | None:
    """``0.32.0+cpu`` -> ``(0, 32, 0)``; ``None`` for what is not a version."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text or "")
    return tuple(int(part or 0) for part in match.groups()) if match else None


def show_version(version: Version | None) -> str:
    """``0.32.0``, or ``of unknown version``."""
    return ".".join(map(str, version)) if version else "of unknown version"
