# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the load steps of roles validate and benchmark."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import read_steps
from ansible_collections.multigpu.vllm.plugins.plugin_utils.load.steps import sweep_steps, validation_steps

SWEEP: t.Final[dict[str, t.Any]] = {
    "prompt_tokens": [1024, 128],
    "concurrency": [8, 1, 8],
    "output_tokens": 64,
    "duration": 5.0,
    "repeats": 2,
}


def test_validation_steps_are_single_streams_then_the_sustained_load() -> None:
    steps = validation_steps(
        {"prompt_tokens": [1024, 128, 4096], "output_tokens": 64, "requests": 2, "concurrency": 16, "load_duration": 5}
    )
    sizes = [(step["prompt_tokens"], step["concurrency"]) for step in steps]
    assert sizes == [(1024, 1), (128, 1), (4096, 1), (128, 16)]
    assert [step.get("optional") for step in steps] == [True, False, True, None]
    assert steps[0]["requests"] == 2
    assert steps[-1]["duration"] == 5
    assert {step["output_tokens"] for step in steps} == {64}


def test_sweep_steps_hold_every_combination_once_per_round() -> None:
    steps = sweep_steps(SWEEP)
    order = [(128, 1), (128, 8), (1024, 1), (1024, 8)]
    assert [(step["prompt_tokens"], step["concurrency"]) for step in steps] == order * 2
    assert len({step["name"] for step in steps}) == 8


def test_sweep_steps_require_only_the_smallest_prompt() -> None:
    assert {step["prompt_tokens"]: step["optional"] for step in sweep_steps(SWEEP)} == {128: False, 1024: True}


def test_sweep_steps_are_accepted_by_the_probe() -> None:
    assert {step.duration for step in read_steps(sweep_steps(SWEEP), 100)} == {5.0}
