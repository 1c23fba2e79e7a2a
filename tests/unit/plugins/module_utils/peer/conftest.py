# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compile the stand-in for the GPU driver and NCCL, and run the program with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands

SIMULATOR = Path(__file__).resolve().parents[5] / "roles/simulated_node/files/simulator"
sys.path.insert(0, str(SIMULATOR))
import simulate  # noqa: E402 it is a program of the simulator

#: Runs the program with the time of the stand-in, in which only its own transfers take time.
STARTER = """
import ctypes, runpy, sys, time
time.perf_counter = lambda: seconds()
library = ctypes.CDLL("libcuda.so.1")
library.fake_seconds.restype = ctypes.c_double
seconds = library.fake_seconds
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class FakeGpus(Commands):
    """Run the program with the stand-in."""

    def __init__(self, libraries: Path) -> None:
        self.environment = {"LD_LIBRARY_PATH": str(libraries)}

    def complete(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str] | None = None,
        timeout: float = 30,
        joined: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        return super().complete([argv[0], "-c", STARTER, *argv[1:]], self.environment, timeout, joined)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("libraries")


@pytest.fixture
def fake_gpus(cache: Path, tmp_path: Path) -> Callable[[str], Commands]:
    """Return a function that gives the commands of a simulated node with a fault between its GPUs."""

    def node(fault: str) -> Commands:
        simulate.prepare_peer_access(tmp_path, fault, cache)
        return FakeGpus(tmp_path)

    return node
