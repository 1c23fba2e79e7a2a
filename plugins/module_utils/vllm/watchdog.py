# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""If the controller disappears while a server is tuned or replaced, restore the vLLM container that ran before.

The controller writes a deadline to a heartbeat file and renews it before each step. A long step gets a later deadline,
so the controller must be unreachable if a deadline passes. Deadlines are times of the monotonic clock, which clock
corrections do not change. A deadline from before a reboot counts as passed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t
from collections.abc import Callable, Iterator

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
POLICY_DURING_CHANGE, POLICY_AFTER_CHANGE = "always", "unless-stopped"
#: Identifies the boot of the node, because the monotonic clock starts again at every boot.
BOOT_ID_FILE: t.Final = "/proc/sys/kernel/random/boot_id"


class WatchdogError(RuntimeError):
    """The change cannot begin or continue on this node."""


def start(heartbeat: str, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
    """Write the first deadline to the heartbeat file: ``timeout`` seconds from now.

    :raises WatchdogError: if another run has set a deadline that has not passed.
    :raises OSError: if the file cannot be written.
    """
    left = (_deadline(heartbeat) or 0.0) - clock()
    if left > 0:
        raise WatchdogError(
            "another run is changing this server, or was interrupted just now; in the second case the original server "
            f"is restored within {left:.0f} s, and the run can start again"
        )
    _write_deadline(heartbeat, clock() + timeout)


def is_active(heartbeat: str, clock: Callable[[], float] = time.monotonic) -> bool:
    """Return whether a controller is changing the server: the heartbeat file has a deadline that has not passed."""
    return (_deadline(heartbeat) or 0.0) > clock()


def renew(
    heartbeat: str,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Move the deadline in the heartbeat file to ``timeout`` seconds from now, once the watchdog is running.

    A watchdog that has just been started needs some time, so wait for it until the current deadline.

    :raises WatchdogError: if no watchdog is running, or if the deadline passed and the original was restored.
    :raises OSError: if the file cannot be written.
    """
    while (deadline := _deadline(heartbeat)) is not None and not _is_running(heartbeat):
        if clock() > deadline:
            raise WatchdogError(
                "the watchdog that restores the original server is not running on the node, so the server must not be "
                "changed; the cause is in the newest file in ~/.ansible_async on the node"
            )
        sleep(CHECK_INTERVAL)
    if deadline is None:
        raise WatchdogError("a heartbeat was late, so the node has restored its original server; start again")
    _write_deadline(heartbeat, clock() + timeout)


def watch(
    heartbeat: str,
    trial: str,
    original: str,
    commands: Commands,
    kept_as: str | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, t.Any]:
    """Wait until the heartbeat file is removed. If the deadline passes first, restore the container ``original``.

    ``original`` is the vLLM container that ran before the change. While this function waits, Docker also starts this
    container after a reboot.

    :param kept_as: see ``restore``.
    :return: ``restored``, whether ``original`` was restored, and ``docker_output``.
    :raises WatchdogError: if Docker cannot access ``original``, so that it could not be restored either.
    """
    code, output = commands.run(["docker", "update", "--restart", POLICY_DURING_CHANGE, original])
    if code:
        raise WatchdogError(f"Docker cannot access the container {original}: {output}")
    try:
        with _running(heartbeat):
            while (deadline := _deadline(heartbeat)) is not None:
                if clock() > deadline:
                    return restore(heartbeat, trial, original, commands, kept_as, sleep)
                sleep(CHECK_INTERVAL)
            return {"restored": False, "docker_output": []}
    finally:
        commands.run(["docker", "update", "--restart", POLICY_AFTER_CHANGE, original])


def restore(
    heartbeat: str,
    trial: str,
    original: str,
    commands: Commands,
    kept_as: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, t.Any]:
    """Remove the container ``trial`` and start the container ``original``.

    :param kept_as: name to which ``original`` is renamed while ``trial`` takes its place. If no container has this
        name, ``original`` has not been replaced or has been restored, so it is only started. If ``trial`` is healthy,
        it stays, and the kept container is removed.
    :return: ``restored``, whether ``original`` was started, and ``docker_output``.
    """
    # Remove the heartbeat file first. If the controller is slow but still running, its next heartbeat then fails.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(heartbeat)
    output: list[str] = []
    for attempt in range(MAX_ATTEMPTS):
        if attempt:
            sleep(CHECK_INTERVAL)
        steps = _steps(trial, original, kept_as, commands)
        results = [commands.run(["docker", *step]) for step in steps]
        output = [text for _code, text in results]
        if results[-1][0] == 0:
            return {"restored": steps[-1][0] == "start", "docker_output": output}
    return {"restored": False, "docker_output": output}


def _steps(trial: str, original: str, kept_as: str | None, commands: Commands) -> list[list[str]]:
    """Return the Docker commands that ``restore`` runs."""
    inspect, health = ["docker", "container", "inspect"], "--format={{.State.Health.Status}}"
    if kept_as is None:
        return [["rm", "--force", trial], ["start", original]]
    if commands.run([*inspect, kept_as])[0]:
        return [["start", original]]
    if commands.run([*inspect, health, trial]) == (0, "healthy"):
        return [["rm", "--force", kept_as]]
    return [["rm", "--force", trial], ["rename", kept_as, original], ["start", original]]


@contextlib.contextmanager
def _running(heartbeat: str) -> Iterator[None]:
    """Hold the lock by which ``_is_running`` recognises the watchdog. The kernel releases it if the process ends."""
    with open(f"{heartbeat}.lock", "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _is_running(heartbeat: str) -> bool:
    try:
        with open(f"{heartbeat}.lock", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _write_deadline(heartbeat: str, deadline: float) -> None:
    replace_text(heartbeat, f"{_boot_id()} {deadline}")


def _deadline(heartbeat: str) -> float | None:
    """Return the deadline as a time of the monotonic clock, or None if there is no heartbeat file.

    The deadline is 0.0 if the file's content is invalid or from before a reboot.
    """
    try:
        with open(heartbeat, encoding="utf-8") as stream:
            boot_id, deadline = stream.read().split()
            return float(deadline) if boot_id == _boot_id() else 0.0
    except FileNotFoundError:
        return None
    except ValueError:
        return 0.0


def _boot_id() -> str:
    with open(BOOT_ID_FILE, encoding="utf-8") as stream:
        return stream.read().strip()
