# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The knob table's verdicts on a planned deployment, in words for the one who deploys."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import knobs


@dataclass(frozen=True)
class Verdict:
    """``fatal`` settings keep the server from starting, or do the opposite of what they are for."""

    fatal: bool
    text: str


def review(arguments: Mapping[str, t.Any], environment: Mapping[str, t.Any], version: str) -> list[Verdict]:
    """What the knob table says about ``arguments`` and ``environment`` under vLLM ``version``."""
    parsed = knobs.parse_version(version)
    rows = [
        *knobs.review(arguments, knobs.ARGUMENTS, parsed),
        *knobs.review(environment, knobs.ENVIRONMENT, parsed),
    ]
    return [Verdict(row.status is Status.FAIL, f"{row.summary}. {row.cause} {row.remedy}") for row in rows]
