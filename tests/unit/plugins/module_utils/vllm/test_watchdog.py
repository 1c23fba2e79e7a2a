# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guard that lets the one who tunes work, and helps where nobody works any more."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.watchdog import (
    ATTEMPTS,
    PERIOD,
    GuardError,
    alive,
    begin,
    guard,
)

AWAY = ["docker", "update", "--restart", "always", "vllm"]
BACK = ["docker", "update", "--restart", "unless-stopped", "vllm"]
RESTORE = [["docker", "rm", "--force", "trial"], ["docker", "start", "vllm"]]


class Docker(Commands):
    """Starts nothing for the first ``refusals`` times."""

    def __init__(self, refusals: int = 0) -> None:
        self.asked: list[list[str]] = []
        self.refusals = refusals

    def run(self, argv: list[str]) -> tuple[int, str]:
        self.asked.append(argv)
        if argv[1] == "start" and self.refusals:
            self.refusals -= 1
            return 1, "busy"
        return 0, argv[-1]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_broken_promise_brings_the_original_back(tmp_path: Path) -> None:
    heart, docker, clock = tmp_path / "heartbeat", Docker(), Clock()
    begin(str(heart), 10.0, clock)
    found = guard(str(heart), "trial", "vllm", docker, clock, clock.sleep)
    assert found == {"restored": True, "answers": ["trial", "vllm"]}
    assert docker.asked == [AWAY, *RESTORE, BACK]
    assert not heart.exists()
    assert 10 < clock.now - 1000 <= 10 + 2 * PERIOD


def test_a_promise_that_is_kept_and_its_end_end_the_guard(tmp_path: Path) -> None:
    heart, docker, clock = tmp_path / "heartbeat", Docker(), Clock()
    begin(str(heart), 10.0, clock)

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if clock.now < 1100:
            alive(str(heart), 10.0, clock)
        else:
            heart.unlink()

    assert guard(str(heart), "trial", "vllm", docker, clock, sleep) == {"restored": False, "answers": []}
    assert docker.asked == [AWAY, BACK]


def test_an_original_that_cannot_start_at_once_is_started_again(tmp_path: Path) -> None:
    heart, clock = tmp_path / "heartbeat", Clock()
    for refusals, restored in ((2, True), (ATTEMPTS, False)):
        heart.write_text("0")
        assert guard(str(heart), "trial", "vllm", Docker(refusals), clock, clock.sleep)["restored"] is restored


def test_a_promise_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    heart, clock = tmp_path / "heartbeat", Clock()
    heart.write_text("soon")
    assert guard(str(heart), "trial", "vllm", Docker(), clock, clock.sleep)["restored"] is True


def test_only_one_search_at_a_time(tmp_path: Path) -> None:
    heart, clock = tmp_path / "heartbeat", Clock()
    begin(str(heart), 10.0, clock)
    with pytest.raises(GuardError, match="another search is under way"):
        begin(str(heart), 10.0, clock)
    clock.now += 11
    begin(str(heart), 10.0, clock)


def test_who_comes_back_too_late_is_told(tmp_path: Path) -> None:
    with pytest.raises(GuardError, match="brought its original server back"):
        alive(str(tmp_path / "heartbeat"), 10.0)
