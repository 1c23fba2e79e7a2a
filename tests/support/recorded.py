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
"""

from __future__ import annotations

import atexit
import pathlib
import shutil
import tempfile
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
