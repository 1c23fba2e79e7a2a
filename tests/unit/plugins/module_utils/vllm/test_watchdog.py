# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watchdog with a controller that renews the heartbeat, and with one that disappears."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import TIMEOUT, Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.watchdog import (
    CHECK_INTERVAL,
    MAX_ATTEMPTS,
    WatchdogError,
    renew,
    start,
    watch,
)

DURING = ["docker", "update", "--restart", "always", "vllm"]
AFTER = ["docker", "update", "--restart", "unless-stopped", "vllm"]
RESTORE = [["docker", "rm", "--force", "trial"], ["docker", "start", "vllm"]]


class Docker(Commands):
    """A Docker Engine that refuses to start a container a number of times."""

    def __init__(self, refusals: int = 0) -> None:
        self.calls: list[list[str]] = []
        self.refusals = refusals

    def run(self, argv: Sequence[str], timeout: float = TIMEOUT) -> tuple[int, str]:
        self.calls.append(list(argv))
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


def test_watch_after_the_deadline_restores_the_original(tmp_path: Path) -> None:
    heartbeat, docker, clock = tmp_path / "heartbeat", Docker(), Clock()
    start(str(heartbeat), 10.0, clock)
    result = watch(str(heartbeat), "trial", "vllm", docker, clock, clock.sleep)
    assert result == {"restored": True, "docker_output": ["trial", "vllm"]}
    assert docker.calls == [DURING, *RESTORE, AFTER]
    assert not heartbeat.exists()
    assert 10 < clock.now - 1000 <= 10 + 2 * CHECK_INTERVAL


def test_watch_ends_when_a_renewed_heartbeat_is_removed(tmp_path: Path) -> None:
    heartbeat, docker, clock = tmp_path / "heartbeat", Docker(), Clock()
    start(str(heartbeat), 10.0, clock)

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if clock.now < 1100:
            renew(str(heartbeat), 10.0, clock)
        else:
            heartbeat.unlink()

    assert watch(str(heartbeat), "trial", "vllm", docker, clock, sleep) == {"restored": False, "docker_output": []}
    assert docker.calls == [DURING, AFTER]


@pytest.mark.parametrize(("refusals", "restored"), [(2, True), (MAX_ATTEMPTS, False)])
def test_watch_repeats_a_start_that_docker_refuses(tmp_path: Path, refusals: int, restored: bool) -> None:
    heartbeat, clock = tmp_path / "heartbeat", Clock()
    heartbeat.write_text("0")
    assert watch(str(heartbeat), "trial", "vllm", Docker(refusals), clock, clock.sleep)["restored"] is restored


def test_watch_of_an_invalid_heartbeat_restores_the_original(tmp_path: Path) -> None:
    heartbeat, clock = tmp_path / "heartbeat", Clock()
    heartbeat.write_text("soon")
    assert watch(str(heartbeat), "trial", "vllm", Docker(), clock, clock.sleep)["restored"] is True


def test_start_during_another_search_is_refused(tmp_path: Path) -> None:
    heartbeat, clock = tmp_path / "heartbeat", Clock()
    start(str(heartbeat), 10.0, clock)
    with pytest.raises(WatchdogError, match="another search is running"):
        start(str(heartbeat), 10.0, clock)
    clock.now += 11
    start(str(heartbeat), 10.0, clock)


def test_renew_after_the_restore_fails(tmp_path: Path) -> None:
    with pytest.raises(WatchdogError, match="restored its original server"):
        renew(str(tmp_path / "heartbeat"), 10.0)
