# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the lookup in the table of reference speeds."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.datasheet import normalise
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.reference_speeds import (
    REFERENCE_SPEEDS,
    reference_speed,
)

ADA = "NVIDIA RTX 6000 Ada Generation"
QWEN = "Qwen/Qwen2.5-Coder-32B-Instruct-AWQ"


@pytest.mark.parametrize(("gpus", "low", "high"), [(1, 35, 45), (2, 60, 80), (4, 100, 130)])
def test_reference_speed_finds_rows_of_the_guide(gpus: int, low: float, high: float) -> None:
    row = reference_speed(ADA, gpus, QWEN)
    assert row is not None
    assert (row.low, row.high) == (low, high)
    assert row == reference_speed(ADA, gpus, "/models/qwen2.5-coder-32b-instruct-awq/")


@pytest.mark.parametrize(
    ("name", "gpus", "model"),
    [
        (ADA, 8, QWEN),
        ("Quadro RTX 6000", 4, QWEN),
        ("NVIDIA RTX 4000 Ada Generation", 4, QWEN),
        (ADA, 4, "Qwen/Qwen2.5-Coder-14B-Instruct-AWQ"),
        (ADA, 4, "Qwen/Qwen2.5-Coder-32B-Instruct"),
    ],
)
def test_reference_speed_other_gpu_or_model_is_none(name: str, gpus: int, model: str) -> None:
    assert reference_speed(name, gpus, model) is None


def test_reference_speeds_use_normalised_gpu_names() -> None:
    assert all(normalise(row.gpu) == row.gpu and row.low < row.high and row.source for row in REFERENCE_SPEEDS)
