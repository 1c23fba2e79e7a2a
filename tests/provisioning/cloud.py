# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One customer of the simulated API, and the commands that a test runs for it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from fake_linode import Account, FakeLinode
from faults import Fault, FaultPlan
from front import Front
from module_process import run_module

ROOT = Path(__file__).parents[2]
#: Lines to print at the end of the run, added by tests.
FIGURES: list[str] = []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Cloud:
    """The API for one customer. ``token`` must not appear in any output."""

    front: Front
    account: Account
    plan: FaultPlan
    fake: FakeLinode
    folder: Path
    token: str
    outputs: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.front.url}/v4"

    def add_faults(self, *faults: Fault) -> None:
        self.plan.faults += faults

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return {
            **kept,
            "LINODE_API_TOKEN": self.token,
            "LINODE_API_URL": self.url,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            **more,
        }

    def module(self, name: str, **options: object) -> dict:
        """Run a module as Ansible would, in a separate process; return its result and ``rc``."""
        output = self.folder / f"{secrets.token_hex(4)}.out"
        code, text = run_module(name, options, self.environment(), output)
        self.outputs.append(text)
        lines = [line for line in text.splitlines() if line.startswith("{")]
        assert lines, text
        return {**json.loads(lines[-1]), "rc": code}

    def leaks(self) -> list[str]:
        """Return the outputs that contain the token."""
        return [text for text in self.outputs if self.token in text]

    def start_playbook(self, name: str, options: dict, **environment: str) -> subprocess.Popen:
        """Start a playbook in a separate process group."""
        path = self.folder / "options.yml"
        path.write_text(json.dumps(options))
        tool = Path(sys.executable).parent / "ansible-playbook"
        command = [str(tool), "-i", "localhost,", "-e", f"@{path}", f"playbooks/{name}.yml"]
        return subprocess.Popen(
            command, env=self.environment(**environment), cwd=ROOT, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def add_firewall(self, **body: object) -> dict:
        """Add a firewall of someone else."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return self.fake.handle("POST", "/v4/networking/firewalls", headers, json.dumps(body).encode()).body

    def ansible(self, *command: str, **environment: str) -> subprocess.CompletedProcess:
        tool = Path(sys.executable).parent / command[0]
        done = subprocess.run(
            [str(tool), *command[1:]], env=self.environment(**environment), cwd=ROOT, capture_output=True, text=True,
            timeout=280, check=False,
        )  # fmt: skip
        self.outputs += [done.stdout, done.stderr]
        return done


def new_cloud(api, folder: Path) -> Cloud:
    """Create a customer with an empty account."""
    front, fake = api
    token = secrets.token_hex(32)
    cloud = Cloud(front, Account(), FaultPlan(), fake, folder, token)
    fake.accounts[token], front.plans[token] = cloud.account, cloud.plan
    return cloud
