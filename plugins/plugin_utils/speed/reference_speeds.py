# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look up published speed measurements and their sources in ``data/reference_speeds.yml``."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.datasheet import normalise
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tables import load_table


@dataclass(frozen=True)
class ReferenceSpeed:
    """Published speed of ``model`` on ``gpus`` GPUs with one request at a time: ``low`` to ``high`` output tokens/s."""

    gpu: str
    gpus: int
    model: str
    low: float
    high: float
    source: str


_TABLE: t.Final = load_table("reference_speeds")
REFERENCE_SPEEDS: t.Final[tuple[ReferenceSpeed, ...]] = tuple(
    ReferenceSpeed(**{**row, "source": _TABLE["sources"][row["source"]]}) for row in _TABLE["speeds"]
)
#: Lowest and highest published speed-up over one GPU, by number of GPUs.
REFERENCE_SCALING: t.Final[dict[int, tuple[float, float]]] = {
    row["gpus"]: (row["low"], row["high"]) for row in _TABLE["scaling"]
}
#: Fraction of the memory bandwidth that one stream reaches while it reads weights, and its source, by normalised name.
DECODE_EFFICIENCY: t.Final[dict[str, tuple[float, str]]] = {
    row["gpu"]: (row["fraction"], _TABLE["sources"][row["source"]]) for row in _TABLE["decode_efficiency"]
}


def reference_speed(gpu_name: str, gpus: int, model: str) -> ReferenceSpeed | None:
    """Return the published speed of ``model`` (Hugging Face ID or path) on ``gpus`` GPUs, or ``None`` if unknown."""
    model_name = model.rstrip("/").rpartition("/")[2].lower()
    for row in REFERENCE_SPEEDS:
        if (row.gpu, row.gpus, row.model.lower()) == (normalise(gpu_name), gpus, model_name):
            return row
    return None
