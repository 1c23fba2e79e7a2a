# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill deploy and tune in the middle, and check that the node serves its last good settings without the controller.

Every process of the run gets SIGKILL or SIGTERM when it begins one of several tasks. Arguments select parts and
signals: ``kills.py deploy SIGTERM``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from node import VERSION, Site, check, engine_with_vllm, wait_until
from tuning import tunable

#: Seconds without a heartbeat after which the watchdog acts, at least; a slow machine gets more.
HEARTBEAT_TIMEOUT = 30
#: Limit in seconds for a killed run to end and for a node to recover. It is reached on a stuck node only.
LIMIT = 1800


@dataclass(frozen=True)
class Moment:
    """A moment of a run: ``delay`` seconds after a task begins for the ``count``-th time.

    ``starts`` is whether the server of the new settings starts.
    """

    task: str
    count: int = 1
    delay: float = 0.0
    starts: bool = True


DEPLOY = (
    Moment("Write the secrets to files on the node"),
    Moment("Start the watchdog in the background"),
    Moment("Rename the container of the last healthy server", delay=0.5),
    Moment("Stop the last healthy server", delay=0.5),
    # The first run only predicts the change.
    Moment("Run the container", count=2, delay=0.3),
    Moment("Wait until the server is ready", delay=1),
    Moment("Remove the container of the previous server", delay=0.3),
    Moment("Wait until the server is ready", delay=1, starts=False),
    # The third run is that of the rollback.
    Moment("Run the container", count=3, delay=0.3, starts=False),
)
TUNE = (
    Moment("Start the watchdog, which restores the server if the controller disappears", delay=0.5),
    Moment("Stop the server before the tuning trials", delay=0.5),
    Moment("Run the container", count=2, delay=0.3),
    # The first load test is that of the original server.
    Moment("Run the load test", count=2, delay=1),
    Moment("Remove the container of the last tuning trial", delay=0.3),
    Moment("Start the server with its original settings", delay=0.1),
)
#: The signals that are named on the command line, or else both.
SIGNALS = [number for number in (signal.SIGKILL, signal.SIGTERM) if number.name in sys.argv[1:]]
SIGNALS = SIGNALS or [signal.SIGKILL, signal.SIGTERM]


def family(pid: int) -> set[int]:
    """Return a process and all its descendants. Background jobs on the node are not among them."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = {pid}
    while more := {child for child, parent in pairs if parent in found} - found:
        found |= more
    return found


def kill_at(running: subprocess.Popen[str], moment: Moment, number: signal.Signals) -> None:
    """Send a signal to all processes of a run when it reaches a moment. Fail if it does not reach the moment."""
    output, seen = [], 0
    assert running.stdout is not None
    for line in running.stdout:
        output.append(line)
        seen += line.startswith("TASK [") and f"{moment.task}]" in line
        if seen == moment.count:
            break
    else:
        check(f"the run reaches {moment.task!r} {moment.count} times", False, "".join(output))
    time.sleep(moment.delay)
    for pid in family(running.pid):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
    running.communicate(timeout=LIMIT)


def serves(site: Site) -> bool:
    """Return whether the node serves, and nothing of an interrupted run is left that would stop the next one.

    A run that was killed before its watchdog started leaves a heartbeat file, whose deadline passes.
    """
    names = site.engine.docker("ps", "-a", "--format", "{{.Names}}").split()
    beating = False
    with contextlib.suppress(FileNotFoundError):
        files = (site.home / "etc").glob("*.heartbeat")
        beating = any(float(file.read_text("utf-8").split()[1]) > time.monotonic() for file in files)
    return names == [site.container] and not beating and site.get("/health") == 200


def sequences(site: Site) -> str:
    """Return the setting by which the deployed containers differ."""
    command = json.loads(site.inspect())[0]["Config"]["Cmd"]
    return command[command.index("--max-num-seqs") + 1]


def kill(
    site: Site, playbook: str, moment: Moment, number: signal.Signals, variables: dict[str, object], allowed: set[str]
) -> None:
    """Kill one run, wait until the node serves, and check that it serves one of the ``allowed`` settings."""
    kill_at(site.start(playbook=playbook, **variables), moment, number)
    killed = time.monotonic()
    wait_until(lambda: serves(site), LIMIT)
    seconds, left = time.monotonic() - killed, site.engine.docker("ps", "-a")
    what = f"{playbook}, {number.name} at '{moment.task}': "
    check(f"{what}served after {seconds:.0f} s", serves(site), left)
    check(f"  with max_num_seqs {sequences(site)} of {sorted(allowed)}", sequences(site) in allowed, left)


def deploy(site: Site, timeout: float) -> None:
    options: dict[str, object] = {"_vllm_heartbeat_timeout": timeout}
    changes = 100
    for number in SIGNALS:
        for moment in DEPLOY:
            changes += 1
            before, settings = sequences(site), {**options, "vllm_max_num_seqs": changes}
            allowed = {before, str(changes)}
            if not moment.starts:
                # Only the server finds this mistake, because the image has another name.
                site.engine.docker("tag", f"vllm/vllm-openai:v{VERSION}", "own/vllm:1")
                settings |= {"vllm_image": "own/vllm:1", "vllm_extra_args": "--no-such-option 1"}
                allowed = {before}
            kill(site, "deploy", moment, number, settings, allowed)
    played = site.play(**options, vllm_max_num_seqs=99)
    check("the next deploy succeeds", played.code == 0 and sequences(site) == "99", played.output)


def tune(site: Site, timeout: float) -> None:
    # The server can start with these settings, so the run reaches the load test of its only trial.
    first = {"max_num_seqs": 64, "max_num_batched_tokens": 4096, "gpu_memory_utilization": 0.9, "NCCL_P2P_LEVEL": None}
    options = {
        **tunable(site),
        "tune_trials": 1,
        "tune_initial_settings": [first],
        "tune_heartbeat_timeout": timeout,
    }
    played = site.play(**options)
    check("a server with poor settings serves", played.code == 0, played.output)
    before = site.container_id()
    for number in SIGNALS:
        for moment in TUNE:
            shutil.rmtree(site.home / "tuning", ignore_errors=True)
            kill(site, "tune", moment, number, options, {"8"})
            check("  in the original container", site.container_id() == before)


PARTS = (deploy, tune)


def main() -> None:
    chosen = [part for part in PARTS if part.__name__ in sys.argv[1:]] or PARTS
    # A run is killed at the heading of a task, which the output of this collection omits. Ansible's default prints it.
    os.environ.update(
        ANSIBLE_STDOUT_CALLBACK="ansible.builtin.default",
        ANSIBLE_DISPLAY_OK_HOSTS="true",
        ANSIBLE_DISPLAY_SKIPPED_HOSTS="true",
    )
    with engine_with_vllm("kills") as (home, engine):
        site = Site(home, engine)
        started = time.monotonic()
        played = site.play(vllm_max_num_seqs=100)
        check("deploy serves", played.code == 0 and site.get("/health") == 200, played.output)
        # A trial starts a server with the same tasks within twice the timeout.
        timeout = max(HEARTBEAT_TIMEOUT, 1.5 * (time.monotonic() - started))
        for part in chosen:
            part(site, timeout)


if __name__ == "__main__":
    main()
