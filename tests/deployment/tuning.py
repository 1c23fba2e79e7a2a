# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test role tune on a node with known best settings.

A search finds them, measures nothing twice, and is undone if it is interrupted. ``tuning.py seeds`` runs five searches.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import tuning_surface
import yaml
from node import Played, Site, check, engine_with_vllm, wait_until

#: Name of the node in ``tuning_surface``.
TUNED = "roomy"


def tunable(site: Site) -> dict[str, object]:
    """Return variables of a node with known speeds and poor settings, and of a short search on it."""
    return {
        "vllm_max_num_seqs": 8,
        "vllm_environment": {"SIMULATED_NODE": str(site.node), "TUNING_NODE": TUNED},
        "tune_trials": 12,
        "tune_concurrency": 16,
        "tune_prompt_tokens": 64,
        "tune_output_tokens": 16,
        "tune_load_duration": 2,
        "tune_start_timeout": 30,
        "tune_heartbeat_timeout": 60,
        "tune_dir": str(site.home / "tuning"),
    }


def search(site: Site, seed: int) -> tuple[Played, float, dict[str, Any]]:
    """Run a search; return its output, the fraction of the optimum that its best settings reach, and these settings."""
    shutil.rmtree(site.home / "tuning", ignore_errors=True)
    began = time.monotonic()
    played = site.play(playbook="tune", **tunable(site), tune_seed=seed)
    check(f"tune succeeds with seed {seed} ({time.monotonic() - began:.0f} s)", played.code == 0, played.output)
    written = yaml.safe_load((site.home / "tuning/node.yml").read_text("utf-8"))
    environment = written.get("vllm_environment", {})
    kept = {
        "max_num_seqs": written.get("vllm_max_num_seqs", 8),
        "max_num_batched_tokens": written.get("vllm_max_num_batched_tokens", 2048),
        "gpu_memory_utilization": written.get("vllm_gpu_memory_utilization", 0.92),
        "NCCL_P2P_LEVEL": environment.get("NCCL_P2P_LEVEL"),
    }
    surface = tuning_surface.NODES[TUNED]
    optimum = max(truth.output_throughput for _settings, truth in tuning_surface.known(surface, tuning_surface.SPACE))
    return played, surface.truth(kept).output_throughput / optimum, kept


def known_optimum(site: Site) -> None:
    """Search on a node with a known optimum, then run again with the same ledger."""
    options = tunable(site)
    played = site.play(**options)
    check("a server with poor settings serves", played.code == 0, played.output)
    before = site.container_id()
    played = site.play("--check", playbook="tune", **options)
    planned = played.code == 0 and "would try up to 12 settings" in played.output and site.container_id() == before
    check("--check prints what would be tried", planned and not (site.home / "tuning").exists(), played.output)
    played, share, kept = search(site, 0)
    ledger = json.loads((site.home / "tuning/node.json").read_text("utf-8"))
    tried = [json.dumps(entry["settings"], sort_keys=True) for entry in ledger if entry["kind"] == "trial"]
    failed = [entry["reason"] for entry in ledger if entry["state"] == "failed"]
    check(f"  12 different trials, {len(failed)} of them failed", len(tried) == len(set(tried)) == 12, played.output)
    check(f"  one did not start, and the search continued: {failed[:1]}", bool(failed), played.output)
    check(f"  the settings to commit reach {100 * share:.0f} % of the optimum: {kept}", share >= 0.95, played.output)
    same = site.container_id() == before and site.get("/health") == 200
    check("  and the original server runs again", same and "vllm-trial" not in site.engine.docker("ps", "-a"))
    played = site.play(playbook="tune", **options)
    again = json.loads((site.home / "tuning/node.json").read_text("utf-8"))
    check("a second run measures nothing twice", played.code == 0 and again == ledger, played.output)


def interrupted(site: Site) -> None:
    """Interrupt searches; the node must restore its original server without the controller."""
    site.play(**tunable(site))
    before = site.container_id()
    for name, interrupt in (("killed", kill_all), ("killed, its workers left", kill_one), ("unreachable", stop_all)):
        interrupted_by(site, name, interrupt, before)


def kill_all(running: subprocess.Popen[str]) -> None:
    os.killpg(running.pid, signal.SIGKILL)


def kill_one(running: subprocess.Popen[str]) -> None:
    os.kill(running.pid, signal.SIGKILL)


def stop_all(running: subprocess.Popen[str]) -> None:
    """Stop all processes, like a controller without a network that sends no heartbeat."""
    os.killpg(running.pid, signal.SIGSTOP)


def interrupted_by(site: Site, name: str, interrupt: Callable[[subprocess.Popen[str]], None], before: str) -> None:
    """Interrupt a trial and wait for the restore.

    The longest time without a heartbeat is 60 s after up to three loads of 7 s, or 120 s before the wait for a start.
    """
    shutil.rmtree(site.home / "tuning", ignore_errors=True)
    running = site.start(playbook="tune", **tunable(site))
    wait_until(lambda: "vllm-trial" in site.engine.docker("ps"), 300)
    check(f"a trial runs, and the controller is {name}", "vllm-trial" in site.engine.docker("ps"))
    interrupt(running)
    killed = time.monotonic()
    wait_until(lambda: "vllm-trial" not in site.engine.docker("ps", "-a") and site.get("/health") == 200, 150)
    seconds = time.monotonic() - killed
    restored = site.container_id() == before and site.get("/health") == 200 and seconds < 150
    check(f"  the node serves its original settings after {seconds:.0f} s", restored)
    if interrupt is stop_all:
        os.killpg(running.pid, signal.SIGCONT)
        output, _none = running.communicate(timeout=300)
        ended = running.returncode != 0 and "restored its original server" in output
        check("  the controller that continues later fails", ended, output)
        check("  and does not touch the original", site.container_id() == before and site.get("/health") == 200)
    elif interrupt is kill_one:
        time.sleep(2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
    else:
        running.communicate()
    policy = json.loads(site.inspect())[0]["HostConfig"]["RestartPolicy"]["Name"]
    wait_until(lambda: not (site.home / "etc/vllm-trial.heartbeat").exists(), 5)
    check(f"  with its restart policy, {policy}", policy == "unless-stopped")


def seeds(site: Site) -> None:
    """Run five searches on a node with a known optimum. Takes half an hour, so it runs only if it is named."""
    site.play(**tunable(site))
    for seed in range(5):
        played, share, kept = search(site, seed)
        check(f"  reaches {100 * share:.1f} % of the optimum: {kept}", share >= 0.95, played.output)


PARTS = (known_optimum, interrupted)


def main() -> None:
    chosen = [part for part in (*PARTS, seeds) if part.__name__ in sys.argv[1:]] or PARTS
    with engine_with_vllm("tuning") as (home, engine):
        site = Site(home, engine)
        for part in chosen:
            part(site)


if __name__ == "__main__":
    main()
