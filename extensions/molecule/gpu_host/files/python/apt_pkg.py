# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import types

CURSTATE_INSTALLED = 6
config = types.SimpleNamespace(find_file=str, find_dir=str)


def version_compare(one: str, other: str) -> int:
    return (one > other) - (one < other)


def get_architectures() -> list[str]:
    return ["amd64"]


class Policy:
    def __init__(self, cache: object) -> None:
        self._pins: dict[str, str] = {}

    def read_pinfile(self, path: str) -> None:
        pass

    read_pindir = read_pinfile

    def create_pin(self, kind: str, name: str, version: str, priority: int) -> None:
        self._pins[name] = version

    def get_candidate_ver(self, package: object) -> types.SimpleNamespace:
        return types.SimpleNamespace(ver_str=self._pins.get(package.name, package.candidate))
