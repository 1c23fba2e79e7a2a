# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures with recordings of a real H100, and nodes of several GPUs built from them."""

from __future__ import annotations

import json
import types
import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.tests.support.recorded import FIXTURES

NVML = FIXTURES / "nvml"
Calls = dict[str, t.Any]


class NVMLError(Exception):
    """The exception of nvidia-ml-py: ``value`` is the error code."""

    def __init__(self, value: int, message: str = "") -> None:
        super().__init__(message or f"NVML error {value}")
        self.value = value


class Handle:
    """Opaque handle of a GPU, with the repr that recordings use."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __repr__(self) -> str:
        return f"gpu{self.index}"


class RecordedNvml:
    """Imitation of the module pynvml that returns the recorded ``calls``; ``stopped`` counts the shutdowns."""

    NVMLError = NVMLError

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.stopped = 0

    def nvmlInit(self) -> None:
        self._answer("nvmlInit()") if "nvmlInit()" in self.calls else None

    def nvmlShutdown(self) -> None:
        self.stopped += 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Handle:
        key = f"nvmlDeviceGetHandleByIndex({index})"
        return self._answer(key) if key in self.calls else Handle(index)

    def __getattr__(self, name: str) -> Callable[..., t.Any]:
        if not name.startswith("nvml"):
            raise AttributeError(name)
        return lambda *args: self._answer(f"{name}({', '.join(map(repr, args))})")

    def _answer(self, key: str) -> t.Any:
        value = self.calls.get(key, {"error": 13, "message": "Function Not Found"})
        if isinstance(value, dict) and "error" in value:
            raise NVMLError(value["error"], value["message"])
        return _structure(value, key)


def _structure(value: t.Any, key: str) -> t.Any:
    if isinstance(value, dict):
        return types.SimpleNamespace(**{name: _structure(item, key) for name, item in value.items()})
    return [_structure(item, key) for item in value] if isinstance(value, list) else value


def recording(state: str, gpu: str = "h100") -> Calls:
    """Return the values that NVML returned on a real GPU; ``state`` is idle or load."""
    return json.loads((NVML / gpu / state / "nvml.json").read_text(encoding="utf-8"))


def several(calls: Calls, count: int, level: int = 30, p2p: int = 0) -> Calls:
    """Return a node of ``count`` GPUs like the one in ``calls``, with the same connection between all of them."""
    node = {key: value for key, value in calls.items() if "gpu0" not in key}
    for index in range(count):
        node.update({key.replace("gpu0", f"gpu{index}"): value for key, value in calls.items() if "gpu0" in key})
        node[f"nvmlDeviceGetUUID(gpu{index})"] = f"GPU-{index}"
        node[f"nvmlDeviceGetPciInfo(gpu{index})"] = {"busId": f"00000000:{index + 1:02x}:00.0"}
        for other in set(range(count)) - {index}:
            node[f"nvmlDeviceGetTopologyCommonAncestor(gpu{index}, gpu{other})"] = level
            node[f"nvmlDeviceGetP2PStatus(gpu{index}, gpu{other}, 0)"] = p2p
            node[f"nvmlDeviceGetP2PStatus(gpu{index}, gpu{other}, 1)"] = p2p
    node["nvmlDeviceGetCount()"] = count
    return node


@pytest.fixture
def recorded() -> Callable[..., Calls]:
    return recording


@pytest.fixture
def idle() -> Calls:
    return recording("idle")


@pytest.fixture
def loaded() -> Calls:
    return recording("load")


@pytest.fixture
def nvml() -> Callable[[Calls], RecordedNvml]:
    return RecordedNvml


@pytest.fixture
def node_of() -> Callable[..., Calls]:
    return several


@pytest.fixture
def recorded_smi() -> Callable[..., Callable[[list[str]], str]]:
    """Return a factory of ``run`` functions for the smi backend that replay the recording of ``state``."""
    names = {"-q": "nvidia-smi-q-x.xml", "-m": "nvidia-smi-topo-m.txt", "-p2p": "nvidia-smi-topo-p2p-r.txt"}

    def of(state: str, gpu: str = "h100") -> Callable[[list[str]], str]:
        def run(command: list[str]) -> str:
            name = next(file for option, file in names.items() if option in command)
            return (NVML / gpu / state / name).read_text(encoding="utf-8")

        return run

    return of
