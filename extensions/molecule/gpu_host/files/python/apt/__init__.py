# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand in for python3-apt in Ansible's modules apt and package_facts, with the packages of the simulated host."""

from __future__ import annotations

import os
import types
from collections.abc import Iterator

from machine import Machine

from apt import cache, debfile

__all__ = ["Cache", "cache", "debfile"]


def _version(text: str) -> types.SimpleNamespace:
    origin = types.SimpleNamespace(origin="scenario")
    return types.SimpleNamespace(version=text, architecture="all", section="misc", origins=[origin])


class Package:
    """A package with the attributes of both ``apt.Package`` and ``apt_pkg.Package``."""

    installed_files: tuple[str, ...] = ()

    def __init__(self, name: str, installed: str | None, candidate: str) -> None:
        self.name, self.candidate = name, candidate
        self.is_installed = installed is not None
        self.installed = _version(installed) if installed else None
        self.current_state = 6 if installed else 0


class Cache:
    """A cache in which every name is a package that can be installed."""

    def __init__(self) -> None:
        self._machine = Machine(os.environ["FAKE_HOST"])
        self._cache = self

    def __getitem__(self, name: str) -> Package:
        name = name.partition(":")[0]
        return Package(name, self._machine.packages.get(name), self._machine.version_of(name))

    def __iter__(self) -> Iterator[Package]:
        return (self[name] for name in self.keys())

    def keys(self) -> list[str]:
        return list(self._machine.packages)

    def update(self) -> None:
        pass

    def open(self, progress: object = None) -> None:
        pass
