# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A separate Docker Engine for a ``with`` block, with separate data, socket and bridge that are removed afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

#: Maximum start time in seconds; 1 to 2 on an idle machine.
START_LIMIT = 60
STOP_LIMIT = 30
#: Separate bridges, so that an existing docker0 is neither used nor removed; one for each engine that runs at the same
#: time.
BRIDGES = {f"multigpu{number}": f"172.31.{255 - number}.1/24" for number in range(8)}


class Engine:
    """``dockerd`` of the distribution's package, run by root without systemd.

    It does not change firewall rules: published ports use its proxy, and containers have no outgoing connections.
    """

    def __init__(self, home: Path, namespace: str | None = None) -> None:
        """Use the directory ``home``. In a network ``namespace``, the engine has no bridge."""
        self.home, self.namespace = home, namespace
        self.socket = home / "docker.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._bridge: str | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "DOCKER_HOST": self.url}

    def __enter__(self) -> Engine:
        self.home.mkdir(parents=True, exist_ok=True)
        enter = []
        if self.namespace:
            # ip netns exec would hide the control groups from Docker.
            enter = ["nsenter", f"--net=/run/netns/{self.namespace}"]
        else:
            self._bridge = _add_bridge()
        try:
            with (self.home / "dockerd.log").open("wb") as log:
                self._process = subprocess.Popen(
                    [
                        *(*enter, "dockerd", "--pidfile", str(self.home / "docker.pid")),
                        *("--data-root", str(self.home / "data"), "--exec-root", str(self.home / "exec")),
                        *("--host", self.url, "--bridge", self._bridge or "none"),
                        *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
                    ],
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "PATH": f"{self._fake_gpu_hook()}:{os.environ['PATH']}:/usr/sbin:/sbin"},
                    start_new_session=True,
                )
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                listed = self.docker("ps", "--all", "--quiet", check=False).split()
                if listed:
                    self.docker("rm", "--force", "--volumes", *listed, check=False)
                os.kill(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        if self._bridge is not None:
            _run("ip", "link", "delete", self._bridge, check=False)
        shutil.rmtree(self.home, ignore_errors=True)

    def docker(self, *arguments: str, stdin: bytes | None = None, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", *arguments], env=self.environment, input=stdin, capture_output=True, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")

    def _fake_gpu_hook(self) -> Path:
        """Create a program in place of NVIDIA's hook, which grants every request for GPUs, and return its directory."""
        directory = self.home / "bin"
        directory.mkdir(exist_ok=True)
        hook = directory / "nvidia-container-runtime-hook"
        hook.write_text("#!/bin/sh\nexit 0\n", "utf-8")
        hook.chmod(0o755)
        return directory

    def _wait(self) -> None:
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            if self.socket.exists() and self.docker("version", check=False).count("Version") > 1:
                return
            time.sleep(0.1)
        tail = "\n".join((self.home / "dockerd.log").read_text("utf-8", "replace").splitlines()[-15:])
        raise RuntimeError(f"dockerd does not respond:\n{tail}")


def _add_bridge() -> str:
    """Create a bridge and return its name. The kernel lets only one process create it."""
    for name, network in BRIDGES.items():
        if _run("ip", "link", "add", name, "type", "bridge", check=False).returncode == 0:
            _run("ip", "address", "add", network, "dev", name)
            _run("ip", "link", "set", name, "up")
            return name
    raise RuntimeError(f"all bridges are in use; after killed runs: ip link delete {next(iter(BRIDGES))}, ...")


def _run(*argv: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, check=check, capture_output=True)
