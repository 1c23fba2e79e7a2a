# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define classes for a vLLM server's settings and for rules that describe known issues of settings."""

from __future__ import annotations

import enum
import typing as t
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import Version


@dataclass(frozen=True)
class Setting:
    """A setting of a vLLM server, and the reason why it is set.

    ``name`` is an argument in vLLM's Python spelling (``max_num_seqs``) or an environment variable.
    """

    name: str
    value: t.Any
    why: str

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)


class IssueKind(str, enum.Enum):
    """Kinds of known issues. ``status`` is the status of a finding that reports an issue of this kind."""

    INVALID = "invalid"  # no version accepts this value: the server does not start
    REMOVED = "removed"  # this version no longer has it: the server does not start
    TOO_NEW = "too_new"  # this version does not have it yet: the server does not start
    CONFLICT = "conflict"  # defeats its purpose in combination with another setting
    UNKNOWN = "unknown"  # this version does not know the variable or its value: a deployment refuses it
    DEPRECATED = "deprecated"  # works, and will be removed
    IGNORED = "ignored"  # has no effect
    HARMFUL = "harmful"  # works, and costs speed or safety
    REDUNDANT = "redundant"  # is the default

    @property
    def status(self) -> Status:
        if self in (IssueKind.INVALID, IssueKind.REMOVED, IssueKind.TOO_NEW, IssueKind.CONFLICT):
            return Status.FAIL
        return Status.PASS if self is IssueKind.REDUNDANT else Status.WARN


@dataclass(frozen=True, kw_only=True)
class ValueCondition:
    """A condition on a setting's value. An empty condition is always met.

    The value must be one of ``values``, must not be one of ``unless`` (both in lower case), and must be above ``above``
    or below ``below``. A field that is not set imposes no condition.
    """

    values: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    above: float | None = None
    below: float | None = None

    def is_met(self, value: t.Any) -> bool:
        text = str(value).strip().lower()
        if (self.values and text not in self.values) or text in self.unless:
            return False
        if self.above is None and self.below is None:
            return True
        number = as_number(text)
        return number is not None and (
            (self.above is not None and number > self.above) or (self.below is not None and number < self.below)
        )


@dataclass(frozen=True, kw_only=True)
class SettingRule(ValueCondition):
    """A known issue of the setting ``name`` in vLLM versions ``since <= version < before``.

    The inherited condition applies to the value of ``name``. A rule about a combination of settings has further
    conditions: ``below_setting`` is a setting that must have a larger value, and ``together_with`` has conditions on
    other settings. ``cause`` describes the consequence, and ``remedy`` the solution. A rule without version bounds also
    applies to an unknown version.
    """

    name: str
    kind: IssueKind
    summary: str
    cause: str
    remedy: str
    source: str
    below_setting: str | None = None
    together_with: Mapping[str, ValueCondition] = field(default_factory=dict, hash=False)
    since: Version | None = None
    before: Version | None = None

    @property
    def status(self) -> Status:
        return self.kind.status

    @property
    def is_variable(self) -> bool:
        """Whether the setting is an environment variable."""
        return self.name.isupper()

    @property
    def combined_names(self) -> frozenset[str]:
        """Names of the settings whose combination is the known issue; empty if the rule is about a single setting."""
        others = {*self.together_with, *filter(None, [self.below_setting])}
        return frozenset({self.name, *others} if others else ())

    def applies(self, settings: Mapping[str, t.Any], version: Version | None) -> bool:
        """Return whether the rule applies to ``settings``, which maps arguments and environment variables to values."""
        return (
            self.name in settings
            and self.is_met(settings[self.name])
            and all(condition.is_met(settings.get(name, "")) for name, condition in self.together_with.items())
            and (self.below_setting is None or _is_below(settings[self.name], settings.get(self.below_setting)))
            and self._covers(version)
        )

    def _covers(self, version: Version | None) -> bool:
        if version is None:
            return self.since is None and self.before is None
        return (self.since or ()) <= version and (self.before is None or version < self.before)


def as_number(value: t.Any) -> float | None:
    """Convert ``value`` to a number, or return ``None`` if it is not a number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _is_below(value: t.Any, limit: t.Any) -> bool:
    number, bound = as_number(value), as_number(limit)
    return number is not None and bound is not None and number < bound
