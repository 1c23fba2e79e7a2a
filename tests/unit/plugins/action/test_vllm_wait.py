# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action repeats short calls of the module and prints each stage once."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.action import vllm_wait


class Display:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def display(self, text: str) -> None:
        self.lines.append(text)


class Task:
    async_val = 0
    _uuid = "1"

    def __init__(self, check_mode: bool = False, **arguments: t.Any) -> None:
        self.check_mode, self.args = check_mode, {"container": "vllm", "base_url": "http://x", **arguments}


@pytest.fixture
def play(
    monkeypatch: pytest.MonkeyPatch,
) -> t.Callable[..., tuple[dict[str, t.Any], list[str], list[dict[str, t.Any]]]]:
    """Run the action with a module that returns these results in order."""

    def run(
        *results: dict[str, t.Any], check_mode: bool = False, seconds: float = 0.0, **arguments: t.Any
    ) -> tuple[dict[str, t.Any], list[str], list[dict[str, t.Any]]]:
        now = [0.0]
        calls: list[dict[str, t.Any]] = []
        left = list(results)

        def execute(_name: str, module_args: dict[str, t.Any], task_vars: t.Any) -> dict[str, t.Any]:
            calls.append(module_args)
            now[0] += seconds
            return left.pop(0)

        action = object.__new__(vllm_wait.ActionModule)
        action._task, action._display = Task(check_mode, **arguments), Display()
        monkeypatch.setattr(action, "_execute_module", execute, raising=False)
        monkeypatch.setattr(vllm_wait.ActionBase, "run", lambda *_: {})
        monkeypatch.setattr(vllm_wait.time, "monotonic", lambda: now[0])
        return action.run(task_vars={"inventory_hostname": "gpu-1"}), action._display.lines, calls

    return run


def starting(stage: str, detail: str | None = None) -> dict[str, t.Any]:
    return {"state": "starting", "stage": stage, "detail": detail}


READY = {"state": "ready", "stage": "ready", "detail": None}


def test_wait_prints_each_stage_once(play: t.Any) -> None:
    results = [
        starting("starting"),
        starting("loading the weights", "50 %"),
        starting("loading the weights", "50 %"),
        READY,
    ]
    result, lines, _calls = play(*results, seconds=5)
    assert [line.split("s  ")[1] for line in lines] == ["starting", "loading the weights, 50 %", "ready"]
    assert all(line.startswith("gpu-1: ") for line in lines)
    assert (result["state"], result["elapsed"]) == ("ready", 20.0)


def test_wait_ends_if_the_module_fails(play: t.Any) -> None:
    result, _lines, calls = play({"failed": True, "msg": "no container"})
    assert (result["msg"], len(calls)) == ("no container", 1)


def test_wait_at_the_timeout_reads_the_cause(play: t.Any) -> None:
    late = {**starting("compiling"), "cause": {"line": "x"}}
    result, _lines, calls = play(starting("compiling"), starting("compiling"), late, seconds=20, timeout=40)
    assert result["cause"] == {"line": "x"}
    assert [call["timeout"] for call in calls] == [20.0, 20.0, 0.0]
    assert "known_stage" not in calls[-1]


def test_wait_in_check_mode_calls_the_module_once(play: t.Any) -> None:
    assert len(play(starting("starting"), check_mode=True)[2]) == 1


@pytest.mark.parametrize("timeout", ["soon", None, -1, "nan", float("inf")])
def test_wait_with_an_invalid_timeout_fails(play: t.Any, timeout: object) -> None:
    with pytest.raises(
        AnsibleActionFail, match=f"timeout must be a finite number of seconds, 0 or more, got {timeout!r}"
    ):
        play(timeout=timeout)


def test_wait_prints_no_control_characters(play: t.Any) -> None:
    _result, lines, _calls = play(starting("\x1b[2Jloading\u202e", "a\nb"), READY)
    assert lines[0].endswith("  �[2Jloading�, a b")


MEMBERS: t.Final = ["head", "worker"]
EXITED: t.Final = {"state": "dead", "stage": "x", "cause": {"line": "unrecognized arguments"}}


@pytest.fixture
def states(tmp_path: Path) -> t.Callable[..., dict[str, t.Any]]:
    """Record a state of a host, and return its result, which depends on the states of the others."""
    shared = vllm_wait.MemberStates(MEMBERS, "task", str(tmp_path))
    return lambda host, result, expired=False: shared.join(host, result, expired)


def test_wait_of_a_worker_ends_when_the_head_is_ready(states: t.Callable[..., dict[str, t.Any]]) -> None:
    assert states("worker", starting("x"))["state"] == "starting"
    assert states("head", {"state": "ready", "stage": "ready"})["state"] == "ready"
    assert states("worker", starting("x"))["state"] == "ready"


@pytest.mark.parametrize(
    ("result", "expired", "reason"),
    [
        (EXITED, False, "unrecognized arguments"),
        ({"unreachable": True, "msg": "Connection refused"}, False, "Connection refused"),
        ({**starting("x"), "cause": {"line": "not ready"}}, True, "not ready"),
    ],
)
def test_wait_of_the_head_ends_when_a_worker_does_not_start(
    states: t.Callable[..., dict[str, t.Any]], result: dict[str, t.Any], expired: bool, reason: str
) -> None:
    states("worker", result, expired)
    ended = states("head", starting("x"))
    assert (ended["state"], ended["cause"]["line"]) == ("dead", f"worker does not start: {reason}")


def test_wait_of_a_worker_that_has_exited_keeps_its_cause(states: t.Callable[..., dict[str, t.Any]]) -> None:
    states("head", {"state": "ready", "stage": "ready"})
    assert states("worker", EXITED) == EXITED


@pytest.mark.parametrize(("host", "headless"), [("gpu-1", False), ("other", True)])
def test_wait_asks_only_the_head_for_its_api(
    play: t.Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str, headless: bool
) -> None:
    monkeypatch.setattr(vllm_wait.constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    members = ["gpu-1", "other"] if host == "gpu-1" else ["other", "gpu-1"]
    _result, _lines, calls = play({"state": "dead", "stage": "x", "detail": None}, members=members)
    assert calls[0]["headless"] is headless
