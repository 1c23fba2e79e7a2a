# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test role gpu_host on a bare Debian 12 in a container.

Real: apt with its indexes, signatures and pins, pip, the modules, two runs. Simulated: the content of NVIDIA's and
Docker's packages, modprobe, systemctl, /proc. Not tested: building the module for a kernel, a real GPU, and a reboot.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(ROOT / "roles/simulated_node/files/simulator"))

import simulate  # noqa: E402
from emulator import build  # noqa: E402
from emulator.scenario import Scenario  # noqa: E402
from engine import Engine  # noqa: E402
from node import Played, check  # noqa: E402

BASE = ROOT / ".cache/deployment/bookworm-ssh.tar"
TREE = ("python3", "python3-venv", "python3-apt", "python3-debian", "ca-certificates", "openssh-server")
SCENARIO = "healthy-tp4"
LOADED = "NVRM version: NVIDIA UNIX {} 580.82.07  Release Build\n"
OPEN, PROPRIETARY = LOADED.format("Open Kernel Module for x86_64 "), LOADED.format("x86_64 Kernel Module ")

MODPROBE = f"""#!/bin/sh
echo "modprobe $*" >>/fake/log
mkdir -p /fake/proc/driver/nvidia
printf '%s' '{OPEN}' >/fake/proc/driver/nvidia/version
"""
SYSTEMCTL = """#!/bin/sh
case "$1" in
    show) printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n' ;;
    is-enabled) echo enabled ;;
    is-active) echo active ;;
    *) echo "systemctl $*" >>/fake/log ;;
esac
"""
CTK = """#!/bin/sh
echo "nvidia-ctk $*" >>/fake/log
mkdir -p /etc/docker
echo '{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}' >/etc/docker/daemon.json
"""


def base_tree() -> Path:
    """Return the path of a bare Debian 12 as a tar archive, which is created once."""
    if not BASE.exists():
        BASE.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as directory:
            options = ["--variant=minbase", f"--include={','.join(TREE)}"]
            mirror = "http://deb.debian.org/debian"
            subprocess.run(["debootstrap", *options, "bookworm", directory, mirror], check=True, capture_output=True)
            subprocess.run(["tar", "-C", directory, "-cf", str(BASE), "."], check=True)
    return BASE


class Repositories:
    """Three package repositories and a directory of wheels in ``home``, mounted in the container as /repo."""

    def __init__(self, home: Path, kernel: str) -> None:
        self.home = home
        cuda, toolkit = home / "cuda/debian12/x86_64", home / "toolkit/stable/deb/amd64"
        for name in (f"linux-headers-{kernel}", "docker.io"):
            self.package(home / "base", name)
        source = "deb [trusted=yes] file:/repo/cuda/debian12/x86_64 /\n"
        self.package(cuda, "cuda-keyring", "1.1-1", {"etc/apt/sources.list.d/cuda.list": source})
        self.package(cuda, "nvidia-driver-pinning-580")
        self.package(cuda, "nvidia-open", "580.82.07-1", {"lib/systemd/system/nvidia-persistenced.service": "[Unit]\n"})
        for name in ("nvidia-container-toolkit-base", "libnvidia-container-tools", "libnvidia-container1"):
            self.package(toolkit, name, "1.18.2-1")
        # A newer version exists, to show that the pinned one is installed.
        for version in ("1.18.2-1", "1.19.0-1"):
            self.package(toolkit, "nvidia-container-toolkit", version, {"usr/bin/nvidia-ctk": CTK})
        for folder in (home / "base", cuda, toolkit):
            self.index(folder)
        self.sign(toolkit)
        pip = [str(ROOT / ".venv/bin/python"), "-m", "pip", "download", "--quiet", "--dest", str(home / "wheels")]
        hashed = ["--require-hashes", "--requirement", str(ROOT / "roles/gpu_host/files/requirements.txt")]
        subprocess.run([*pip, *hashed], check=True, capture_output=True)
        keyring = (cuda / "cuda-keyring_1.1-1_all.deb").read_bytes()
        #: Variables of role gpu_host for these repositories.
        self.variables = {
            "gpu_host_cuda_repository": "file:///repo/cuda",
            "gpu_host_cuda_keyring_sha256": {"debian12/x86_64": hashlib.sha256(keyring).hexdigest()},
            "gpu_host_container_toolkit_repository": "file:///repo/toolkit",
            "gpu_host_container_toolkit_key_fingerprint": self.fingerprint,
        }

    def package(self, folder: Path, name: str, version: str = "1.0-1", files: dict[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as directory:
            for path, text in {**(files or {}), "DEBIAN/control": self.control(name, version)}.items():
                target = Path(directory) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, "utf-8")
                target.chmod(0o755 if path.startswith("usr/bin/") else 0o644)
            Path(directory).chmod(0o755)
            target = folder / f"{name}_{version}_all.deb"
            subprocess.run(["dpkg-deb", "--build", directory, str(target)], check=True, capture_output=True)

    @staticmethod
    def control(name: str, version: str) -> str:
        return f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: test\nDescription: stand-in\n"

    @staticmethod
    def index(folder: Path) -> None:
        entries = []
        for path in sorted(folder.glob("*.deb")):
            name, version = path.name.split("_")[:2]
            digest, size = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
            entries.append(
                f"{Repositories.control(name, version)}Filename: ./{path.name}\nSize: {size}\nSHA256: {digest}\n"
            )
        packages = "\n".join(entries)
        (folder / "Packages").write_text(packages, "utf-8")
        digest = hashlib.sha256(packages.encode()).hexdigest()
        release = f"Date: Mon, 23 Nov 2026 10:00:00 UTC\nSHA256:\n {digest} {len(packages.encode())} Packages\n"
        (folder / "Release").write_text(release, "utf-8")

    def sign(self, folder: Path) -> None:
        with tempfile.TemporaryDirectory() as keys:
            gpg = ["gpg", "--homedir", keys, "--batch", "--passphrase", "", "--pinentry-mode", "loopback"]
            generate = ["--quick-generate-key", "test@example.com", "rsa2048"]
            subprocess.run([*gpg, *generate], check=True, capture_output=True)
            exported = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True).stdout
            listed = subprocess.run([*gpg, "--with-colons", "--list-keys"], check=True, capture_output=True, text=True)
            self.fingerprint = listed.stdout.split("fpr:", 1)[1].split("\n")[0].strip(":")
            (self.home / "toolkit/gpgkey").write_bytes(exported)
            signing = ["--output", str(folder / "InRelease"), "--clearsign", str(folder / "Release")]
            subprocess.run([*gpg, *signing], check=True, capture_output=True)
            subprocess.run(["gpgconf", "--homedir", keys, "--kill", "all"], check=False, capture_output=True)


class Host:
    """The container, and runs of the role on it."""

    def __init__(self, home: Path, engine: Engine) -> None:
        self.home, self.engine = home, engine
        node, repo = home / "node", home / "repo"
        scenario = Scenario.load(SCENARIO)
        simulate.prepare(node, scenario, "node", build.default_cache())
        repositories = Repositories(repo, os.uname().release)
        with base_tree().open("rb") as tree:
            subprocess.run(
                ["docker", "import", "-", "debian:bare"],
                env=engine.environment,
                stdin=tree,
                check=True,
                capture_output=True,
            )
        mounts = ["--volume", f"{repo}:/repo:ro", "--volume", f"{node}:/node"]
        variables = ["--env", "PIP_NO_INDEX=1", "--env", "PIP_FIND_LINKS=/repo/wheels"]
        engine.docker("run", "--detach", "--name", "host", *mounts, *variables, "debian:bare", "sleep", "infinity")
        self.write("/etc/apt/sources.list", "deb [trusted=yes] file:/repo/base ./\n")
        self.write("/fake/proc/modules", "ext4 1 2 - Live 0x0\n")
        self.write("/usr/sbin/modprobe", MODPROBE)
        self.write("/usr/bin/systemctl", SYSTEMCTL)
        self.inventory = home / "hosts.json"
        hosts = {
            "host": {
                "ansible_connection": "community.docker.docker",
                "ansible_user": "root",
                "gpu_host_instance_type": scenario.plan,
                **repositories.variables,
                "gpu_host_module_environment": {"LD_LIBRARY_PATH": "/node/lib"},
            }
        }
        self.inventory.write_text(json.dumps({"all": {"hosts": hosts}}), "utf-8")

    def write(self, path: str, text: str) -> None:
        script = f"mkdir -p $(dirname {path}) && cat >{path} && chmod 755 {path}"
        self.engine.docker("exec", "--interactive", "host", "sh", "-c", script, stdin=text.encode())

    def read(self, path: str) -> str:
        return self.engine.docker("exec", "host", "cat", path, check=False)

    def play(self, **variables: object) -> Played:
        extra = self.home / "extra.json"
        extra.write_text(json.dumps({"_gpu_host_proc": "/fake/proc", **variables}), "utf-8")
        command = [
            str(ROOT / ".venv/bin/ansible-playbook"),
            "-i",
            str(self.inventory),
            str(ROOT / "playbooks/prepare.yml"),
        ]
        environment = {
            **self.engine.environment,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_BECOME": "false",
        }
        done = subprocess.run(
            [*command, "-e", f"@{extra}"], cwd=self.home, env=environment, capture_output=True, text=True, check=False
        )
        return Played(done.returncode, done.stdout + done.stderr)

    def installed(self, name: str) -> str:
        shown = ["dpkg-query", "--show", "--showformat=${Version}", name]
        return self.engine.docker("exec", "host", *shown, check=False)


def wrong_checksums(host: Host) -> None:
    """Refuse a package, a key and a wheel that are not the expected ones."""
    wrong = {"debian12/x86_64": "0" * 64}
    played = host.play(gpu_host_cuda_keyring_sha256=wrong)
    refused = played.code != 0 and "0" * 64 in played.output and not host.installed("cuda-keyring").startswith("1")
    check("a cuda-keyring with another checksum is not installed", refused, played.output)
    played = host.play(gpu_host_cuda_keyring_sha256={})
    check("  or with an unknown one", played.code != 0 and "gpu_host_cuda_keyring_sha256" in played.output)
    played = host.play(gpu_host_container_toolkit_key_fingerprint="0" * 40)
    refused = played.code != 0 and not host.installed("nvidia-container-toolkit").startswith("1")
    check("a toolkit repository signed by another key is not used", refused, played.output)
    wheels = host.home / "wrong.txt"
    pinned = (ROOT / "roles/gpu_host/files/requirements.txt").read_text("utf-8")
    wheels.write_text(re.sub(r"(idna==\S+ \\\n\s+--hash=sha256:)\w+", rf"\g<1>{'0' * 64}", pinned), "utf-8")
    played = host.play(gpu_host_python_requirements=str(wheels))
    refused = played.code != 0 and "DO NOT MATCH THE HASHES" in " ".join(played.output.split())
    check("a wheel with another hash is not installed", refused, played.output)


def bare_host(host: Host) -> None:
    played = host.play()
    check("a bare Debian 12 gets driver, Docker, toolkit and Python", played.code == 0, played.output)
    log = host.read("/fake/log")
    check("  the module is loaded without a reboot", "modprobe nvidia" in log, log)
    check(
        "  Docker is restarted once with NVIDIA's runtime",
        log.count("restart docker") == 1 and "nvidia-ctk" in log,
        log,
    )
    version = host.installed("nvidia-container-toolkit")
    check(f"  the toolkit is the pinned version ({version})", version == "1.18.2-1")
    check("  the branch is pinned", host.installed("nvidia-driver-pinning-580") == "1.0-1")
    played = host.play()
    check("the second run changes nothing", played.code == 0 and played.changed == 0, played.output)


def not_as_promised(host: Host) -> None:
    played = host.play(gpu_host_expected_gpu_count=8)
    check(
        "missing GPUs fail with their number",
        played.code != 0 and "4" in played.output and "8" in played.output,
        played.output,
    )
    host.write("/fake/proc/driver/nvidia/version", PROPRIETARY)
    played = host.play(gpu_host_replace_driver=False)
    refused = played.code != 0 and "gpu_host_replace_driver: true" in played.output and played.changed == 0
    check("proprietary modules are refused with a way out", refused, played.output)


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="multigpu-vllm-host-"))
    try:
        with Engine(home / "engine") as engine:
            host = Host(home, engine)
            wrong_checksums(host)
            bare_host(host)
            not_as_promised(host)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
