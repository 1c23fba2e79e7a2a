# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watching a container: what Docker and the API say, and how long one waits for it."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.wait import (
    DEAD,
    READY,
    STARTING,
    MissingContainer,
    Watch,
    given_up,
    label,
)

LOADING = "Starting to load model x"


class Docker(Commands):
    """A container whose state and log the test sets; one entry a look, the last one stays."""

    def __init__(self, *looks: tuple[dict[str, t.Any], str]) -> None:
        self.looks = list(looks)
        self.asked: list[list[str]] = []

    def run(self, argv: list[str]) -> tuple[int, str]:
        self.asked.append(argv)
        if not self.looks:
            return 1, "[]\nError: No such container: vllm"
        if argv[1] == "logs":
            return 0, self.looks[0][1]
        if sum(command[1] == "container" for command in self.asked) > 1 and len(self.looks) > 1:
            self.looks.pop(0)
        state = {"Running": True, "StartedAt": "2026-11-23T10:00:00Z", **self.looks[0][0]}
        return 0, json.dumps([{"State": state, "RestartCount": state.pop("RestartCount", 0)}])


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def watch(docker: Docker, healthy: bool = False) -> tuple[Watch, Clock]:
    clock = Clock()
    return Watch("vllm", lambda: healthy, docker, clock, clock.sleep), clock


def test_a_server_that_answers_is_ready() -> None:
    found = watch(Docker(({}, LOADING)), healthy=True)[0].look()
    assert (found["state"], found["stage"]) == (READY, "ready")


def test_a_crash_of_last_week_does_not_count_while_the_server_answers() -> None:
    assert watch(Docker(({"RestartCount": 3}, "")), healthy=True)[0].look()["state"] == READY


@pytest.mark.parametrize("state", [{"Running": False}, {"Restarting": True}, {"RestartCount": 1}])
def test_a_server_that_died_is_dead_and_says_why(state: dict[str, t.Any]) -> None:
    docker = Docker(({"ExitCode": 2, **state}, "vllm: error: unrecognized arguments: --x"))
    found = watch(docker)[0].look()
    assert (found["state"], found["exit_code"]) == (DEAD, 2)
    assert found["cause"]["line"] == "vllm: error: unrecognized arguments: --x"
    assert found["log_tail"] == ["vllm: error: unrecognized arguments: --x"]


def test_another_server_on_the_port_does_not_make_a_dead_one_ready() -> None:
    assert watch(Docker(({"Running": False}, "")), healthy=True)[0].look()["state"] == DEAD


def test_a_server_without_a_log_names_what_docker_knows() -> None:
    found = watch(Docker(({"Running": False, "ExitCode": 127, "Error": "exec: not found"}, "")))[0].look()
    assert found["cause"]["line"] == "exec: not found"
    found = watch(Docker(({"Running": False, "ExitCode": 127}, "")))[0].look()
    assert found["cause"]["line"] == "no log; exit status 127"


def test_a_kill_by_the_kernel_is_named() -> None:
    found = watch(Docker(({"Running": False, "OOMKilled": True}, LOADING)))[0].look()
    assert "host memory" in found["cause"]["summary"]


def test_only_the_log_of_this_start_tells_the_stage() -> None:
    docker = Docker(({}, LOADING))
    watch(docker)[0].look()
    assert docker.asked[-1][-3:] == ["--since", "2026-11-23T10:00:00Z", "vllm"]


def test_waiting_ends_when_the_server_dies() -> None:
    docker = Docker(({}, ""), ({}, LOADING), ({"Running": False}, "ValueError: no"))
    found = watch(docker)[0].until_news(100)
    assert (found["state"], found["cause"]["line"]) == (DEAD, "ValueError: no")


def test_waiting_ends_at_the_next_stage() -> None:
    watched, clock = watch(Docker(({}, ""), ({}, ""), ({}, LOADING)))
    found = watched.until_news(100, known="starting")
    assert (found["state"], found["stage"]) == (STARTING, "loading the weights")
    assert clock.now < 10


def test_waiting_ends_when_the_time_is_over() -> None:
    watched, clock = watch(Docker(({}, LOADING)))
    assert watched.until_news(10)["state"] == STARTING
    assert clock.now <= 10


def test_an_unknown_container_is_the_users_mistake() -> None:
    with pytest.raises(MissingContainer, match="'vllm': Error: No such container"):
        watch(Docker())[0].look()


def test_a_label_has_the_detail_where_there_is_one() -> None:
    assert label({"stage": "loading the weights", "detail": "50 %"}) == "loading the weights, 50 %"
    assert label({"stage": "starting", "detail": None}) == "starting"


def test_a_server_that_is_too_slow_tells_how_far_it_came() -> None:
    found = given_up({"state": STARTING, "stage": "compiling", "detail": None}, "vllm", 60, Docker(({}, "a\nb")))
    assert found["cause"] == {"line": "b", "summary": "not ready after 60 s, still compiling", "remedy": None}
    assert found["log_tail"] == ["a", "b"]
