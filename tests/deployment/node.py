# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node with the emulator as vLLM on a Docker Engine, playbook runs on it, and checks of both."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "roles/simulated_node/files/simulator"))

import image  # noqa: E402
import simulate  # noqa: E402
from emulator import build  # noqa: E402
from emulator.scenario import Scenario  # noqa: E402
from engine import Engine  # noqa: E402

VERSION = "0.32.0"
SCENARIO = "healthy-tp4"
KEY = "sk-deployment-test-0123456789"
TOKEN = "hf_deployment_test_9876543210"


@dataclass
class Played:
    """Exit status and output of a playbook run."""

    code: int
    output: str

    @property
    def changed(self) -> int:
        return sum(int(number) for number in re.findall(r"changed=(\d+)", self.output))


class Site:
    """One node with its directory of simulated GPUs, its inventory, and playbook runs on it."""

    def __init__(self, home: Path, engine: Engine, name: str = "node", container: str = "vllm") -> None:
        self.home, self.engine, self.container = home, engine, container
        self.node, self.port = home / name, simulate.free_port()
        self.scenario = Scenario.load(SCENARIO)
        simulate.prepare(self.node, self.scenario, name, build.default_cache())
        settings = {"scenario": SCENARIO, "vllm_version": VERSION, "name": name}
        (self.node / "settings.json").write_text(json.dumps(settings), "utf-8")
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
            "vllm_cache_dir": str(self.node / "cache"),
            "vllm_volumes": [f"{self.node}:{self.node}"],
            "vllm_environment": {"SIMULATED_NODE": str(self.node)},
            "vllm_module_environment": {"LD_LIBRARY_PATH": str(self.node / "lib")},
            # Not every machine allows a container to lock all memory.
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
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=2) as response:
                return response.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0


class Downtime:
    """A poll of /health, twenty times a second during a block; ``seconds`` is the time without an answer."""

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
    """Print one line for a check. The first check that fails ends the test with the output ``shown``."""
    sys.stdout.write(f"{'ok  ' if holds else 'FAIL'}  {what}\n")
    sys.stdout.flush()
    if not holds:
        sys.exit(shown or 1)


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.5)


@contextlib.contextmanager
def engine_with_vllm(name: str) -> Iterator[tuple[Path, Engine]]:
    """Provide a directory and a Docker Engine with the image of vLLM, and remove both afterwards."""
    home = Path(tempfile.mkdtemp(prefix=f"multigpu-vllm-{name}-"))
    try:
        with Engine(home / "engine") as engine:
            entry, tag = 'ENTRYPOINT ["vllm","serve"]', f"vllm/vllm-openai:v{VERSION}"
            engine.docker("import", "--change", entry, "-", tag, stdin=image.tree(VERSION))
            yield home, engine
    finally:
        shutil.rmtree(home, ignore_errors=True)
