# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Select the backend (NVML or nvidia-smi) that reads the facts about a node's GPUs."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Collection, Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import Device
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.nvml import open_nvml
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.smi import SmiReader


class Reader(t.Protocol):
    """Interface of the backends ``NvmlReader`` and ``SmiReader``."""

    backend: str

    def count(self) -> int: ...

    def versions(self) -> dict[str, str | None]: ...

    def devices(self, subsets: Collection[str]) -> list[Device]: ...

    def topology(self) -> dict[str, t.Any]: ...

    def sample(self) -> list[dict[str, t.Any]]: ...

    def close(self) -> None: ...


BACKENDS: t.Final[dict[str, Callable[[], Reader]]] = {"nvml": open_nvml, "nvidia_smi": SmiReader}


def open_reader(backend: str = "auto", backends: Mapping[str, Callable[[], Reader]] | None = None) -> Reader:
    """Open and return a reader for GPU facts. ``backend`` is ``nvml``, ``nvidia_smi`` or ``auto``.

    ``auto`` selects NVML, or nvidia-smi if NVML's Python bindings or library are missing.

    :raises GpuUnavailable: if the GPUs cannot be read; with the reason ``no_driver`` if neither backend is installed.
    """
    backends = backends or BACKENDS
    if backend != "auto":
        return backends[backend]()
    try:
        return backends["nvml"]()
    except GpuUnavailable as first:
        if first.reason not in ("bindings_missing", "no_driver"):
            raise
        try:
            return backends["nvidia_smi"]()
        except GpuUnavailable as second:
            if second.reason == "smi_missing":
                raise GpuUnavailable("no_driver", first.detail) from second
            raise second from first
