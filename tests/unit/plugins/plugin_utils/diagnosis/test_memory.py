# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who takes the memory, and what to set. Whether it is named: test_catalogue.py."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis import memory

Build = Callable[..., t.Any]

OOM = "(Worker_TP0 pid=100) ERROR 11-23 12:01:00 [x.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried 1 GiB."
CACHE = (
    "(EngineCore pid=95) ERROR 11-23 12:01:00 [core.py:1180] ValueError: To serve at least one request with the "
    "models's max seq len (131072), (24.0 GiB KV cache is needed, which is larger than the available KV cache memory "
    "(3.89 GiB). Based on the available memory, the estimated maximum model length is 21232."
)


def test_a_guest_is_named_with_what_it_holds(situation: Build) -> None:
    node = situation(strangers={0: ("python3 embed.py", 4.8)}, used=[18.9, 14.0, 14.0, 14.0])
    assert node.diagnosis("memory.other_process").evidence[0] == "GPU 0: python3 embed.py (pid 4242) holds 4.8 GiB"


def test_without_a_process_of_vllm_nobody_is_a_stranger(situation: Build) -> None:
    node = situation(strangers={0: ("python3 train.py", 4.8)}, used=[0.9, 0.9, 0.9, 0.9])
    assert memory.strangers(node.case()) == {}


@pytest.mark.parametrize(
    ("facts", "cause", "remedy"),
    [
        ({"loaded": False}, "while the weights were loading", "quantized or smaller model"),
        ({"loaded": False, "tp": 2}, "while the weights were loading", "--tensor-parallel-size 4"),
        ({"arguments": {"gpu_memory_utilization": 0.98}}, "0.98 leaves too little", "vllm_gpu_memory_utilization: 0.9"),
        ({}, "Activations, sampling or CUDA graphs", "--max-num-seqs"),
    ],
)
def test_where_it_ran_out(situation: Build, facts: dict, cause: str, remedy: str) -> None:
    node = situation(failure="connection_refused", log=[OOM], **facts)
    found = node.diagnosis("memory.gpu_out_of_memory")
    assert cause in found.cause
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("capability", "dtype", "offered"), [("8.9", "auto", True), ("7.5", "auto", False), ("8.9", "fp8", False)]
)
def test_an_8_bit_cache_only_where_it_is_possible_and_new(
    situation: Build, capability: str, dtype: str, offered: bool
) -> None:
    facts = {"failure": "connection_refused", "loaded": False, "log": [CACHE], "arguments": {"kv_cache_dtype": dtype}}
    found = situation(capability=capability, **facts).diagnosis("memory.kv_cache_too_small")
    assert ("fp8" in found.remedy) is offered


def test_preemption_halves_the_streams(situation: Build) -> None:
    line = (
        "(EngineCore pid=95) WARNING 11-23 12:01:00 [scheduler.py:1057] Sequence group 42 is preempted by "
        "PreemptionMode.RECOMPUTE mode because there is not enough KV cache space."
    )
    found = situation(log=[line], arguments={"max_num_seqs": 256}).diagnosis("memory.preemption")
    assert "--max-num-seqs 128 (vllm_max_num_seqs: 128)" in found.remedy
    assert "KV cache: 327,424 tokens" in found.evidence


def test_uneven_stages_need_no_fix(situation: Build) -> None:
    found = situation(tp=2, pp=2, used=[18.2, 18.2, 14.0, 14.0]).diagnosis("memory.uneven_stages")
    assert found.remedy.startswith("None needed")
