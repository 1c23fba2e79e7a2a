# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes and remedies of memory faults. test_catalogue.py tests when they are concluded."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS

Build = Callable[..., t.Any]

OOM = "(Worker_TP0 pid=100) ERROR 11-23 12:01:00 [x.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried 1 GiB."
CACHE = (
    "(EngineCore pid=95) ERROR 11-23 12:01:00 [core.py:1180] ValueError: To serve at least one request with the "
    "models's max seq len (131072), (24.0 GiB KV cache is needed, which is larger than the available KV cache memory "
    "(3.89 GiB). Based on the available memory, the estimated maximum model length is 21232."
)


def test_other_process_diagnosis_names_the_process_and_its_memory(situation: Build) -> None:
    node = situation(other_processes={0: ("python3 embed.py", 4.8)}, used=[18.9, 14.0, 14.0, 14.0])
    assert node.diagnosis("memory.other_process").evidence[0] == "GPU 0: python3 embed.py (pid 4242) holds 4.8 GiB"


@pytest.mark.parametrize(
    ("facts", "confidence", "cause"),
    [
        ({}, "high", "nothing shows that the process slows vLLM down"),
        ({"speed": 0.6}, "medium", "probably takes compute time"),
        ({"token_ratio": 2.0}, "high", FAULTS["gpu_memory_busy"].cause),
    ],
    ids=["speed reached", "slow", "speed unknown"],
)
def test_other_process_takes_time_only_if_the_node_is_slow(
    situation: Build, facts: dict, confidence: str, cause: str
) -> None:
    shared = {"other_processes": {0: ("python3 embed.py", 4.8)}, "used": [18.9, 14.0, 14.0, 14.0]}
    diagnosis = situation(**shared, **facts).diagnosis("memory.other_process")
    assert (diagnosis.confidence, cause in diagnosis.cause) == (confidence, True)
    assert ("compute" in diagnosis.cause) is (facts == {"speed": 0.6})


@pytest.mark.parametrize(
    ("facts", "cause", "remedy"),
    [
        ({"loaded": False}, "while the weights were loading", "quantized or smaller model"),
        ({"loaded": False, "tp": 2}, "while the weights were loading", "--tensor-parallel-size 4"),
        ({"arguments": {"gpu_memory_utilization": 0.98}}, "0.98 leaves too little", "vllm_gpu_memory_utilization: 0.9"),
        ({}, "Activations, sampling or CUDA graphs", "--max-num-seqs"),
    ],
)
def test_gpu_out_of_memory_diagnosis_by_phase(situation: Build, facts: dict, cause: str, remedy: str) -> None:
    node = situation(failure="connection_refused", log=[OOM], **facts)
    diagnosis = node.diagnosis("memory.gpu_out_of_memory")
    assert cause in diagnosis.cause
    assert remedy in diagnosis.remedy


@pytest.mark.parametrize(
    ("capability", "dtype", "offered"), [("8.9", "auto", True), ("7.5", "auto", False), ("8.9", "fp8", False)]
)
def test_kv_cache_diagnosis_offers_fp8_only_if_supported_and_unused(
    situation: Build, capability: str, dtype: str, offered: bool
) -> None:
    facts = {"failure": "connection_refused", "loaded": False, "log": [CACHE], "arguments": {"kv_cache_dtype": dtype}}
    diagnosis = situation(capability=capability, **facts).diagnosis("memory.kv_cache_too_small")
    assert ("fp8" in diagnosis.remedy) is offered


def test_preemption_diagnosis_halves_the_streams(situation: Build) -> None:
    line = (
        "(EngineCore pid=95) WARNING 11-23 12:01:00 [scheduler.py:1057] Sequence group 42 is preempted by "
        "PreemptionMode.RECOMPUTE mode because there is not enough KV cache space."
    )
    diagnosis = situation(log=[line], arguments={"max_num_seqs": 256}).diagnosis("memory.preemption")
    assert "--max-num-seqs 128 (vllm_max_num_seqs: 128)" in diagnosis.remedy
    assert "KV cache: 327,424 tokens" in diagnosis.evidence


def test_uneven_stages_diagnosis_needs_no_fix(situation: Build) -> None:
    diagnosis = situation(tp=2, pp=2, used=[18.2, 18.2, 14.0, 14.0]).diagnosis("memory.uneven_stages")
    assert diagnosis.remedy.startswith("None needed")
