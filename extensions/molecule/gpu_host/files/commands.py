# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulate the commands of a GPU host that would change it. Each command is a script that runs this file.

The state of a host is in the directory ``FAKE_HOST``: ``machine.json`` (packages, loaded driver), ``proc`` and ``log``,
which has a line for each change. A change in the wrong order fails as the real command would.
"""

from __future__ import annotations

import os
import pathlib
import sys
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "python"))

from machine import Machine

GPU = "<gpu id='0'><product_name>NVIDIA RTX 4000 Ada Generation</product_name></gpu>"
SERVICE = "[Service]\nExecStart=/usr/bin/nvidia-persistenced\n"
SETTINGS = '{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}\n'


def apt_get(machine: Machine, words: list[str]) -> None:
    chosen = [word for before, word in zip(["", *words], words, strict=False) if word[0] != "-" and before != "-o"]
    # Default versions are left out of the log.
    operation, packages = chosen[0], [word.strip("'\"").removesuffix("=1.0-1") for word in chosen[1:]]
    if operation == "update":
        return
    machine.note(" ".join(["apt-get", operation, *packages]))
    for package in packages:
        name, _unused, version = package.partition("=")
        if operation == "remove":
            machine.packages.pop(name, None)
        else:
            machine.packages[name] = version or machine.version_of(name)
    if "nvidia-open" in packages and operation == "install":
        if not any(name.startswith("linux-headers-") for name in machine.packages):
            sys.exit("dkms: no headers for any kernel")
        if not any(name.startswith("nvidia-driver-pinning-") for name in machine.packages):
            sys.exit("no branch is pinned: this would install the newest driver")
        unit = pathlib.Path("/etc/systemd/system/nvidia-persistenced.service")
        unit.parent.mkdir(parents=True, exist_ok=True)
        unit.write_text(SERVICE, "utf-8")
    if "docker.io" in packages and operation == "install":
        (machine.home / "units/docker").write_text("enabled active", "utf-8")
    machine.save()


def apt_mark(_machine: Machine, _words: list[str]) -> None:
    """Ignore the command, because the scenario does not test held packages."""


def dpkg(machine: Machine, words: list[str]) -> None:
    file = pathlib.PurePath(next(word for word in words if word.endswith(".deb")))
    name, version = file.name.split("_")[:2]
    if "--field" in words:
        sys.stdout.write({"Package": name, "Version": version}.get(words[-1], "") + "\n")
        return
    machine.note(f"dpkg --install {file}")
    machine.packages[name] = version
    machine.save()


def modprobe(machine: Machine, words: list[str]) -> None:
    machine.note("modprobe " + " ".join(words))
    machine.load_driver()


def shutdown(machine: Machine, _words: list[str]) -> None:
    machine.note("reboot")
    (machine.home / "proc/sys/kernel/random/boot_id").write_text(f"{uuid.uuid4()}\n", "utf-8")
    machine.load_driver()


def nvidia_smi(machine: Machine, words: list[str]) -> None:
    if not machine.driver:
        sys.exit("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.")
    if words != ["-q", "-x"]:
        sys.exit("topology: not supported")
    summary = f"<driver_version>{machine.driver}</driver_version><attached_gpus>{machine.gpus}</attached_gpus>"
    sys.stdout.write(f"<nvidia_smi_log>{summary}{GPU * machine.gpus}</nvidia_smi_log>\n")


def nvidia_ctk(machine: Machine, words: list[str]) -> None:
    machine.note("nvidia-ctk " + " ".join(words))
    settings = pathlib.Path("/etc/docker/daemon.json")
    settings.parent.mkdir(exist_ok=True)
    settings.write_text(SETTINGS, "utf-8")


def systemctl(machine: Machine, words: list[str]) -> None:
    """Read and write units, files in ``FAKE_HOST``/units with the words enabled, active or both."""
    name = [word for word in words[1:] if word[0] != "-"][-1]
    unit = machine.home / "units" / name.removesuffix(".service")
    state = unit.read_text("utf-8").split() if unit.exists() else []
    if words[0] == "show":
        active, enabled = ("active" in state, "enabled" in state)
        sys.stdout.write(f"LoadState=loaded\nActiveState={'active' if active else 'inactive'}\n")
        sys.stdout.write(f"UnitFileState={'enabled' if enabled else 'disabled'}\n")
    elif words[0] == "is-enabled":
        sys.stdout.write("enabled\n" if "enabled" in state else "disabled\n")
        sys.exit("enabled" not in state)
    elif words[0] == "is-active":
        sys.stdout.write("active\n" if "active" in state else "inactive\n")
        sys.exit("active" not in state)
    else:
        machine.note("systemctl " + " ".join(words))
        word = {"enable": "enabled", "start": "active", "restart": "active"}[words[0]]
        unit.write_text(" ".join({*state, word}), "utf-8")


if __name__ == "__main__":
    command = sys.argv[1].replace("-", "_")
    globals()[command](Machine(os.environ["FAKE_HOST"]), sys.argv[2:])
