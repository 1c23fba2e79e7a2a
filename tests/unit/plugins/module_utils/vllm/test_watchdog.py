# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watchdog with a controller that renews the heartbeat, and with one that disappears."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import TIMEOUT, Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import watchdog
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.watchdog import (
    CHECK_INTERVAL,
    MAX_ATTEMPTS,
    WatchdogError,
    renew,
    restore,
    start,
    watch,
)

DURING = ["docker", "update", "--restart", "always", "vllm"]
AFTER = ["docker", "update", "--restart", "unless-stopped", "vllm"]
RESTORE = [["docker", "rm", "--force", "trial"], ["docker", "start", "vllm"]]


class Docker(Commands):
    """A Docker Engine that refuses to start a container a number of times, and has no container ``unknown``."""

    def __init__(self, refusals: int = 0, unknown: str = "", health: str = "") -> None:
        self.calls: list[list[str]] = []
        self.refusals = refusals
        self.unknown = unknown
        self.health = health

    def run(self, argv: Sequence[str], timeout: float = TIMEOUT) -> tuple[int, str]:
        self.calls.append(list(argv))
        if argv[1] == "start" and self.refusals:
            self.refusals -= 1
            return 1, "busy"
        if argv[-1] == self.unknown:
            return 1, f"No such container: {self.unknown}"
        return 0, self.health if "--format={{.State.Health.Status}}" in argv else argv[-1]


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
    result = watch(str(heartbeat), "trial", "vllm", docker, clock=clock, sleep=clock.sleep)
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

    result = watch(str(heartbeat), "trial", "vllm", docker, clock=clock, sleep=sleep)
    assert result == {"restored": False, "docker_output": []}
    assert docker.calls == [DURING, AFTER]


@pytest.mark.parametrize(("refusals", "restored"), [(2, True), (MAX_ATTEMPTS, False)])
def test_watch_repeats_a_start_that_docker_refuses(tmp_path: Path, refusals: int, restored: bool) -> None:
    heartbeat, clock = tmp_path / "heartbeat", Clock()
    heartbeat.write_text("0")
    assert (
        watch(str(heartbeat), "trial", "vllm", Docker(refusals), clock=clock, sleep=clock.sleep)["restored"] is restored
    )


def test_watch_of_an_invalid_heartbeat_restores_the_original(tmp_path: Path) -> None:
    heartbeat, clock = tmp_path / "heartbeat", Clock()
    heartbeat.write_text("soon")
    assert watch(str(heartbeat), "trial", "vllm", Docker(), clock=clock, sleep=clock.sleep)["restored"] is True


def test_start_during_another_search_is_refused(tmp_path: Path) -> None:
    heartbeat, clock = tmp_path / "heartbeat", Clock()
    start(str(heartbeat), 10.0, clock)
    with pytest.raises(WatchdogError, match="another run is changing this server"):
        start(str(heartbeat), 10.0, clock)
    clock.now += 11
    start(str(heartbeat), 10.0, clock)


def test_renew_after_the_restore_fails(tmp_path: Path) -> None:
    with pytest.raises(WatchdogError, match="restored its original server"):
        renew(str(tmp_path / "heartbeat"), 10.0)


def test_renew_without_a_watchdog_fails_at_the_deadline(tmp_path: Path) -> None:
    heartbeat, clock = tmp_path / "heartbeat", Clock()
    start(str(heartbeat), 10.0, clock)
    before = heartbeat.read_text()
    with pytest.raises(WatchdogError, match="is not running on the node"):
        renew(str(heartbeat), 600.0, clock, clock.sleep)
    assert 10 < clock.now - 1000 <= 10 + 2 * CHECK_INTERVAL
    assert heartbeat.read_text() == before


def test_renew_waits_for_a_watchdog_that_starts(tmp_path: Path) -> None:
    heartbeat, clock = tmp_path / "heartbeat", Clock()
    start(str(heartbeat), 10.0, clock)
    watching = contextlib.ExitStack()

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if clock.now == 1005.0:
            watching.enter_context(watchdog._running(str(heartbeat)))

    with watching:
        renew(str(heartbeat), 600.0, clock, sleep)
    assert (clock.now, watchdog._deadline(str(heartbeat))) == (1005.0, 1605.0)


#: A process that holds the watchdog's lock, and prints an empty line once it does.
HOLDER = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); "


def test_renew_after_the_watchdog_was_killed_fails(tmp_path: Path) -> None:
    heartbeat, clock = str(tmp_path / "heartbeat"), Clock()
    start(heartbeat, 10.0, clock)
    command = [sys.executable, "-c", HOLDER + "time.sleep(600)", f"{heartbeat}.lock"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        renew(heartbeat, 20.0, clock, clock.sleep)
        process.kill()
    with pytest.raises(WatchdogError, match="is not running on the node"):
        renew(heartbeat, 20.0, clock, clock.sleep)


def test_watch_without_the_original_fails_before_it_counts_as_running(tmp_path: Path) -> None:
    heartbeat = tmp_path / "heartbeat"
    start(str(heartbeat), 10.0)
    with pytest.raises(WatchdogError, match="No such container: vllm"):
        watch(str(heartbeat), "trial", "vllm", Docker(unknown="vllm"))
    assert not watchdog._is_running(str(heartbeat))


def test_deadline_does_not_move_with_the_wall_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat = str(tmp_path / "heartbeat")
    start(heartbeat, 600.0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0 < (watchdog._deadline(heartbeat) or 0) - time.monotonic() <= 600
    with pytest.raises(WatchdogError, match="another run"):
        start(heartbeat, 600.0)


def test_deadline_from_before_a_reboot_counts_as_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat = str(tmp_path / "heartbeat")
    start(heartbeat, 600.0)
    (tmp_path / "boot_id").write_text("another\n")
    monkeypatch.setattr(watchdog, "BOOT_ID_FILE", str(tmp_path / "boot_id"))
    start(heartbeat, 600.0)


SWAP = [["docker", "rm", "--force", "vllm"], ["docker", "rename", "previous", "vllm"], ["docker", "start", "vllm"]]


@pytest.mark.parametrize(
    ("health", "unknown", "commands"),
    [
        ("starting", "", SWAP),
        ("healthy", "", [["docker", "rm", "--force", "previous"]]),
        ("healthy", "previous", [["docker", "start", "vllm"]]),
    ],
)
def test_restore_of_a_replaced_container(tmp_path: Path, health: str, unknown: str, commands: list[list[str]]) -> None:
    heartbeat, docker = tmp_path / "heartbeat", Docker(unknown=unknown, health=health)
    heartbeat.write_text("")
    result = restore(str(heartbeat), "vllm", "vllm", docker, "previous")
    assert [call for call in docker.calls if "inspect" not in call] == commands
    assert result["restored"] is (commands[-1][1] == "start")
    assert not heartbeat.exists()
