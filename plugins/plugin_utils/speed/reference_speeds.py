# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speeds that others measured, as data, each with its source."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.datasheet import normalise


@dataclass(frozen=True)
class ReferenceSpeed:
    """Output tokens per second of one stream, ``low`` to ``high``, of ``model`` on ``gpus`` GPUs."""

    gpu: str
    gpus: int
    model: str
    low: float
    high: float
    source: str


_GUIDE: t.Final = "multi-GPU guide, expected performance"
_QWEN_32B: t.Final = "Qwen2.5-Coder-32B-Instruct-AWQ"

REFERENCE_SPEEDS: t.Final[tuple[ReferenceSpeed, ...]] = (
    ReferenceSpeed("rtx 6000 ada", 1, _QWEN_32B, 35, 45, _GUIDE),
    ReferenceSpeed("rtx 6000 ada", 2, _QWEN_32B, 60, 80, _GUIDE),
    ReferenceSpeed("rtx 6000 ada", 4, _QWEN_32B, 100, 130, _GUIDE),
)

#: What several GPUs gain over one: number of GPUs -> factor from, to. Source: multi-GPU guide.
REFERENCE_SCALING: t.Final[dict[int, tuple[float, float]]] = {2: (1.7, 1.7), 4: (2.5, 3.0)}


def reference_speed(gpu_name: str, gpus: int, model: str) -> ReferenceSpeed | None:
    """The row for ``model`` (hub id or path; its last part counts) on ``gpus`` GPUs, or ``None``."""
    wanted = model.rstrip("/").rpartition("/")[2].lower()
    for row in REFERENCE_SPEEDS:
        if (row.gpu, row.gpus, row.model.lower()) == (normalise(gpu_name), gpus, wanted):
            return row
    return None
