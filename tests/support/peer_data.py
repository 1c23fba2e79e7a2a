# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of ``p2p_check`` from the rows that two H200 gave, unchanged or with one fault."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.peer import run
from ansible_collections.multigpu.vllm.tests.support.recorded import FIXTURES

ROWS = [json.loads(line) for line in (FIXTURES / "nccl/h200x2/peer-access.jsonl").read_text("utf-8").splitlines()]
TESTED = {
    "time": "2026-11-30T12:00:00+00:00",
    "image": "sha256:251eba5cc7c12fed0b75da22a9240e582b1c9e39f6fbc064f86781b963bd814f",
    "driver": "580.95.05",
    "gpus": ["GPU-0", "GPU-1"],
}


def changed(change: dict[str, t.Any], **where: t.Any) -> list[dict[str, t.Any]]:
    """Return the recorded rows, those with the values ``where`` changed."""
    rows = [{**row, **change} if where.items() <= row.items() else row for row in ROWS]
    assert rows != ROWS
    return rows


def healthy(*, stored: bool = False) -> dict[str, t.Any]:
    return {**run.result_from(ROWS, None, [0, 1]), "tested": TESTED, "stored": stored}


def hanging(*, stored: bool = False) -> dict[str, t.Any]:
    """Return the result of a node on which the copies from GPU 1 to GPU 0 hang."""
    rows = changed({"hangs": [1]}, **{"test": "copy", "from": 1, "bytes": 4})
    return {**run.result_from(rows, None, [0, 1]), "tested": TESTED, "stored": stored}
