# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes of busy but slow GPUs. test_catalogue.py tests when they are concluded."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.tests.support.peer_data import hanging

Build = Callable[..., t.Any]


def test_waiting_diagnosis_evidence_has_spread_power_and_speed(situation: Build) -> None:
    diagnosis = situation(apart=True, speed=0.4).diagnosis("gpus.waiting")
    assert diagnosis.confidence == "high"
    assert any(line.startswith("spread: 90.0 points") for line in diagnosis.evidence)
    assert any(line.startswith("power draw relative to the limit:") for line in diagnosis.evidence)
    assert any(line.endswith("40 % of expected") for line in diagnosis.evidence)


@pytest.mark.parametrize(("clock", "named"), [(1400, True), (2000, False)])
def test_waiting_diagnosis_names_the_straggler(situation: Build, clock: int, named: bool) -> None:
    diagnosis = situation(clocks={2: clock}, speed=0.4).diagnosis("gpus.waiting")
    assert ("GPU 2 is behind the others" in diagnosis.cause) is named


def test_waiting_diagnosis_reads_the_gpus_with_the_model(situation: Build) -> None:
    shape = {"tp": 2, "used": [0.3, 0.3, 18.2, 18.2], "utilisation": [0, 0, 97, 97]}
    assert "gpus.waiting" in situation(**shape, speed=0.33).ids()


def test_waiting_diagnosis_excludes_replicas_of_one_gpu(situation: Build) -> None:
    assert "gpus.waiting" not in situation(tp=1, dp=4, speed=0.33).ids()


def test_waiting_diagnosis_with_one_signal_is_less_certain(situation: Build) -> None:
    assert situation(speed=0.33).diagnosis("gpus.waiting").confidence == "medium"


@pytest.mark.parametrize(
    ("facts", "advice"),
    [
        ({}, "Chunked prefill is already on (the default since vLLM 0.8.0). The NCCL variables need no change."),
        ({"version": "0.6.3"}, "Turn on chunked prefill (--enable-chunked-prefill)"),
        ({"arguments": {"no_enable_chunked_prefill": True}}, "Turn on chunked prefill"),
        ({"version": "0.9.0", "arguments": {"no_enable_chunked_prefill": True}}, "Chunked prefill is already on"),
        ({"environment": {"NCCL_ALGO": "Tree"}}, "Remove NCCL_ALGO (vllm_environment) for a test"),
        ({"environment": {"NCCL_DEBUG": "INFO", "NCCL_IB_DISABLE": "1"}}, "The NCCL variables need no change."),
        ({"p2p": "CNS"}, "Set NCCL_P2P_DISABLE=1 (vllm_environment): The driver denies peer access"),
        ({}, "A lower --max-num-seqs does not help, because one stream alone is slow."),
        ({"speed": 0.92}, "A lower --max-num-seqs (vllm_max_num_seqs) shortens each step"),
    ],
)
def test_waiting_diagnosis_advice_fits_the_version_and_settings(situation: Build, facts: dict, advice: str) -> None:
    diagnosis = situation(**{"apart": True, "speed": 0.4, **facts}).diagnosis("gpus.waiting")
    assert advice in diagnosis.remedy


def test_unexplained_diagnosis_has_low_confidence(situation: Build) -> None:
    diagnosis = situation(transport=None, speed=0.66).diagnosis("performance.unexplained")
    assert diagnosis.confidence == "low"
    assert "not tested above" in diagnosis.remedy


def test_too_much_expected_diagnosis_names_the_possible_speed(situation: Build) -> None:
    diagnosis = situation(expected_throughput=300.0).diagnosis("performance.too_much_expected")
    assert "300.0 tok/s. The memory bandwidth allows 92" in diagnosis.cause


def test_waiting_diagnosis_keeps_the_settings_that_avoid_a_proven_fault(situation: Build) -> None:
    """Without them, the server would give wrong answers or hang."""
    environment = {"NCCL_DEBUG": "INFO", "NCCL_P2P_DISABLE": "1"}
    slow = {"apart": True, "speed": 0.4, "path": "PIX", "environment": environment}
    assert "Remove NCCL_P2P_DISABLE" in situation(**slow).diagnosis("gpus.waiting").remedy
    remedy = situation(**slow, peer_data=hanging()).diagnosis("gpus.waiting").remedy
    assert "Remove NCCL_P2P_DISABLE" not in remedy
    assert "Set VLLM_ALLREDUCE_USE_SYMM_MEM=0 (vllm_environment): Tested: A transfer between GPUs never ends" in remedy
