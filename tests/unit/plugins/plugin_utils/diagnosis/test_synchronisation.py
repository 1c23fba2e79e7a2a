# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Busy and slow. Whether it is named: test_catalogue.py."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest

Build = Callable[..., t.Any]


def test_waiting_is_shown_by_spread_power_and_speed(situation: Build) -> None:
    found = situation(apart=True, speed=0.4).diagnosis("gpus.waiting")
    assert found.confidence == "high"
    assert any(line.startswith("spread: 90.0 points") for line in found.evidence)
    assert any(line.startswith("power of its limit:") for line in found.evidence)
    assert any(line.endswith("40 % of expected") for line in found.evidence)


@pytest.mark.parametrize(("clock", "named"), [(1400, True), (2000, False)])
def test_the_gpu_that_is_behind_is_named(situation: Build, clock: int, named: bool) -> None:
    found = situation(clocks={2: clock}, speed=0.4).diagnosis("gpus.waiting")
    assert ("GPU 2 is behind the others" in found.cause) is named


def test_the_gpus_that_wait_are_those_that_hold_the_model(situation: Build) -> None:
    shape = {"tp": 2, "used": [0.3, 0.3, 18.2, 18.2], "utilisation": [0, 0, 97, 97]}
    assert "gpus.waiting" in situation(**shape, speed=0.33).ids()


def test_replicas_of_one_gpu_wait_for_nobody(situation: Build) -> None:
    assert "gpus.waiting" not in situation(tp=1, dp=4, speed=0.33).ids()


def test_one_signal_alone_is_less_sure(situation: Build) -> None:
    assert situation(speed=0.33).diagnosis("gpus.waiting").confidence == "medium"


def test_what_nothing_explains_is_said_with_little_confidence(situation: Build) -> None:
    found = situation(transport=None, speed=0.66).diagnosis("performance.unexplained")
    assert found.confidence == "low"
    assert "not tested above" in found.remedy


def test_too_much_expected_is_told_with_what_is_possible(situation: Build) -> None:
    found = situation(expected_throughput=300.0).diagnosis("performance.too_much_expected")
    assert "300.0 tok/s; memory bandwidth allows 104" in found.cause
