# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load steps from prompt sizes."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.filter.load_steps import FilterModule, load_steps


def test_one_single_stream_per_prompt_then_the_sustained_load() -> None:
    steps = load_steps([1024, 128, 4096], output_tokens=64, requests=2, concurrency=16, duration=5)
    assert [(step["prompt_tokens"], step["concurrency"]) for step in steps] == [
        (1024, 1),
        (128, 1),
        (4096, 1),
        (128, 16),
    ]
    assert [step.get("optional") for step in steps] == [True, False, True, None]
    assert steps[0]["requests"] == 2
    assert steps[-1]["duration"] == 5
    assert {step["output_tokens"] for step in steps} == {64}


def test_numbers_may_come_as_text() -> None:
    assert load_steps(["1024", "128"])[-1]["prompt_tokens"] == 128


def test_without_prompts_there_is_no_load() -> None:
    with pytest.raises(AnsibleFilterError, match="at least one prompt size"):
        load_steps([])


def test_registered_name() -> None:
    assert FilterModule().filters() == {"load_steps": load_steps}
