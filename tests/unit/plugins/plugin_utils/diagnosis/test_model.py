# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis

PARTS = {"id": "a.b", "title": "T", "cause": "C.", "remedy": "R."}


def test_plain_at_the_boundary() -> None:
    item = Diagnosis(**PARTS, confidence="high", evidence=("x",), findings=("nccl.errors",))
    assert json.loads(json.dumps(item.as_dict())) == {
        **PARTS,
        "confidence": "high",
        "evidence": ["x"],
        "expected_gain": None,
        "findings": ["nccl.errors"],
    }


def test_a_check_is_named_once() -> None:
    item = Diagnosis(**PARTS, confidence="low", findings=("nccl.errors", "memory.oom", "nccl.errors"))
    assert item.findings == ("nccl.errors", "memory.oom")


def test_confidence_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="not 'sure'"):
        Diagnosis(**PARTS, confidence="sure")
