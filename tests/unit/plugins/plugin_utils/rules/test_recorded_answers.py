# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.recorded_answers import RecordedAnswers
from ansible_collections.multigpu.vllm.tests.support.answers import recording


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (None, None),
        ({}, {}),
        ({"quantization": None, "kv_cache_dtype": "auto", "max_model_len": 4096}, {}),
        ({"quantization": "fp8", "kv_cache_dtype": "fp8"}, {"quantization": "fp8", "kv_cache_dtype": "fp8"}),
    ],
)
def test_identity_has_the_arguments_that_change_the_answers(
    arguments: dict[str, t.Any] | None, expected: dict[str, str] | None
) -> None:
    answers = RecordedAnswers.of("node-1", recording("tp1"), arguments)
    assert answers.identity == {"model": "/models/small", "seed": 0, "arguments": expected}
    assert answers.certain == (arguments is not None)
