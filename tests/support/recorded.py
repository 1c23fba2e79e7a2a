# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What real GPUs, servers and kernels said: ``tests/fixtures`` with the recordings that cannot lie there as text.

Answers and logs with carriage returns are kept byte for byte in ``carriage-returns.zip``, because checkers and editors
of text files would change or refuse them. ``FIXTURES`` is a folder of this run with everything side by side:

- ``captures/vllm-VERSION-tp2-http/PROBE.txt``: request and raw answer of a real vLLM (``.prom``: its metrics)
- ``captures/*.log``: complete server logs
- ``logs/*.log``, ``logs/labels.yaml``: excerpts and what a careful reader draws from them
- ``nvml/GPU/idle|load``: NVML's answers (``scripts/capture_nvml.py``)
- ``traces/GPU/LOAD.json``: the sampler's view of real loads on two GPUs (``tests/real_gpu``); see ``trace``
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


def _side_by_side() -> pathlib.Path:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="multigpu-fixtures-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copytree(_STORED, folder, ignore=shutil.ignore_patterns("*.zip"), dirs_exist_ok=True)
    with zipfile.ZipFile(_STORED / "carriage-returns.zip") as pack:
        pack.extractall(folder)
    return folder


FIXTURES = _side_by_side()
CAPTURES = FIXTURES / "captures"
LOGS = FIXTURES / "logs"


def trace(gpu: str, load: str) -> list[dict[str, t.Any]]:
    """Samples of one recorded load, as the sampler gave them; ``gpu`` is ``h100x2`` or ``h200x2``."""
    told = json.loads((FIXTURES / "traces" / gpu / f"{load}.json").read_text(encoding="utf-8"))
    return [
        {"time": time, "gpus": [{key: _at(values, row) for key, values in one.items()} for one in told["gpus"]]}
        for row, time in enumerate(told["time"])
    ]


def _at(values: t.Any, row: int) -> t.Any:
    if isinstance(values, dict):
        return values["always"]
    return values[row] if isinstance(values, list) else values
