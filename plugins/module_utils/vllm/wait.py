# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches a vLLM container until it serves or is dead; ``startup`` reads the log, this looks and waits."""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import startup

#: Seconds between two looks.
PERIOD: t.Final = 0.5
#: Lines of the log that are read; a start writes a few hundred.
LINES: t.Final = 4000
#: Lines of the log that a failed start returns.
TAIL: t.Final = 15

STARTING: t.Final = "starting"
READY: t.Final = "ready"
DEAD: t.Final = "dead"

Look = dict[str, t.Any]


class MissingContainer(ValueError):
    """There is no such container, or no Docker to ask."""


class Watch:
    """One container and its API; ``commands``, ``healthy`` and the clock are the edge that tests replace."""

    def __init__(
        self,
        container: str,
        healthy: Callable[[], bool],
        commands: Commands,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.container = container
        self._healthy = healthy
        self._commands = commands
        self._clock = clock
        self._sleep = sleep

    def look(self) -> Look:
        """``state``, ``stage``, ``detail``, and for a dead server ``cause``, ``exit_code`` and ``log_tail``.

        :raises MissingContainer: where Docker does not know the container or does not answer.
        """
        code, answer = self._commands.run(["docker", "container", "inspect", self.container])
        if code:
            reason = answer.splitlines()[-1] if answer else "no answer"
            raise MissingContainer(f"no container {self.container!r}: {reason}")
        document = json.loads(answer)[0]
        state = document["State"]
        down = bool(state.get("Restarting")) or not state.get("Running")
        serving = not down and self._healthy()
        # A container that Docker had to start again, and that does not serve, has died of its settings.
        died = down or (not serving and bool(document.get("RestartCount")))
        since = [] if died else ["--since", state["StartedAt"]]
        _code, log = self._commands.run(["docker", "logs", "--tail", str(LINES), *since, self.container])
        lines = log.splitlines()
        stage, detail = startup.stage_of(lines)
        found: Look = {"state": STARTING, "stage": stage, "detail": detail}
        if died:
            return {**found, "state": DEAD, "exit_code": state.get("ExitCode"), **_why(lines, state)}
        if serving:
            return {**found, "state": READY, "stage": startup.READY}
        return found

    def until_news(self, seconds: float, known: str | None = None) -> Look:
        """Looks until the server is ready or dead, its stage is another than ``known``, or ``seconds`` are over."""
        end = self._clock() + seconds
        while True:
            found = self.look()
            new = known is not None and found["stage"] != known
            if found["state"] != STARTING or new or self._clock() + PERIOD > end:
                return found
            self._sleep(PERIOD)


def label(look: Mapping[str, t.Any]) -> str:
    """``loading the weights, 50 %``."""
    return f"{look['stage']}, {look['detail']}" if look.get("detail") else str(look["stage"])


def given_up(look: Look, container: str, timeout: float, commands: Commands) -> Look:
    """``look`` of a server that was not ready in time, with the log's last lines."""
    _code, log = commands.run(["docker", "logs", "--tail", str(TAIL), container])
    summary = f"not ready after {timeout:.0f} s, still {label(look)}"
    lines = log.splitlines()
    cause = {"line": lines[-1] if lines else None, "summary": summary, "remedy": None}
    return {**look, "cause": cause, "log_tail": lines}


def _why(lines: list[str], state: Mapping[str, t.Any]) -> Look:
    cause = startup.root_cause(lines)
    if cause is None:
        cause = startup.Cause(state.get("Error") or f"no log; exit status {state.get('ExitCode')}")
    if state.get("OOMKilled"):
        cause = startup.Cause(cause.line, "killed by the kernel: the container ran out of host memory", cause.remedy)
    return {
        "cause": {"line": cause.line, "summary": cause.summary, "remedy": cause.remedy},
        "log_tail": lines[-TAIL:],
    }
