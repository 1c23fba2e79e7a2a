# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provision a fleet, find it with the inventory plugin and delete it, without an account and without cost.

    python scripts/demo_provision.py

This process simulates the Linode API. If Prism is installed (by tests/provisioning/run.sh), every request is validated
against Linode's API document. The exit code is 0 if everything worked and nothing is left.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "provisioning"))

import prism  # noqa: E402
from fake_linode import Account, FakeLinode  # noqa: E402
from front import Front, serve_fake  # noqa: E402

#: Loopback addresses of the simulated Linodes, so that an SSH server can be simulated too.
ADDRESSES = "127.77.0.{}"


def greet_like_ssh(listener: socket.socket) -> None:
    """Greet every client like an SSH server, then close the connection."""
    while True:
        try:
            connection, _address = listener.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"SSH-2.0-demo\r\n")


def listen(stack: ExitStack) -> int:
    """Listen on the first addresses and return the port."""
    port = 0
    for number in range(1, 13):
        listener = stack.enter_context(socket.create_server((ADDRESSES.format(number), port)))
        port = listener.getsockname()[1]
        threading.Thread(target=greet_like_ssh, args=(listener,), daemon=True).start()
    return port


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> int:
    token = secrets.token_hex(32)
    account = Account(boot_seconds=4.0, delete_seconds=1.0, addresses=ADDRESSES)
    fake = FakeLinode({token: account})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        prism_url = None
        if prism.available():
            upstream = stack.enter_context(serve_fake(fake))
            prism_url = stack.enter_context(prism.Prism(upstream.url, free_port(), folder))
        front = stack.enter_context(Front(fake, prism_url))
        extra = {"demo_provision_ssh_port": listen(stack), "demo_provision_state_dir": folder / "state"}
        command = [str(Path(sys.executable).parent / "ansible-playbook")]
        command += [part for name, value in extra.items() for part in ("-e", f"{name}={value}")]
        tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": tools, "LINODE_API_TOKEN": token, "LINODE_API_URL": f"{front.url}/v4"}
        done = subprocess.run(
            [*command, *sys.argv[1:], str(ROOT / "playbooks" / "demo_provision.yml")],
            env={**environment, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
            cwd=ROOT,
            check=False,
        )
        violations = f"{len(front.violations)} violations of Linode's API document"
        result = violations if prism_url else "their form was not tested, because Prism is not installed"
        print(f"{front.requests} requests, {result}")
        left = [*account.labels(), *(item["label"] for item in account.firewalls.values())]
        print(f"Left in the account: {', '.join(left) or 'nothing'}")
        return done.returncode or int(bool(left or front.violations))


if __name__ == "__main__":
    sys.exit(main())
