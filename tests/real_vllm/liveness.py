# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch a real server with the liveness service of role vllm, before and after one of its ranks is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.command import TIMEOUT, Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import liveness
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.liveness_service import (
    POLL_INTERVAL,
    LivenessService,
    ServiceOptions,
)
from serve import Server

#: Seconds in which the server must answer the request for one token, and in which a stopped rank must be found.
LIMIT = 300.0


class RecordedDocker(Commands):
    """A Docker Engine with the server as its only container, which only records what the service does."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def run(self, argv: Sequence[str], timeout: float = TIMEOUT) -> tuple[int, str]:
        if "inspect" not in argv:
            self.calls.append(argv[1])
        state = {"Running": True, "StartedAt": str(self.calls.count("start"))}
        return 0, json.dumps([{"Id": "id", "State": state}])


def liveness_problems(server: Server, directory: Path) -> Iterator[str]:
    """Yield a message for each wrong state of the healthy server and of the server with a stopped rank.

    The last state takes about a minute. The rank stays stopped.
    """
    docker = RecordedDocker()
    files = [str(directory / name) for name in ("restarts.json", "liveness.prom")]
    service = LivenessService(ServiceOptions("vllm", server.url, *files), docker)
    if _wait(service, liveness.IDLE_ALIVE) is None or docker.calls:
        yield f"the healthy server was not alive, or was restarted: {docker.calls}"
    ranks = subprocess.run(["pgrep", "-g", str(server.group), "-f", "Worker_TP1"], capture_output=True, check=True)
    os.kill(int(ranks.stdout.split()[0]), signal.SIGSTOP)
    seconds = _wait(service, liveness.STALLED)
    if seconds is None or docker.calls != ["stop", "start"]:
        yield f"the stopped rank was not found in {LIMIT:.0f} s, or the server not restarted: {docker.calls}"


def _wait(service: LivenessService, state: str) -> float | None:
    """Return the seconds until the server has the ``state``, or None if it does not have it in ``LIMIT``."""
    begin = time.monotonic()
    while (seconds := time.monotonic() - begin) < LIMIT:
        if service.step().state == state:
            return seconds
        time.sleep(POLL_INTERVAL)
    return None
