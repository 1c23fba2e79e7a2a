# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""If the controller disappears during tuning, restore the vLLM container that ran before tuning.

The controller writes a deadline to a heartbeat file and renews it before each step. A long step gets a later deadline,
so the controller must be unreachable if a deadline passes.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t
from collections.abc import Callable

from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.files import replace_text

#: Seconds between two checks of the deadline.
CHECK_INTERVAL: t.Final = 1.0
#: Seconds that a controller may need between two tasks.
TASK_INTERVAL: t.Final = 30.0
#: Maximum number of attempts to start the original container. A GPU may stay occupied for some seconds after the
#: container that used it is removed.
MAX_ATTEMPTS: t.Final = 10
#: Restart policies of the original container. After a reboot, Docker starts a stopped container if its policy is
#: "always", but not if its policy is "unless-stopped".
#: https://docs.docker.com/engine/containers/start-containers-automatically/
POLICY_DURING_SEARCH, POLICY_AFTER_SEARCH = "always", "unless-stopped"


class WatchdogError(RuntimeError):
    """Tuning cannot begin or continue on this node."""


def start(heartbeat: str, timeout: float, clock: Callable[[], float] = time.time) -> None:
    """Write the first deadline to the heartbeat file: ``timeout`` seconds from now.

    :raises WatchdogError: if another tuning run has set a deadline that has not passed.
    :raises OSError: if the file cannot be written.
    """
    left = (_deadline(heartbeat) or 0.0) - clock()
    if left > 0:
        raise WatchdogError(
            "another search is running on this node, or was interrupted just now; in the second case the original "
            f"server is restored within {left:.0f} s, and tuning can start again"
        )
    replace_text(heartbeat, str(clock() + timeout))


def renew(heartbeat: str, timeout: float, clock: Callable[[], float] = time.time) -> None:
    """Move the deadline in the heartbeat file to ``timeout`` seconds from now.

    :raises WatchdogError: if the deadline passed, so the container that ran before tuning was restored.
    :raises OSError: if the file cannot be written.
    """
    if _deadline(heartbeat) is None:
        raise WatchdogError("a heartbeat was late, so the node has restored its original server; start tuning again")
    replace_text(heartbeat, str(clock() + timeout))


def watch(
    heartbeat: str,
    trial: str,
    original: str,
    commands: Commands,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, t.Any]:
    """Wait until the heartbeat file is removed. If the deadline passes first, restore the container ``original``.

    ``original`` is the vLLM container that ran before tuning. While this function waits, Docker also starts this
    container after a reboot.

    :return: ``restored``, whether ``original`` was restored, and ``docker_output``.
    """
    commands.run(["docker", "update", "--restart", POLICY_DURING_SEARCH, original])
    try:
        while (deadline := _deadline(heartbeat)) is not None:
            if clock() > deadline:
                return _restore(heartbeat, trial, original, commands, sleep)
            sleep(CHECK_INTERVAL)
        return {"restored": False, "docker_output": []}
    finally:
        commands.run(["docker", "update", "--restart", POLICY_AFTER_SEARCH, original])


def _restore(
    heartbeat: str, trial: str, original: str, commands: Commands, sleep: Callable[[float], None]
) -> dict[str, t.Any]:
    # Remove the heartbeat file first. If the controller is slow but still running, its next heartbeat then fails.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(heartbeat)
    output: list[str] = []
    for attempt in range(MAX_ATTEMPTS):
        if attempt:
            sleep(CHECK_INTERVAL)
        _code, removed = commands.run(["docker", "rm", "--force", trial])
        code, started = commands.run(["docker", "start", original])
        output = [removed, started]
        if code == 0:
            return {"restored": True, "docker_output": output}
    return {"restored": False, "docker_output": output}


def _deadline(heartbeat: str) -> float | None:
    """Return the deadline as Unix time, None if there is no heartbeat file, or 0.0 if the file's content is invalid."""
    try:
        with open(heartbeat, encoding="utf-8") as stream:
            return float(stream.read())
    except FileNotFoundError:
        return None
    except ValueError:
        return 0.0
