# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes and remedies of idle GPUs. test_catalogue.py tests when they are concluded."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest

Build = Callable[..., t.Any]


def test_off_diagnosis_gain_comes_from_the_roofline(situation: Build) -> None:
    diagnosis = situation(tp=1).diagnosis("tensor_parallel.off")
    assert diagnosis.expected_gain == "one stream from 28 to about 85 tok/s (3.0x with 4 GPUs, ±10 %)"
    assert "--tensor-parallel-size 4 (vllm_tensor_parallel_size: 4)" in diagnosis.remedy


@pytest.mark.parametrize(
    ("facts", "excerpt"),
    [
        ({"heads": 14, "tp": 1}, "--tensor-parallel-size 2 (vllm_tensor_parallel_size: 2) and --data-parallel-size 2"),
        ({"gpus": 3, "on_bus": 3, "tp": 2}, "Once the missing GPUs are restored, serve with --tensor-parallel-size 4"),
        ({"tp": 2, "environment": {"CUDA_VISIBLE_DEVICES": "0,1"}}, "make all 4 GPUs visible to vLLM"),
    ],
)
def test_off_diagnosis_size_suits_model_and_plan(situation: Build, facts: dict, excerpt: str) -> None:
    assert excerpt in situation(**facts).diagnosis("tensor_parallel.off").remedy


@pytest.mark.parametrize(
    ("facts", "excerpt"),
    [
        ({"tp": 1}, "without --tensor-parallel-size, which defaults to 1"),
        ({"tp": 2}, "with --tensor-parallel-size 2"),
        ({"tp": 1, "environment": {"VLLM_TENSOR_PARALLEL_SIZE": "4"}}, "vLLM does not read it"),
        ({"tp": 2, "environment": {"CUDA_VISIBLE_DEVICES": "0,1"}}, "CUDA_VISIBLE_DEVICES=0,1 hides the other GPUs"),
    ],
)
def test_off_diagnosis_cause_by_setting(situation: Build, facts: dict, excerpt: str) -> None:
    assert excerpt in situation(**facts).diagnosis("tensor_parallel.off").cause


def test_off_diagnosis_explains_an_ignored_variable(situation: Build) -> None:
    diagnosis = situation(tp=1, environment={"VLLM_TENSOR_PARALLEL_SIZE": "4"}).diagnosis("tensor_parallel.off")
    assert "configuration.environment" in diagnosis.findings


def test_off_diagnosis_without_layers_has_no_gain(situation: Build) -> None:
    diagnosis = situation(tp=1, options={"model": {"weight_bytes": 9.98e9}}, loaded=False).diagnosis(
        "tensor_parallel.off"
    )
    assert diagnosis.expected_gain is not None
    assert situation(tp=1, loaded=False).diagnosis("tensor_parallel.off").expected_gain is None


def test_model_does_not_fit_diagnosis_offers_possible_sizes(situation: Build) -> None:
    log = [
        "(APIServer pid=90) pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig",
        "  Value error, Total number of attention heads (40) must be divisible by tensor parallel size (3).",
    ]
    node = situation(tp=3, failure="connection_refused", loaded=False, log=log)
    diagnosis = node.diagnosis("tensor_parallel.model_does_not_fit")
    assert "--tensor-parallel-size 2" in diagnosis.remedy
    assert "--tensor-parallel-size 4" in diagnosis.remedy
