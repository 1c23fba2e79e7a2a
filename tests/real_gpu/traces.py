# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record real loads with the collection's sampler and evaluate the rules on them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
from collections.abc import Iterator, Mapping
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.reader import open_reader
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.sampler import GpuSampler
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import hardware, memory, utilisation
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

HERE = Path(__file__).resolve().parent


@contextlib.contextmanager
def running(
    name: str, ranks: int, environment: Mapping[str, str] | None = None, script: str = "loads.py"
) -> Iterator[list[Path]]:
    """Run a load with one process per GPU; yields the output files of the ranks. Kills the processes at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks), **(environment or {})}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"rank{rank}.log") for rank in range(ranks)]
        processes = []
        try:
            for rank, file in enumerate(files):
                with file.open("w") as log:
                    processes.append(
                        subprocess.Popen(
                            [sys.executable, str(HERE / script), name],
                            env={**os.environ, **shared, "RANK": str(rank)},
                            stdout=log,
                            stderr=subprocess.STDOUT,
                        )
                    )
            deadline = time.monotonic() + 90
            while not all("ready" in file.read_text() for file in files):
                if any(process.poll() for process in processes) or time.monotonic() > deadline:
                    raise RuntimeError(f"{name}: " + "\n".join(file.read_text()[-1500:] for file in files))
                time.sleep(0.1)
            yield files
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                process.wait()


def steps_per_second(file: Path) -> float | None:
    lines = [line.split() for line in file.read_text().splitlines() if line.startswith("steps")]
    return int(lines[-1][1]) / float(lines[-1][3]) if lines else None


def record(seconds: float, interval: float = 0.1) -> dict[str, t.Any]:
    """Return the samples of a period of ``seconds``."""
    reader = open_reader("nvml")
    try:
        sampler = GpuSampler(reader, interval)
        sampler.start()
        sampler.wait(seconds)
        return sampler.stop()
    finally:
        reader.close()


def columns(recording: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return samples as one list per reading, a tenth of the size; ``tests/support/recorded.py`` restores samples."""
    samples = recording["samples"]
    gpus = []
    for place, first in enumerate(samples[0]["gpus"]):
        rows = [sample["gpus"][place] for sample in samples]
        gpus.append({key: first[key] if key == "index" else _short([row[key] for row in rows]) for key in first})
    return {"time": [round(sample["time"], 3) for sample in samples], "gpus": gpus}


def _short(values: list[t.Any]) -> t.Any:
    """Return ``{"always": value}`` if all values are equal, else the list."""
    equal = all(value == values[0] for value in values)
    return {"always": values[0]} if equal else values


def judge(trace: Mapping[str, t.Any], facts: Mapping[str, t.Any], size: int | None) -> list[dict[str, t.Any]]:
    """Return the findings of the rules that use samples, for a server with a tensor parallel size of ``size``."""
    results = {
        "gpu": {"ansible_facts": {"gpu": facts}, "findings": []},
        "tensor_parallel": {"tensor_parallel_size": size, "findings": []},
        "load": {"gpu_samples": dict(trace), "results": [], "findings": []},
    }
    node = NodeFacts.from_results("node", results)
    return [item.as_dict() for rules in (utilisation, memory, hardware) for item in rules.evaluate(node)]
