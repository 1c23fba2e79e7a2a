# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import path of the simulator, and fixtures that start nodes and stop them after the tests."""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import typing as t
from collections.abc import Callable, Iterator

import pytest

ROLE = pathlib.Path(__file__).parents[4] / "roles" / "simulated_node"
SIMULATOR = ROLE / "files" / "simulator"
sys.path.insert(0, str(SIMULATOR))

Node = dict[str, t.Any]
StartNode = Callable[..., Node]


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the simulator's command line, as the role does."""
    return subprocess.run(
        [sys.executable, str(SIMULATOR / "simulate.py"), *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("library")


@pytest.fixture(scope="module")
def start_node(tmp_path_factory: pytest.TempPathFactory, cache_dir: pathlib.Path) -> Iterator[StartNode]:
    """Return a function that starts a node: ``start_node("healthy-tp4", "--vllm-version", "0.27.0")``."""
    started: list[pathlib.Path] = []

    def start(scenario: str, *more: str) -> Node:
        directory = tmp_path_factory.mktemp(scenario)
        started.append(directory)
        done = simulate("start", "--scenario", scenario, "--dir", str(directory), "--cache-dir", str(cache_dir), *more)
        assert done.returncode == 0, done.stderr
        return t.cast(Node, json.loads(done.stdout))

    yield start
    with concurrent.futures.ThreadPoolExecutor() as executor:
        for done in executor.map(lambda directory: simulate("stop", "--dir", str(directory)), started):
            assert done.returncode == 0, done.stderr


def nvml(lib_dir: str, code: str) -> t.Any:
    """Run ``code`` with the unmodified nvidia-ml-py as ``n`` on a node's library; return its variable ``result``."""
    script = f"import json, pynvml as n\n{code}\nprint(json.dumps(result))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "LD_LIBRARY_PATH": lib_dir},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="session", name="simulate")
def simulate_fixture() -> Callable[..., subprocess.CompletedProcess[str]]:
    return simulate


@pytest.fixture
def read_nvml() -> Callable[[str, str], t.Any]:
    return nvml
