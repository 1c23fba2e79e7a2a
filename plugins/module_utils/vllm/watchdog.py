# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the original server back where the one who tunes has gone: a file with a promise, and two containers.

The one who tunes writes until when the next sign of life comes at the latest. A long step announces itself, so that a
broken promise means a controller that is gone, and is noticed soon.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t
from collections.abc import Callable

from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.files import replace_text

#: Seconds between two looks at the promise.
PERIOD: t.Final = 1.0
#: Seconds that a controller may need between two tasks.
PAUSE: t.Final = 30.0
#: How often the original is started, where Docker cannot do so at once: a GPU may be held for some seconds.
ATTEMPTS: t.Final = 10
#: Docker starts such a container again after a reboot, although it was stopped by hand; the second it does not.
#: https://docs.docker.com/engine/containers/start-containers-automatically/
AWAY, BACK = "always", "unless-stopped"


class GuardError(RuntimeError):
    """Tuning cannot begin, or cannot go on."""


def begin(heartbeat: str, seconds: float, clock: Callable[[], float] = time.time) -> None:
    """Write the first promise.

    :raises GuardError: where another's promise still holds.
    :raises OSError: where the file cannot be written.
    """
    left = (_promised(heartbeat) or 0.0) - clock()
    if left > 0:
        raise GuardError(
            f"another search is under way on this node, or was interrupted just now: then the original server is back "
            f"in {left:.0f} s or less, and tuning can begin again"
        )
    replace_text(heartbeat, str(clock() + seconds))


def alive(heartbeat: str, seconds: float, clock: Callable[[], float] = time.time) -> None:
    """Promise the next sign of life within ``seconds``.

    :raises GuardError: where the guard has ended the search.
    """
    if _promised(heartbeat) is None:
        raise GuardError("no sign of life came in time, so the node has brought its original server back; begin again")
    replace_text(heartbeat, str(clock() + seconds))


def guard(
    heartbeat: str,
    trial: str,
    original: str,
    commands: Commands,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, t.Any]:
    """Waits until the promise is withdrawn (all is well), or broken: then restores.

    Meanwhile the original comes back after a reboot too. ``restored`` says which it was; ``answers`` are what Docker
    said.
    """
    commands.run(["docker", "update", "--restart", AWAY, original])
    try:
        while (until := _promised(heartbeat)) is not None:
            if clock() > until:
                return _restore(heartbeat, trial, original, commands, sleep)
            sleep(PERIOD)
        return {"restored": False, "answers": []}
    finally:
        commands.run(["docker", "update", "--restart", BACK, original])


def _restore(
    heartbeat: str, trial: str, original: str, commands: Commands, sleep: Callable[[float], None]
) -> dict[str, t.Any]:
    answers = []
    restored = False
    # First of all, so that a controller that was only slow learns of it and ends.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(heartbeat)
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(PERIOD)
        removed, started = (
            commands.run(["docker", "rm", "--force", trial]),
            commands.run(["docker", "start", original]),
        )
        answers = [removed[1], started[1]]
        restored = started[0] == 0
        if restored:
            break
    return {"restored": restored, "answers": answers}


def _promised(heartbeat: str) -> float | None:
    """Until when; ``None`` without a promise, and the beginning of time for one that cannot be read."""
    try:
        with open(heartbeat, encoding="utf-8") as stream:
            return float(stream.read())
    except FileNotFoundError:
        return None
    except ValueError:
        return 0.0
