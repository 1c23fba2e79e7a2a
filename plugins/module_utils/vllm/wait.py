# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until a vLLM container is ready or has exited."""

from __future__ import annotations

import json
import math
import time
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask_line
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import startup

#: Seconds between two reads of the container's state.
POLL_INTERVAL: t.Final = 0.5
#: Maximum number of log lines to read. A start writes a few hundred lines.
MAX_LINES: t.Final = 4000
#: Number of log lines to return after a failed start.
TAIL_LINES: t.Final = 15

STARTING: t.Final = "starting"
READY: t.Final = "ready"
DEAD: t.Final = "dead"

Status = dict[str, t.Any]


class MissingContainer(ValueError):
    """The container does not exist, or the Docker Engine does not respond."""


@dataclass(frozen=True)
class ContainerStart:
    """The startup of one vLLM container. The function ``healthy`` returns whether the vLLM server is healthy."""

    container: str
    healthy: Callable[[], bool]
    commands: Commands
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def status(self) -> Status:
        """Return the server's ``state``, the ``stage`` of its startup, and the progress in that stage (``detail``).

        If the server has exited, the result also contains ``cause``, ``exit_code`` and ``log_tail``.

        :raises MissingContainer: if Docker does not know the container or does not respond.
        """
        code, output = self.commands.run(["docker", "container", "inspect", self.container])
        if code:
            reason = output.splitlines()[-1] if output else "no response"
            raise MissingContainer(f"no container {self.container!r}: {reason}")
        document = json.loads(output)[0]
        state = document["State"]
        down = bool(state.get("Restarting")) or not state.get("Running")
        serving = not down and self.healthy()
        # If Docker has restarted the container and the server is not healthy, vLLM has exited, so startup has failed.
        exited = down or (not serving and bool(document.get("RestartCount")))
        since = [] if exited else ["--since", state["StartedAt"]]
        _code, log = self.commands.run(["docker", "logs", "--tail", str(MAX_LINES), *since, self.container])
        lines = log.splitlines()
        stage, detail = startup.stage_of(lines)
        status: Status = {"state": STARTING, "stage": stage, "detail": detail}
        if exited:
            return {**status, "state": DEAD, "exit_code": state.get("ExitCode"), **_failure(lines, state)}
        if serving:
            return {**status, "state": READY, "stage": startup.READY}
        return status

    def wait(self, seconds: float, known_stage: str | None = None) -> Status:
        """Wait until the server is ready or has exited, for at most ``seconds`` seconds.

        :param known_stage: startup stage; also return as soon as the server is in any other stage.
        :returns: the same keys as ``status``.
        :raises ValueError: if ``seconds`` is negative or not finite.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"timeout must be a finite number of seconds, 0 or more, got {seconds:g}.")
        end = self.clock() + seconds
        while True:
            status = self.status()
            advanced = known_stage is not None and status["stage"] != known_stage
            if status["state"] != STARTING or advanced or self.clock() + POLL_INTERVAL > end:
                return status
            self.sleep(POLL_INTERVAL)


def label(status: Mapping[str, t.Any]) -> str:
    """Format the startup stage with its progress, such as ``loading the weights, 50 %``."""
    return f"{status['stage']}, {status['detail']}" if status.get("detail") else str(status["stage"])


def timed_out(status: Status, container: str, timeout: float, commands: Commands) -> Status:
    """Return the ``status`` of a server that was not ready in time, extended with the cause and the last log lines."""
    _code, log = commands.run(["docker", "logs", "--tail", str(TAIL_LINES), container])
    summary = f"not ready after {timeout:.0f} s, still {label(status)}"
    lines = [mask_line(line) for line in log.splitlines()]
    cause = {"line": lines[-1] if lines else None, "summary": summary, "remedy": None}
    return {**status, "cause": cause, "log_tail": lines}


def _failure(lines: list[str], state: Mapping[str, t.Any]) -> Status:
    """Return ``cause``, which explains why the server exited, and ``log_tail``, the last lines of the server's log."""
    no_log = state.get("Error") or f"no log; exit status {state.get('ExitCode')}"
    cause = startup.root_cause(lines) or startup.Cause(mask_line(no_log))
    if state.get("OOMKilled"):
        cause = replace(cause, summary="killed by the kernel: the container ran out of host memory")
    return {"cause": asdict(cause), "log_tail": [mask_line(line) for line in lines[-TAIL_LINES:]]}
