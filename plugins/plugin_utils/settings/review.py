# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the settings of a planned deployment for known issues."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.module_utils.units import GIB, KIB, MIB
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings import known_issues
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import IssueKind, SettingRule
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import parse_version

#: Docker's default size of /dev/shm.
DOCKER_SHM: t.Final = 64 * MIB
_UNITS: t.Final = {"": 1, "b": 1, "k": KIB, "m": MIB, "g": GIB, "t": 1024 * GIB}


@dataclass(frozen=True)
class SettingIssue:
    """A problem with a setting of a vLLM server.

    ``fatal``: whether the problem prevents the server from starting or defeats the purpose of the setting. An unknown
    variable is fatal, because it has no effect, unless a private build or a plugin of vLLM may know it.
    """

    fatal: bool
    text: str


def review(
    arguments: Mapping[str, t.Any],
    environment: Mapping[str, t.Any],
    version: str,
    measured: Collection[str] = (),
    private: bool = False,
) -> list[SettingIssue]:
    """Check the settings of a planned server. Return those known issues that count as failures or warnings.

    :param measured: names of settings that a measurement on this node calls for. Warnings about them are left out.
    :param private: whether the server is a private build or loads plugins, so that it may know more variables.
    """
    return [
        _issue(rule, fatal=rule.kind is IssueKind.UNKNOWN and not private)
        for rule in known_issues.issues(arguments, environment, parse_version(version))
        if rule.status is Status.FAIL or (rule.status is Status.WARN and rule.name not in measured)
    ]


def review_memory(ranks: int, ipc_mode: str | None, shm_size: str | int | None) -> list[SettingIssue]:
    """Return a list with one issue if the container has too little shared memory for ``ranks`` ranks, otherwise [].

    :param shm_size: a number of bytes or a size in Docker's notation; Docker's default size if empty.
    :raises ValueError: if ``shm_size`` is not a size.
    """
    size = DOCKER_SHM if shm_size in (None, "") else size_in_bytes(str(shm_size))
    rule = known_issues.shared_memory_issue(ranks, ipc_mode, size)
    return [_issue(rule)] if rule else []


def size_in_bytes(text: str) -> int:
    """Convert a size in Docker's notation to bytes: ``16g`` becomes 17179869184.

    :raises ValueError: if ``text`` is not a size.
    """
    match = re.fullmatch(r"(\d+)\s*([bkmgt]?)b?", text.strip().lower())
    if not match:
        raise ValueError(f"invalid size {text!r}, must be a number with an optional unit, such as 16g")
    return int(match[1]) * _UNITS[match[2]]


def _issue(rule: SettingRule, fatal: bool = False) -> SettingIssue:
    return SettingIssue(fatal or rule.status is Status.FAIL, f"{rule.summary}. {rule.cause} {rule.remedy}")
