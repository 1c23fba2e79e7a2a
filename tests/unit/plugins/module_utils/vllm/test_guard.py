# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guard that lets the one who tunes work, and helps where nobody works any more."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.sources import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.guard import PERIOD, guard


class Docker(Commands):
    def __init__(self, code: int = 0) -> None:
        self.asked: list[list[str]] = []
        self.code = code

    def run(self, argv: list[str]) -> tuple[int, str]:
        self.asked.append(argv)
        return self.code, argv[-1]


def beat(path: Path, moment: float) -> None:
    path.touch()
    os.utime(path, (moment, moment))


def test_an_old_heartbeat_brings_the_original_back(tmp_path: Path) -> None:
    heart, docker = tmp_path / "heartbeat", Docker()
    beat(heart, 1000.0)
    now = [1000.0]

    def sleep(seconds: float) -> None:
        assert docker.asked == []
        now[0] += seconds

    found = guard(str(heart), 10.0, "trial", "vllm", docker, lambda: now[0], sleep)
    assert found == {"restored": True, "answers": ["trial", "vllm"]}
    assert docker.asked == [["docker", "rm", "--force", "trial"], ["docker", "start", "vllm"]]
    assert not heart.exists()
    assert 10 < now[0] - 1000 <= 10 + 2 * PERIOD


def test_a_heartbeat_that_goes_on_is_left_alone_and_its_end_ends_the_guard(tmp_path: Path) -> None:
    heart, docker = tmp_path / "heartbeat", Docker()
    now = [1000.0]
    beat(heart, now[0])

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] < 1100:
            beat(heart, now[0])
        else:
            heart.unlink()

    assert guard(str(heart), 10.0, "trial", "vllm", docker, lambda: now[0], sleep) == {"restored": False, "answers": []}
    assert docker.asked == []


def test_an_original_that_does_not_start_is_no_success(tmp_path: Path) -> None:
    heart = tmp_path / "heartbeat"
    beat(heart, 0.0)
    assert guard(str(heart), 10.0, "trial", "vllm", Docker(code=1), lambda: 100.0)["restored"] is False
