# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings of real GPUs, servers and kernels: ``tests/fixtures`` including those that cannot be stored as text.

Responses and logs with carriage returns are stored byte for byte in ``carriage-returns.zip``, because linters and
editors of text files would change or reject them. ``FIXTURES`` is a temporary folder with all of them:

- ``captures/vllm-VERSION-tp2-http/PROBE.txt``: request and raw response of a real vLLM (``.prom``: its metrics)
- ``captures/*.log``: complete server logs
- ``logs/*.log``, ``logs/labels.yaml``, ``logs/excerpts*.yml``: excerpts and their manually assigned labels
- ``group/*.log|json``: logs of two nodes with ``--nnodes 2`` in network namespaces, and what ``vllm_tp_check`` returned
- ``nvml/GPU/idle|load``: values that NVML returned (``scripts/capture_nvml.py``)
- ``traces/GPU/LOAD.json``: samples of real loads on two GPUs (``tests/real_gpu``); see ``trace``
- ``nccl/GPU/PROGRAM-PATH.log|json``: NCCL's log and nccl-tests' report of real all-reduces on each path
"""

from __future__ import annotations

import atexit
import json
import pathlib
import shutil
import tempfile
import typing as t
import zipfile

_STORED = pathlib.Path(__file__).resolve().parents[1] / "fixtures"


def _unpacked() -> pathlib.Path:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="multigpu-fixtures-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copytree(_STORED, folder, ignore=shutil.ignore_patterns("*.zip"), dirs_exist_ok=True)
    with zipfile.ZipFile(_STORED / "carriage-returns.zip") as pack:
        pack.extractall(folder)
    return folder


FIXTURES = _unpacked()
CAPTURES = FIXTURES / "captures"
LOGS = FIXTURES / "logs"


def trace(gpu: str, load: str) -> list[dict[str, t.Any]]:
    """Return the samples of one recorded load in the sampler's format; ``gpu`` is ``h100x2`` or ``h200x2``."""
    recorded = json.loads((FIXTURES / "traces" / gpu / f"{load}.json").read_text(encoding="utf-8"))
    return [
        {
            "time": time,
            "gpus": [{key: _at(values, row) for key, values in device.items()} for device in recorded["gpus"]],
        }
        for row, time in enumerate(recorded["time"])
    ]


def _at(values: t.Any, row: int) -> t.Any:
    if isinstance(values, dict):
        return values["always"]
    return values[row] if isinstance(values, list) else values
