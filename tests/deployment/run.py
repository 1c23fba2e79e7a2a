# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploys with the role vllm on a real Docker Engine, onto an image in which the emulator stands in for vLLM.

Needs root and Debian's docker.io; leaves nothing behind. What it does not prove: the NVIDIA runtime (a hook that grants
every request stands in for it) and vLLM's own start.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(ROOT / "tests/support"))
sys.path.insert(0, str(ROOT / "roles/simulated_node/files/simulator"))

import image  # noqa: E402
import simulate  # noqa: E402
import tuning_surface  # noqa: E402
import yaml  # noqa: E402
from balancer import Balancer, Load  # noqa: E402
from emulator import build  # noqa: E402
from emulator.scenario import Scenario  # noqa: E402
from engine import Engine  # noqa: E402

VERSION = "0.32.0"
SCENARIO = "healthy-tp4"
#: The node of the tests of tuning.
TUNED = "roomy"
KEY = "sk-deployment-test-0123456789"
TOKEN = "hf_deployment_test_9876543210"


@dataclass
class Played:
    """What a playbook run said."""

    code: int
    output: str

    @property
    def changed(self) -> int:
        return sum(int(number) for number in re.findall(r"changed=(\d+)", self.output))


class Site:
    """One node: its directory with the GPUs, its inventory, and the playbooks run against it."""

    def __init__(self, home: Path, engine: Engine, name: str = "node", container: str = "vllm") -> None:
        self.home, self.engine, self.container = home, engine, container
        self.node, self.port = home / name, simulate.free_port()
        self.scenario = Scenario.load(SCENARIO)
        simulate.prepare(self.node, self.scenario, name, build.default_cache())
        settings = {"scenario": SCENARIO, "vllm_version": VERSION, "name": name}
        (self.node / "settings.json").write_text(json.dumps(settings), "utf-8")
        # As if the model had been downloaded before.
        folder = self.scenario.model.id.replace("/", "--")
        cached = home / "cache/hub" / f"models--{folder}" / "snapshots/main"
        cached.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.node / "model/config.json", cached)
        self.inventory = home / "hosts.json"
        self.inventory.write_text(json.dumps({"all": {"hosts": {name: self.variables()}}}), "utf-8")

    def variables(self) -> dict[str, object]:
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": str(ROOT / ".venv/bin/python"),
            "vllm_docker_host": self.engine.url,
            "vllm_container_name": self.container,
            "vllm_model": self.scenario.model.id,
            "vllm_version": VERSION,
            "vllm_pull": "never",
            "vllm_offline": True,
            "vllm_instance_type": self.scenario.plan,
            "vllm_port": self.port,
            "vllm_config_dir": str(self.home / "etc"),
            "vllm_cache_dir": str(self.home / "cache"),
            "vllm_volumes": [f"{self.node}:{self.node}"],
            "vllm_environment": {"SIMULATED_NODE": str(self.node)},
            "vllm_module_environment": {"LD_LIBRARY_PATH": str(self.node / "lib")},
            # Not every machine that runs this lets a container lock all memory.
            "vllm_ulimits": ["nofile:1024:1024"],
            "vllm_start_timeout": 60,
            "vllm_stop_timeout": 5,
        }

    def play(self, *options: str, playbook: str = "deploy", **variables: object) -> Played:
        with self.start(*options, playbook=playbook, **variables) as running:
            output, _none = running.communicate()
        return Played(running.returncode, output)

    def start(self, *options: str, playbook: str, **variables: object) -> subprocess.Popen[str]:
        command = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(self.inventory)]
        command += [str(ROOT / f"playbooks/{playbook}.yml"), *options]
        extra = self.home / "extra.json"
        extra.write_text(json.dumps(variables), "utf-8")
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_ROLES_PATH": str(HERE / "roles"),
            "DOCKER_HOST": self.engine.url,
        }
        return subprocess.Popen(
            [*command, "-e", f"@{extra}"],
            cwd=self.home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def inspect(self) -> str:
        return self.engine.docker("inspect", self.container)

    def container_id(self) -> str:
        return json.loads(self.inspect())[0]["Id"]

    def get(self, path: str, key: str | None = None) -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if key:
            request.add_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=2) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0


class Downtime:
    """Asks for /health twenty times a second while a block runs; ``seconds`` is how long nobody answered."""

    def __init__(self, site: Site) -> None:
        self._site, self._over = site, threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.seconds = 0.0

    def __enter__(self) -> Downtime:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        last = time.monotonic()
        while not self._over.wait(0.05):
            served, now = self._site.get("/health") == 200, time.monotonic()
            self.seconds += 0.0 if served else now - last
            last = now


def check(what: str, holds: bool, shown: str = "") -> None:
    """One line for each claim; the first that does not hold ends the test with what was seen."""
    sys.stdout.write(f"{'ok  ' if holds else 'FAIL'}  {what}\n")
    sys.stdout.flush()
    if not holds:
        sys.exit(shown or 1)


def first_deployment(site: Site) -> None:
    played = site.play("--check", "--diff")
    check("a first --check --diff changes nothing", played.code == 0 and not site.get("/health"), played.output)
    played = site.play()
    check("deploy serves", played.code == 0 and site.get("/health") == 200, played.output)
    reasoned = "tensor parallel 4 (4 of 4 GPUs, 40" in played.output
    check("  with tensor parallel 4, and says why", reasoned, played.output)
    played = site.play()
    check("the second run changes nothing", played.code == 0 and played.changed == 0, played.output)


def change(site: Site) -> None:
    before = site.container_id()
    played = site.play("--check", "--diff", vllm_max_num_seqs=64)
    foretold = played.changed > 0 and "max-num-seqs" in played.output
    kept = site.container_id() == before
    check("--check --diff foretells a change and does not make it", foretold and kept, played.output)
    with Downtime(site) as down:
        played = site.play(vllm_max_num_seqs=64)
    after = site.container_id()
    once = played.code == 0 and after != before
    check(f"a changed setting restarts once ({down.seconds:.1f} s not served)", once, played.output)
    played = site.play(vllm_max_num_seqs=64)
    check("  and the next run changes nothing", played.changed == 0 and site.container_id() == after, played.output)


def mistakes(site: Site) -> None:
    site.play(vllm_max_num_seqs=64)
    before = site.container_id()
    with Downtime(site) as down:
        played = site.play(vllm_max_num_seqs=64, vllm_kv_cache_dtype="fp8_e4m3fn")
    refused = played.code != 0 and "fp8_e4m3" in played.output and played.changed == 0
    refused = refused and site.container_id() == before and down.seconds == 0
    check("a dead setting is refused before the start, and nothing is interrupted", refused, played.output)
    played = site.play(vllm_max_num_seqs=64, vllm_bind_address="0.0.0.0")
    refused = played.code != 0 and "vllm_api_key" in played.output
    check("an open server without a key is refused", refused, played.output)
    with Downtime(site) as down:
        played = site.play(vllm_max_num_seqs=64, vllm_extra_args="--no-such-option 1")
    told = played.code != 0 and "unrecognized arguments: --no-such-option" in played.output
    check("a start that fails names the line of the log", told, played.output)
    check(f"  and rolls back ({down.seconds:.1f} s not served)", site.get("/health") == 200, played.output)
    played = site.play(vllm_max_num_seqs=64)
    check("  after which the last settings are no change", played.code == 0 and played.changed == 0, played.output)


def secrets(site: Site) -> None:
    played = site.play("-vvv", "--diff", vllm_api_key=KEY, vllm_hf_token=TOKEN)
    check("an API key restarts the server with it", played.code == 0 and site.get("/v1/models") == 401, played.output)
    check("  and the key opens it", site.get("/v1/models", KEY) == 200)
    check("no secret in the output of -vvv --diff", KEY not in played.output and TOKEN not in played.output)
    check("no secret in docker inspect", KEY not in site.inspect() and TOKEN not in site.inspect())
    check("no secret in docker logs", KEY not in site.engine.docker("logs", "vllm"))
    processes = subprocess.run(["ps", "-eo", "args", "-ww"], capture_output=True, text=True, check=True).stdout
    check("no secret in the process list", KEY not in processes and TOKEN not in processes)
    holders = [
        path
        for path in (site.home / "etc").rglob("*")
        if path.is_file() and any(secret in path.read_text("utf-8") for secret in (KEY, TOKEN))
    ]
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in holders}
    check("secrets only in files of mode 0600", modes == {"api_key": "0o600", "hf_token": "0o600"}, str(modes))
    played = site.play(vllm_api_key=KEY, vllm_hf_token=TOKEN)
    check("  and the next run changes nothing", played.code == 0 and played.changed == 0, played.output)


def life(site: Site) -> None:
    site.play(vllm_api_key=KEY)
    played = site.play("--tags", "restart", vllm_api_key=KEY)
    restarted = played.code == 0 and played.changed == 1 and site.get("/health") == 200
    check("--tags restart restarts", restarted, played.output)
    played = site.play(playbook="logs", vllm_logs_part="start", vllm_logs_dir=str(site.home / "logs"))
    log = (site.home / "logs/node.log").read_text("utf-8") if played.code == 0 else ""
    check("logs brings the start-up part", log.rstrip().endswith("startup complete."), played.output)
    played = site.play(
        "--tags",
        "hardware,tensor_parallel,memory,nccl,configuration",
        playbook="validate",
        validate_base_url=f"http://127.0.0.1:{site.port}",
        validate_api_key=KEY,
        validate_container="vllm",
        validate_kernel_log=False,
        validate_instance_type=site.scenario.plan,
        validate_environment={"LD_LIBRARY_PATH": str(site.node / "lib")},
        validate_report_dir=str(site.home / "report"),
    )
    check("validate passes what was deployed", played.code == 0, played.output)
    played = site.play("--tags", "stop", vllm_api_key=KEY)
    check("--tags stop stops", played.code == 0 and site.get("/health") == 0, played.output)
    played = site.play("--tags", "stop", vllm_api_key=KEY)
    check("  and the second time changes nothing", played.code == 0 and played.changed == 0, played.output)


def fleet(site: Site) -> None:
    """A rolling change over six nodes behind a balancer, with load on all of them."""
    sites = [Site(site.home, site.engine, f"node-{number}", f"vllm-{number}") for number in range(6)]
    with Balancer({each.node.name: each.port for each in sites}) as balancer:
        hosts = {each.node.name: {**each.variables(), **balancer.hooks} for each in sites}
        site.inventory.write_text(json.dumps({"all": {"hosts": hosts}}), "utf-8")
        played = site.play(vllm_max_unavailable="100%")
        served = all(each.get("/health") == 200 for each in sites)
        check("six nodes serve", played.code == 0 and served, played.output)
        balancer.most_drained = 0
        body = {"model": site.scenario.model.id, "prompt": "count", "max_tokens": 16}
        with Load(balancer.url, body, streams=12) as load:
            played = site.play(vllm_max_num_seqs=64, vllm_max_unavailable=1)
        changed = sum('"64"' in each.inspect() for each in sites)
        figures = f"{load.completed} requests, {load.failed} failed, at most {balancer.most_drained} node out"
        rolled = played.code == 0 and changed == 6 and load.failed == 0 and balancer.most_drained == 1
        check(f"a rolling change of six nodes under load: {figures}", rolled and load.completed > 0, played.output)
        others = [each.container_id() for each in sites[1:]]
        played = site.play(vllm_max_num_seqs=64, vllm_max_unavailable=1, vllm_extra_args="--no-such-option")
        kept = others == [each.container_id() for each in sites[1:]]
        check("a bad change ends at the first node", played.code != 0 and kept, played.output)
        back = sites[0].get("/health") == 200 and not balancer.drained
        check("  which serves again and is back in the balancer", back, played.output)


def found_in(part: object) -> list[dict[str, str]]:
    """Every finding within a part of the report."""
    if isinstance(part, dict) and "check" in part and "status" in part:
        return [part]
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return [finding for each in inner for finding in found_in(each)]


def real_vllm(site: Site) -> None:
    """The real vLLM on CPU in a container, two ranks: this host's system and the environment of `make test-vllm`."""
    home = ROOT / f".cache/vllm-{VERSION}"
    if not (home / "complete").exists():
        sys.stdout.write("skip  the real vLLM: make test-vllm installs it\n")
        return
    base = Path(os.readlink(home / "venv/bin/python3.11")).parents[1]
    mounts = ["/usr", "/usr/lib/x86_64-linux-gnu:/lib/x86_64-linux-gnu", str(home), *({str(base)} - {"/usr"})]
    variables = {
        **site.variables(),
        "vllm_container_name": "vllm-real",
        "vllm_model": str(home / "model"),
        "vllm_served_model_name": "small",
        "vllm_gpus": "none",
        "vllm_instance_type": None,
        "vllm_tensor_parallel_size": 2,
        "vllm_max_model_len": 2048,
        "vllm_extra_args": "--distributed-executor-backend mp --enforce-eager",
        "vllm_volumes": [f"{mount if ':' in mount else f'{mount}:{mount}'}:ro" for mount in mounts],
        "vllm_environment": {
            "PATH": f"{home}/venv/bin:/usr/bin:/bin",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "0|1",
        },
        "vllm_api_key": KEY,
        "vllm_start_timeout": 400,
    }
    site.inventory.write_text(json.dumps({"all": {"hosts": {"real": variables}}}), "utf-8")
    played = site.play()
    serves = played.code == 0 and site.get("/v1/models") == 401 and site.get("/v1/models", KEY) == 200
    check("the real vLLM serves with two ranks and asks for the key", serves, played.output)
    stages = [
        line.split("s  ")[1] for line in played.output.splitlines() if line.startswith("real: ") and "s  " in line
    ]
    check(f"  its start was told: {'; '.join(stages)}", "loading the weights" in " ".join(stages), played.output)
    log = site.engine.docker("logs", "vllm-real")
    check("  no secret in its log, or in docker inspect", KEY not in log + site.engine.docker("inspect", "vllm-real"))
    played = site.play()
    check("  the second run changes nothing", played.code == 0 and played.changed == 0, played.output)
    played = site.play(vllm_tensor_parallel_size=3)
    check(
        "  a size that its heads forbid is refused",
        played.code != 0 and "does not divide" in played.output,
        played.output,
    )
    played = site.play(
        playbook="validate",
        validate_base_url=f"http://127.0.0.1:{site.port}",
        validate_api_key=KEY,
        validate_container="vllm-real",
        validate_kernel_log=False,
        validate_prompt_tokens=[64],
        validate_output_tokens=16,
        validate_concurrency=2,
        validate_load_duration=5,
        validate_fail_on="never",
        validate_report_dir=str(site.home / "report"),
    )
    report = json.loads((site.home / "report/report.json").read_text("utf-8")) if played.code == 0 else {}
    statuses = {finding["check"]: finding["status"] for finding in found_in(report.get("hosts"))}
    shown = ("tensor_parallel.size", "tensor_parallel.model_fit", "nccl.errors", "performance.token_reconciliation")
    found = {check_id: statuses.get(check_id) for check_id in shown}
    check(f"  validate: {found}", set(found.values()) <= {"pass", "not_tested"} and bool(report), played.output)


def tunable(site: Site) -> dict[str, object]:
    """Variables of a node with known speeds and poor settings, and of a short search on it."""
    return {
        "vllm_max_num_seqs": 8,
        "vllm_environment": {"SIMULATED_NODE": str(site.node), "TUNING_NODE": TUNED},
        "tune_trials": 12,
        "tune_concurrency": 16,
        "tune_prompt_tokens": 64,
        "tune_output_tokens": 16,
        "tune_duration": 2,
        "tune_start_timeout": 30,
        "tune_patience": 60,
        "tune_dir": str(site.home / "tuning"),
    }


def search(site: Site, seed: int) -> tuple[Played, float, dict[str, Any]]:
    """One search: what was said, the share of the optimum that the best settings truly reach, and them."""
    shutil.rmtree(site.home / "tuning", ignore_errors=True)
    began = time.monotonic()
    played = site.play(playbook="tune", **tunable(site), tune_seed=seed)
    check(f"tune ends well with seed {seed} ({time.monotonic() - began:.0f} s)", played.code == 0, played.output)
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


def tuning(site: Site) -> None:
    """A search on a node with a known optimum, and a second run that goes on from it."""
    options = tunable(site)
    played = site.play(**options)
    check("a server with poor settings serves", played.code == 0, played.output)
    before = site.container_id()
    played = site.play("--check", playbook="tune", **options)
    told = played.code == 0 and "would try up to 12 settings" in played.output and site.container_id() == before
    check("--check says what would be tried", told and not (site.home / "tuning").exists(), played.output)
    played, share, kept = search(site, 0)
    ledger = json.loads((site.home / "tuning/node.json").read_text("utf-8"))
    tried = [json.dumps(entry["settings"], sort_keys=True) for entry in ledger if entry["kind"] == "trial"]
    failed = [entry["reason"] for entry in ledger if entry["state"] == "failed"]
    check(f"  12 different trials, {len(failed)} of them failed", len(tried) == len(set(tried)) == 12, played.output)
    check(f"  one died at its start, and the search went on: {failed[:1]}", bool(failed), played.output)
    check(f"  the settings to commit reach {100 * share:.0f} % of the optimum: {kept}", share >= 0.95, played.output)
    same = site.container_id() == before and site.get("/health") == 200
    check("  and the original server runs again", same and "vllm-trial" not in site.engine.docker("ps", "-a"))
    played = site.play(playbook="tune", **options)
    again = json.loads((site.home / "tuning/node.json").read_text("utf-8"))
    check("a second run measures nothing twice", played.code == 0 and again == ledger, played.output)


def tuning_interrupted(site: Site) -> None:
    """Searches that end in the middle: the node brings its original settings back by itself."""
    site.play(**tunable(site))
    before = site.container_id()
    for name, how in (("killed", kill_all), ("killed, its workers left", kill_one), ("lost", stop_all)):
        interrupted(site, name, how, before)


def kill_all(running: subprocess.Popen[str]) -> None:
    os.killpg(running.pid, signal.SIGKILL)


def kill_one(running: subprocess.Popen[str]) -> None:
    os.kill(running.pid, signal.SIGKILL)


def stop_all(running: subprocess.Popen[str]) -> None:
    """As a controller whose network is gone: it lives, and nothing of it arrives."""
    os.killpg(running.pid, signal.SIGSTOP)


def interrupted(site: Site, name: str, how: Callable[[subprocess.Popen[str]], None], before: str) -> None:
    """The longest silence that is allowed: a load of 7 s and 60 s, or 120 s before a start is looked at."""
    shutil.rmtree(site.home / "tuning", ignore_errors=True)
    running = site.start(playbook="tune", **tunable(site))
    wait_until(lambda: "vllm-trial" in site.engine.docker("ps"), 300)
    check(f"a trial runs, and the controller is {name}", "vllm-trial" in site.engine.docker("ps"))
    how(running)
    killed = time.monotonic()
    wait_until(lambda: "vllm-trial" not in site.engine.docker("ps", "-a") and site.get("/health") == 200, 150)
    seconds = time.monotonic() - killed
    restored = site.container_id() == before and site.get("/health") == 200 and seconds < 150
    check(f"  the node serves its original settings after {seconds:.0f} s", restored)
    if how is stop_all:
        os.killpg(running.pid, signal.SIGCONT)
        output, _none = running.communicate(timeout=300)
        ended = running.returncode != 0 and "brought its original server back" in output
        check("  the controller that comes back ends", ended, output)
        check("  and leaves the original alone", site.container_id() == before and site.get("/health") == 200)
    elif how is kill_one:
        time.sleep(2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
    else:
        running.communicate()
    policy = json.loads(site.inspect())[0]["HostConfig"]["RestartPolicy"]["Name"]
    wait_until(lambda: not (site.home / "etc/vllm-trial.heartbeat").exists(), 5)
    check(f"  with its restart policy, {policy}", policy == "unless-stopped")


def tuning_seeds(site: Site) -> None:
    """Five searches on a node with a known optimum. Takes about ten minutes, so it runs only where it is named."""
    site.play(**tunable(site))
    for seed in range(5):
        played, share, kept = search(site, seed)
        check(f"  reaches {100 * share:.1f} % of the optimum: {kept}", share >= 0.95, played.output)


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.5)


PARTS = (first_deployment, change, mistakes, secrets, life, fleet, real_vllm, tuning, tuning_interrupted)
#: Run only where they are named.
LONG = (tuning_seeds,)


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="multigpu-vllm-deployment-"))
    chosen = [part for part in (*PARTS, *LONG) if part.__name__ in sys.argv[1:]] or PARTS
    try:
        with Engine(home / "engine") as engine:
            entry, name = 'ENTRYPOINT ["vllm","serve"]', f"vllm/vllm-openai:v{VERSION}"
            engine.docker("import", "--change", entry, "-", name, stdin=image.tree(VERSION))
            site = Site(home, engine)
            for part in chosen:
                part(site)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
