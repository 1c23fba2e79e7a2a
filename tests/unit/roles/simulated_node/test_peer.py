# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for the CUDA driver and NCCL of a node. The unit tests of p2p_check test its faults."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys

import simulate
from emulator.scenario import Scenario

FILES = {"libcuda.so.1", "libnccl.so.2", "peer-fault"}


def test_node_has_the_driver_and_the_fault_of_its_scenario(tmp_path: pathlib.Path, cache_dir: pathlib.Path) -> None:
    plain = Scenario.load("healthy-tp2")
    for fault in ("mirror:1-0", "", None):
        scenario = dataclasses.replace(plain, peer_fault=fault)
        simulate.prepare(tmp_path, scenario, "node", cache_dir)
        present = {path.name for path in (tmp_path / "lib").iterdir()} & FILES
        assert present == (set() if fault is None else FILES)
        if fault is not None:
            assert (tmp_path / "lib/peer-fault").read_text("utf-8") == fault


def test_driver_removes_the_memory_of_ended_processes(tmp_path: pathlib.Path, cache_dir: pathlib.Path) -> None:
    simulate.prepare_peer_access(tmp_path, "", cache_dir)
    (tmp_path / "peer").mkdir()
    ended = subprocess.Popen(["true"])
    ended.wait()
    names = [f"{kind}-{pid}-0" for pid in (ended.pid, os.getpid()) for kind in ("memory-1", "group")]
    for name in (*names, "other"):
        (tmp_path / "peer" / name).touch()
    code = f"import ctypes; ctypes.CDLL('{tmp_path}/libcuda.so.1').cuInit(0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {path.name for path in (tmp_path / "peer").iterdir()} == {*names[2:], "other"}
