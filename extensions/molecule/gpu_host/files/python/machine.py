# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a simulated host, kept in ``machine.json`` of its directory."""

from __future__ import annotations

import json
import pathlib

LOADED = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release Build\n"
DRIVER = "580.82.07"
#: Versions of packages; every other package has 1.0-1.
VERSIONS = {"cuda-keyring": "1.1-1", "nvidia-container-toolkit": "1.20.1-1"}


class Machine:
    def __init__(self, home: str) -> None:
        self.home = pathlib.Path(home)
        state = json.loads((self.home / "machine.json").read_text("utf-8"))
        self.packages: dict[str, str] = state["packages"]
        self.driver: str | None = state["driver"]
        self.gpus: int = state["gpus"]

    def save(self) -> None:
        state = {"packages": self.packages, "driver": self.driver, "gpus": self.gpus}
        (self.home / "machine.json").write_text(json.dumps(state), "utf-8")

    def note(self, line: str) -> None:
        with (self.home / "log").open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")

    def version_of(self, name: str) -> str:
        return VERSIONS.get(name, "1.0-1")

    def load_driver(self) -> None:
        """Load the kernel module of the installed packages, as a reboot or modprobe does."""
        (self.home / "proc/modules").write_text("ext4 1 2 - Live 0x0\n", "utf-8")
        if "nvidia-open" not in self.packages:
            return
        self.driver = DRIVER
        version = self.home / "proc/driver/nvidia/version"
        version.parent.mkdir(parents=True, exist_ok=True)
        version.write_text(LOADED, "utf-8")
        (self.home / "proc/modules").write_text("nvidia 1 2 - Live 0x0\next4 1 2 - Live 0x0\n", "utf-8")
        self.save()
