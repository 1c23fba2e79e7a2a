# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mistakes in thresholds and speed limits, before any load."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.filter.judgement_errors import FilterModule, judgement_errors


def test_nothing_given_is_nothing_wrong() -> None:
    assert judgement_errors([]) == judgement_errors([], {}) == []


@pytest.mark.parametrize(
    "limits", [{"default": {"warn": 70}}, {"RTX 4000 Ada": {"warn": 70, "fail": 40}}, {"L40S": {"fail": 0}}]
)
def test_limits_that_can_be(limits: dict) -> None:
    assert judgement_errors([], limits) == []


@pytest.mark.parametrize(
    ("limits", "hint"),
    [
        ([80], "must map GPU models"),
        ({"L40S": 80}, "must have the form"),
        ({"L40S": {}}, "must have the form"),
        ({"L40S": {"warning": 80}}, "must have the form"),
        ({"L40S": {"warn": "80"}}, "per cent"),
        ({"L40S": {"warn": -1}}, "per cent"),
        ({"L40S": {"warn": 40, "fail": 50}}, "fail (50) must not be above warn (40)"),
    ],
)
def test_limits_that_cannot_be(limits: object, hint: str) -> None:
    (problem,) = judgement_errors([], limits)
    assert hint in problem


def test_both_kinds_are_told() -> None:
    assert len(judgement_errors([{"query": "["}], {"L40S": 1})) == 2


def test_registered_name() -> None:
    assert FilterModule().filters() == {"judgement_errors": judgement_errors}
