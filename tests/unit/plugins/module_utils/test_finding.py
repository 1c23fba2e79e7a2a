# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import dataclass

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import (
    AREAS,
    CHECKS,
    Finding,
    Status,
    as_dicts,
    failed,
    not_tested,
    passed,
    warned,
    worst,
)


def test_checks_belong_to_an_area() -> None:
    assert {check.partition(".")[0] for check in CHECKS} <= set(AREAS)


@pytest.mark.parametrize(
    ("make", "status"), [(passed, "pass"), (warned, "warn"), (failed, "fail"), (not_tested, "not_tested")]
)
def test_finding_functions_set_status_and_details(make: t.Callable[..., Finding], status: str) -> None:
    finding = make("hardware.gpu_count", "3 of 4 GPUs", expected=4, measured=3)
    assert finding.as_dict() == {
        "check": "hardware.gpu_count",
        "status": status,
        "summary": "3 of 4 GPUs",
        "expected": 4,
        "measured": 3,
        "unit": None,
        "evidence": {},
        "cause": None,
        "remedy": None,
        "source": None,
    }


def test_finding_with_unknown_check_raises() -> None:
    with pytest.raises(ValueError, match=r"'hardware\.colour'"):
        passed("hardware.colour", "green")


def test_finding_from_dict_restores_the_finding() -> None:
    finding = warned("memory.balance", "uneven", evidence={"spread": 0.2}, source="guide")
    assert [Finding.from_dict(data) for data in as_dicts([finding])] == [finding]


def test_finding_from_dict_drops_extended_keys() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Extended(Finding):
        class_: str

    data = Extended(check="nccl.errors", status=Status.FAIL, summary="timeout", class_="nccl_timeout").as_dict()
    assert data["class"] == "nccl_timeout"
    assert Finding.from_dict(data) == failed("nccl.errors", "timeout")


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], Status.NOT_TESTED),
        (["pass", "pass"], Status.PASS),
        (["pass", "not_tested"], Status.NOT_TESTED),
        (["not_tested", "warn", "pass"], Status.WARN),
        ([Status.WARN, "fail", Status.PASS], Status.FAIL),
    ],
)
def test_worst_returns_the_most_severe_status(statuses: list[Status | str], expected: Status) -> None:
    assert worst(statuses) is expected


@pytest.mark.parametrize(("make", "wrong"), [(passed, False), (not_tested, False), (warned, True), (failed, True)])
def test_finding_is_wrong_if_it_fails_or_warns(make: t.Callable[..., Finding], wrong: bool) -> None:
    assert make("nccl.errors", "x").wrong is wrong
