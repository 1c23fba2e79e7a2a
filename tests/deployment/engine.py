# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker Engine of our own for the time of a ``with`` block: own data, socket and bridge, nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

#: Seconds until the engine answers; 1 to 2 on an idle machine.
START_LIMIT = 60
STOP_LIMIT = 30
#: The engine's own bridge, so that a docker0 that was there before is neither used nor removed.
BRIDGE = "multigpu0"
NETWORK = "172.31.255.1/24"


class Engine:
    """``dockerd`` of the distribution's package, run by root without systemd."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = home / "docker.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._rules: bytes | None = None
        self._forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text("utf-8")

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "DOCKER_HOST": self.url}

    def __enter__(self) -> Engine:
        if Path(f"/sys/class/net/{BRIDGE}").exists():
            raise RuntimeError(f"another run of this test is under way; after a killed one: ip link delete {BRIDGE}")
        self.home.mkdir(parents=True, exist_ok=True)
        self._rules = _save_rules()
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "address", "add", NETWORK, "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
        try:
            with (self.home / "dockerd.log").open("wb") as log:
                self._process = subprocess.Popen(
                    [
                        *("dockerd", "--data-root", str(self.home / "data"), "--exec-root", str(self.home / "exec")),
                        *("--pidfile", str(self.home / "docker.pid"), "--host", self.url, "--bridge", BRIDGE),
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
        _run("ip", "link", "delete", BRIDGE, check=False)
        if self._rules is not None:
            _restore_rules(self._rules)
        Path("/proc/sys/net/ipv4/ip_forward").write_text(self._forwarding, "utf-8")
        shutil.rmtree(self.home, ignore_errors=True)

    def docker(self, *arguments: str, stdin: bytes | None = None, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", *arguments], env=self.environment, input=stdin, capture_output=True, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")

    def _fake_gpu_hook(self) -> Path:
        """Directory of a program that Docker takes for NVIDIA's: it grants every request for GPUs and does nothing."""
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
        raise RuntimeError(f"dockerd does not answer:\n{tail}")


def _run(*argv: str, check: bool = True) -> None:
    subprocess.run(argv, check=check, capture_output=True)


def _save_rules() -> bytes:
    return subprocess.run(["iptables-save"], check=True, capture_output=True).stdout


def _restore_rules(rules: bytes) -> None:
    """Back to the rules from before: tables that did not exist then are emptied, with chains and policies."""
    for table in ("filter", "nat", "mangle", "raw"):
        if f"*{table}".encode() in rules or f"*{table}" not in _save_rules().decode():
            continue
        for chain in ("INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING"):
            _run("iptables", "-t", table, "-P", chain, "ACCEPT", check=False)
        _run("iptables", "-t", table, "-F")
        _run("iptables", "-t", table, "-X")
    if rules:
        subprocess.run(["iptables-restore"], input=rules, check=True, capture_output=True)
