# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of a starting container, and the end of a wait for it."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Sequence

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import TIMEOUT, Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.wait import (
    DEAD,
    READY,
    STARTING,
    ContainerStart,
    MissingContainer,
    label,
    timed_out,
)

LOADING = "Starting to load model x"


class Docker(Commands):
    """A container with one state and log for each read; the last one stays."""

    def __init__(self, *reads: tuple[dict[str, t.Any], str]) -> None:
        self.reads = list(reads)
        self.calls: list[list[str]] = []

    def run(self, argv: Sequence[str], timeout: float = TIMEOUT) -> tuple[int, str]:
        self.calls.append(list(argv))
        if not self.reads:
            return 1, "[]\nError: No such container: vllm"
        if argv[1] == "logs":
            return 0, self.reads[0][1]
        if sum(command[1] == "container" for command in self.calls) > 1 and len(self.reads) > 1:
            self.reads.pop(0)
        state = {"Running": True, "StartedAt": "2026-11-23T10:00:00Z", **self.reads[0][0]}
        return 0, json.dumps([{"State": state, "RestartCount": state.pop("RestartCount", 0)}])


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def watch(docker: Docker, healthy: bool = False) -> tuple[ContainerStart, Clock]:
    clock = Clock()
    return ContainerStart("vllm", lambda: healthy, docker, clock, clock.sleep), clock


def test_status_of_a_healthy_server_is_ready() -> None:
    status = watch(Docker(({}, LOADING)), healthy=True)[0].status()
    assert (status["state"], status["stage"]) == (READY, "ready")


def test_status_of_a_healthy_server_ignores_earlier_restarts() -> None:
    assert watch(Docker(({"RestartCount": 3}, "")), healthy=True)[0].status()["state"] == READY


@pytest.mark.parametrize("state", [{"Running": False}, {"Restarting": True}, {"RestartCount": 1}])
def test_status_of_an_exited_server_has_the_cause(state: dict[str, t.Any]) -> None:
    docker = Docker(({"ExitCode": 2, **state}, "vllm: error: unrecognized arguments: --x"))
    status = watch(docker)[0].status()
    assert (status["state"], status["exit_code"]) == (DEAD, 2)
    assert status["cause"]["line"] == "vllm: error: unrecognized arguments: --x"
    assert status["log_tail"] == ["vllm: error: unrecognized arguments: --x"]


def test_status_of_an_exited_server_ignores_another_on_its_port() -> None:
    assert watch(Docker(({"Running": False}, "")), healthy=True)[0].status()["state"] == DEAD


def test_status_without_a_log_has_the_error_of_docker() -> None:
    status = watch(Docker(({"Running": False, "ExitCode": 127, "Error": "exec: not status"}, "")))[0].status()
    assert status["cause"]["line"] == "exec: not status"
    status = watch(Docker(({"Running": False, "Error": "cannot run A_TOKEN=hush"}, "")))[0].status()
    assert status["cause"]["line"] == "cannot run A_TOKEN=***"
    status = watch(Docker(({"Running": False, "ExitCode": 127}, "")))[0].status()
    assert status["cause"]["line"] == "no log; exit status 127"


def test_status_of_a_server_killed_by_the_kernel_names_host_memory() -> None:
    status = watch(Docker(({"Running": False, "OOMKilled": True}, LOADING)))[0].status()
    assert "host memory" in status["cause"]["summary"]


def test_status_reads_only_the_log_of_this_start() -> None:
    docker = Docker(({}, LOADING))
    watch(docker)[0].status()
    assert docker.calls[-1][-3:] == ["--since", "2026-11-23T10:00:00Z", "vllm"]


def test_wait_ends_when_the_server_exits() -> None:
    docker = Docker(({}, ""), ({}, LOADING), ({"Running": False}, "ValueError: no"))
    status = watch(docker)[0].wait(100)
    assert (status["state"], status["cause"]["line"]) == (DEAD, "ValueError: no")


def test_wait_ends_at_the_next_stage() -> None:
    watched, clock = watch(Docker(({}, ""), ({}, ""), ({}, LOADING)))
    status = watched.wait(100, known_stage="starting")
    assert (status["state"], status["stage"]) == (STARTING, "loading the weights")
    assert clock.now < 10


def test_wait_ends_at_the_timeout() -> None:
    watched, clock = watch(Docker(({}, LOADING)))
    assert watched.wait(10)["state"] == STARTING
    assert clock.now <= 10


def test_status_of_a_missing_container_is_an_error() -> None:
    with pytest.raises(MissingContainer, match="'vllm': Error: No such container"):
        watch(Docker())[0].status()


def test_label_has_the_detail_if_there_is_one() -> None:
    assert label({"stage": "loading the weights", "detail": "50 %"}) == "loading the weights, 50 %"
    assert label({"stage": "starting", "detail": None}) == "starting"


def test_timed_out_names_the_stage_that_was_reached() -> None:
    status = timed_out({"state": STARTING, "stage": "compiling", "detail": None}, "vllm", 60, Docker(({}, "a\nkey=b")))
    assert status["cause"] == {"line": "key=b", "summary": "not ready after 60 s, still compiling", "remedy": None}
    assert status["log_tail"] == ["a", "key=b"]


def test_log_lines_in_a_status_contain_no_secret() -> None:
    log = Docker(({"Running": False}, "authorization: bearer hush\nValueError: Zq7SECRETx9Lm2PwV4tR"))
    for status in (watch(log)[0].status(), timed_out({"stage": "compiling"}, "vllm", 60, log)):
        assert status["log_tail"] == ["authorization: ***", "ValueError: ***"]
        assert status["cause"]["line"] == "ValueError: ***"


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_wait_without_an_end_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="timeout must be a finite number of seconds, 0 or more, got"):
        watch(Docker(({}, LOADING)))[0].wait(seconds)
