# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import (
    Diagnosis,
    causes,
    conclude,
    flag,
)

PARTS = {"id": "a.b", "title": "T", "cause": "C.", "remedy": "R."}


def test_diagnosis_as_dict_is_plain_data() -> None:
    item = Diagnosis(**PARTS, confidence="high", evidence=("x",), findings=("nccl.errors",))
    assert json.loads(json.dumps(item.as_dict())) == {
        **PARTS,
        "confidence": "high",
        "evidence": ["x"],
        "expected_gain": None,
        "findings": ["nccl.errors"],
    }


def test_diagnosis_lists_each_check_once() -> None:
    item = Diagnosis(**PARTS, confidence="low", findings=("nccl.errors", "memory.oom", "nccl.errors"))
    assert item.findings == ("nccl.errors", "memory.oom")


def test_diagnosis_with_unknown_confidence_is_rejected() -> None:
    with pytest.raises(ValueError, match="got 'sure'"):
        Diagnosis(**PARTS, confidence="sure")


@pytest.mark.parametrize("identity", causes())
def test_causes_entry_follows_the_schema(identity: str) -> None:
    entry = causes()[identity]
    texts = {"title", "cause", "remedy"}
    assert {"shown_by", *texts} <= set(entry) <= {"shown_by", *texts, "expected_gain", "cases"}
    for case in (entry.get("cases") or {}).values():
        assert case
        assert set(case) <= texts


def test_conclude_inserts_the_texts_of_a_fault() -> None:
    item = conclude("tensor_parallel.gpu_twice", confidence="high", evidence=("a", ""))
    assert (item.cause, item.remedy) == (FAULTS["nccl_duplicate_gpu"].cause, FAULTS["nccl_duplicate_gpu"].remedy)
    assert item.evidence == ("a",)


def test_conclude_prefers_the_texts_of_a_case() -> None:
    plain, case = (conclude("interconnect.sockets", name, confidence="high") for name in (None, "both_disabled"))
    assert plain.cause == FAULTS["transport_net_socket"].cause
    assert case.cause == FAULTS["nccl_paths_disabled"].cause
    assert plain.title == case.title


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("tensor_parallel_size", 4, "--tensor-parallel-size 4 (vllm_tensor_parallel_size: 4)"),
        ("kv_cache_dtype", "fp8", "--kv-cache-dtype fp8 (vllm_kv_cache_dtype: fp8)"),
    ],
)
def test_flag_includes_the_role_variable(name: str, value: object, text: str) -> None:
    assert flag(name, value) == text
