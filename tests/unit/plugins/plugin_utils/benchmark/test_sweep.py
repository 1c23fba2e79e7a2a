# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The load of a benchmark."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import read_steps
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.sweep import (
    InvalidSweep,
    combination,
    sweep_steps,
)

ASKED = {"prompt_tokens": [1024, 128], "concurrency": [8, 1, 8], "output_tokens": 64, "duration": 5, "repeats": 2}


def test_every_round_holds_every_combination_once() -> None:
    steps = sweep_steps(**ASKED)
    order = [(128, 1), (128, 8), (1024, 1), (1024, 8)]
    assert [(step["prompt_tokens"], step["concurrency"]) for step in steps] == order * 2
    assert len({step["name"] for step in steps}) == 8


def test_only_the_smallest_prompt_must_fit_the_model() -> None:
    assert {step["prompt_tokens"]: step["optional"] for step in sweep_steps(**ASKED)} == {128: False, 1024: True}


def test_the_probe_takes_the_steps() -> None:
    steps = read_steps(sweep_steps(**ASKED), 100)
    assert {step.duration for step in steps} == {5.0}


def test_a_result_says_which_combination_it_is() -> None:
    result = {"requested": {"prompt_tokens": 128, "output_tokens": 64}, "concurrency": 8}
    assert combination(result) == (128, 64, 8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt_tokens": []}, "prompt_tokens is empty"),
        ({"concurrency": [4, 0]}, "concurrency holds 0; allowed: 1 or more"),
        ({"duration": 0}, "duration is 0; allowed: more than 0"),
        ({"repeats": -1}, "repeats is -1"),
        ({"output_tokens": 0}, "output_tokens is 0"),
    ],
)
def test_an_impossible_sweep_names_the_value(change: dict, words: str) -> None:
    with pytest.raises(InvalidSweep, match=words):
        sweep_steps(**{**ASKED, **change})
