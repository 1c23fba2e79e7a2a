# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The knob table's verdicts on a planned deployment, in words for the one who deploys."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings import known_issues

#: Docker's size of /dev/shm where nothing is said.
DOCKER_SHM: t.Final = 64 * 2**20
_UNITS: t.Final = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


@dataclass(frozen=True)
class SettingIssue:
    """``fatal`` settings keep the server from starting, or do the opposite of what they are for."""

    fatal: bool
    text: str


def review(
    arguments: Mapping[str, t.Any],
    environment: Mapping[str, t.Any],
    version: str,
    measured: Collection[str] = (),
) -> list[SettingIssue]:
    """What the knob table says about ``arguments`` and ``environment`` under vLLM ``version``.

    :param measured: names of settings whose condition was found to hold on this node: a warning about one of them
        would contradict the measurement.
    """
    rows = known_issues.review_all(arguments, environment, known_issues.parse_version(version))
    return [_verdict(row) for row in rows if row.status is Status.FAIL or row.name not in measured]


def review_memory(ranks: int, ipc_mode: str | None, shm_size: str | int | None) -> list[SettingIssue]:
    """What is to be said about the shared memory of a container for ``ranks`` ranks; ``shm_size`` as Docker takes it.

    :raises ValueError: for a size that Docker does not know.
    """
    row = known_issues.container(
        ranks, ipc_mode, DOCKER_SHM if shm_size in (None, "") else size_in_bytes(str(shm_size))
    )
    return [_verdict(row)] if row else []


def size_in_bytes(text: str) -> int:
    """``16g`` -> 17179869184.

    :raises ValueError: for what is no size.
    """
    match = re.fullmatch(r"(\d+)\s*([bkmgt]?)b?", text.strip().lower())
    if not match:
        raise ValueError(f"{text!r} is no size; write it as 16g")
    return int(match[1]) * _UNITS[match[2]]


def _verdict(row: known_issues.SettingRule) -> SettingIssue:
    return SettingIssue(row.status is Status.FAIL, f"{row.summary}. {row.cause} {row.remedy}")
