# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test logs, restart and stop of deployed servers: file contents, leftover processes, and requests at a balancer.

Uses a real Docker Engine with the emulator as vLLM, as ``run.py`` does. The drain hooks are in the role ``balancer``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from pathlib import Path

from balancer import DIRECT, Balancer, Load
from engine import Engine
from node import Site, check, engine_with_vllm, wait_until

#: Seconds after Ctrl-C within which all processes must end, on a busy machine too.
END_LIMIT = 30
ERROR = "(EngineCore pid=7) ERROR 11-23 10:00:00 [core.py:1] torch.OutOfMemoryError: CUDA out of memory."


def processes(*words: str) -> list[str]:
    """Return the command lines that contain one of ``words``."""
    shown = subprocess.run(["ps", "-eo", "args", "-ww"], capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if any(word in line for word in words) and "ps -eo" not in line]


def complete(site: Site) -> None:
    """Request one completion, which the server logs."""
    body = json.dumps({"model": site.scenario.model.id, "prompt": "count", "max_tokens": 4}).encode()
    url = f"http://127.0.0.1:{site.port}/v1/completions"
    with DIRECT.open(urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=30) as response:
        response.read()


def parts(site: Site, folder: Path) -> None:
    """Compare the parts of a log with Docker's own log."""
    # The emulator logs no errors, so another process writes one.
    write = f"open('/proc/1/fd/1', 'w').write({ERROR!r} + chr(10))"
    site.engine.docker("exec", site.container, "python3", "-c", write)
    docker_log = site.engine.docker("logs", site.container).splitlines()
    for part in ("start", "errors", "all"):
        played = site.play(playbook="logs", vllm_logs_part=part, vllm_logs_dir=str(folder / part))
        check(f"logs: the part {part} is copied", played.code == 0 and played.changed == 0, played.output)
    names = {"start": "node.start.log", "errors": "node.errors.log", "all": "node.log"}
    copied = {part: (folder / part / name).read_text("utf-8").splitlines() for part, name in names.items()}
    # Meanwhile Docker's health check adds lines to the server's log.
    whole = Counter(docker_log) <= Counter(copied["all"])
    check(
        f"  all equals Docker's log ({len(docker_log)} lines)", whole, "\n".join(set(docker_log) - set(copied["all"]))
    )
    start = copied["start"]
    begun = start == copied["all"][: len(start)] and start[-1].endswith("startup complete.")
    check(f"  start ends with the open API ({len(start)} lines)", begun, "\n".join(start))
    warnings = [line for line in copied["all"] if " WARNING " in line or " ERROR " in line or "NCCL WARN" in line]
    wrong = ERROR in warnings and set(warnings) <= set(copied["errors"]) < set(copied["all"])
    check(f"  errors has every warning and no other line ({len(copied['errors'])} lines)", wrong)


def follow(site: Site, folder: Path) -> None:
    """Follow a log until the time is over, and until Ctrl-C."""
    options = {"vllm_logs_dir": str(folder / "follow"), "vllm_logs_part": "all"}
    file = folder / "follow/node.log"
    running = site.start(playbook="logs", vllm_logs_follow=12, **options)
    wait_until(file.exists, 60)
    before = len(file.read_text("utf-8").splitlines())
    complete(site)
    output, _none = running.communicate(timeout=120)
    added = file.read_text("utf-8").splitlines()[before:]
    seen = [line for line in added if "/v1/completions" in line]
    check("logs: a follow prints new lines with the node's name", f"node: {seen[0] if seen else '?'}" in output, output)
    check("  adds them to the file once, and ends by itself", running.returncode == 0 and len(seen) == 1, output)
    file.unlink()
    running = site.start(playbook="logs", vllm_logs_follow=600, **options)
    wait_until(file.exists, 60)
    complete(site)
    wait_until(lambda: "/v1/completions" in file.read_text("utf-8").splitlines()[-1], 30)
    started = time.monotonic()
    os.killpg(running.pid, signal.SIGINT)
    output, _none = running.communicate(timeout=END_LIMIT)
    quiet = "Traceback" not in output
    check(f"  Ctrl-C ends a follow ({time.monotonic() - started:.1f} s) without a traceback", quiet, output)
    left = processes(f"docker --host {site.engine.url} logs", "playbooks/logs.yml")
    check("  and leaves no process on the node or the controller", not left, "\n".join(left))


def drained(home: Path, engine: Engine) -> None:
    """Restart and stop servers behind a balancer under load."""
    sites = [Site(home, engine, f"node-{number}", f"vllm-{number}") for number in range(2)]
    with Balancer({each.node.name: each.port for each in sites}) as balancer:
        hosts = {each.node.name: {**each.variables(), **balancer.hooks} for each in sites}
        sites[0].inventory.write_text(json.dumps({"all": {"hosts": hosts}}), "utf-8")
        played = sites[0].play(vllm_max_unavailable="100%")
        check("two nodes behind a balancer serve", played.code == 0, played.output)
        balancer.most_drained = 0
        body = {"model": sites[0].scenario.model.id, "prompt": "count", "max_tokens": 16}
        with Load(balancer.url, body, streams=4) as load:
            played = sites[0].play("--tags", "restart")
        figures = f"{load.completed} requests, {load.failed} failed, at most {balancer.most_drained} node out"
        good = played.code == 0 and played.changed >= 2 and load.failed == 0 and balancer.most_drained == 1
        check(f"--tags restart under load: {figures}", good and load.completed > 0, played.output)
        with Load(balancer.url, body, streams=4) as load:
            played = sites[0].play("--tags", "stop", "--limit", "node-0")
        stopped = sites[0].get("/health") == 0 and sites[1].get("/health") == 200 and balancer.drained == {"node-0"}
        good = played.code == 0 and stopped and load.failed == 0
        check(f"--tags stop drains first: {load.completed} requests, {load.failed} failed", good, played.output)
        played = sites[0].play("--tags", "stop", "--limit", "node-0")
        check("  and again changes nothing", played.code == 0 and played.changed == 0, played.output)
        played = sites[0].play()
        back = sites[0].get("/health") == 200 and not balancer.drained
        check("  the next deploy starts it and puts it back", played.code == 0 and back, played.output)


def main() -> None:
    with engine_with_vllm("lifecycle") as (home, engine):
        site = Site(home, engine)
        played = site.play()
        check("deploy serves", played.code == 0 and site.get("/health") == 200, played.output)
        parts(site, home)
        follow(site, home)
        drained(home, engine)


if __name__ == "__main__":
    main()
