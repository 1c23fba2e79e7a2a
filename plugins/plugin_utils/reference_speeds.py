# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speeds that others measured, and memory bandwidths that makers publish, as data, each with its source."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass


def normalise(gpu_name: str) -> str:
    """An NVML product name as the tables know it: ``NVIDIA RTX 4000 Ada Generation`` -> ``rtx 4000 ada``."""
    words = gpu_name.lower().replace("-", " ").split()
    return " ".join(word for word in words if word not in ("nvidia", "generation", "quadro", "edition"))


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

#: Bytes per second of one GPU, for drivers that do not report clock and bus width. Source: makers' data sheets. The
#: RTX PRO 6000 server edition is given as 1597 and as 1792 GB/s; the lower figure fits what DCGM measured (1480).
PUBLISHED_BANDWIDTH: t.Final[dict[str, float]] = {
    "rtx 4000 ada": 360e9,
    "rtx 6000 ada": 960e9,
    "rtx 6000": 672e9,
    "rtx pro 6000 blackwell server": 1597e9,
    "rtx pro 6000 blackwell workstation": 1792e9,
}


def reference_speed(gpu_name: str, gpus: int, model: str) -> ReferenceSpeed | None:
    """The row for ``model`` (hub id or path; its last part counts) on ``gpus`` GPUs, or ``None``."""
    wanted = model.rstrip("/").rpartition("/")[2].lower()
    for row in REFERENCE_SPEEDS:
        if (row.gpu, row.gpus, row.model.lower()) == (normalise(gpu_name), gpus, wanted):
            return row
    return None
