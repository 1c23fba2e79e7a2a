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

TREE = Path(__file__).resolve().parents[5]
SOURCE = TREE / "tests/support/gpu_access.c"
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

    def __init__(self, libraries: Path, shared: Path, fault: str) -> None:
        self.environment = {"LD_LIBRARY_PATH": str(libraries), "FAKE_DIR": str(shared), "FAKE_FAULT": fault}

    def complete(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str] | None = None,
        timeout: float = 30,
        joined: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        return super().complete([argv[0], "-c", STARTER, *argv[1:]], self.environment, timeout, joined)


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.insert(0, str(TREE / "roles/simulated_node/files/simulator"))
    from emulator import build

    folder = tmp_path_factory.mktemp("libraries")
    library = folder / "libcuda.so.1"
    command = [*build.compiler(), "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, "-o", str(library), str(SOURCE)], check=True, stdin=subprocess.DEVNULL)
    (folder / "libnccl.so.2").symlink_to(library)
    return folder


@pytest.fixture
def fake_gpus(libraries: Path, tmp_path: Path) -> Callable[[str], Commands]:
    return lambda fault: FakeGpus(libraries, tmp_path, fault)
