# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the load steps for the validate and benchmark roles, in the format that ``throughput_probe`` accepts."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

Steps = list[dict[str, t.Any]]


def validation_steps(
    prompt_tokens: Sequence[int], output_tokens: int, requests: int, concurrency: int, duration: float
) -> Steps:
    """Return a load step with one stream for each prompt size, and a last step with ``concurrency`` streams.

    The last step, ``sustained``, uses the smallest prompt, so that the time is spent on decoding rather than prefill.
    Only the smallest prompt is mandatory: a model with a short context skips the others.

    :param requests: number of requests of each single-stream step.
    :param duration: length of the sustained step, in seconds.
    """
    smallest = min(prompt_tokens)
    single = [
        _step(f"prompt-{size}", size, output_tokens, 1, requests=requests, optional=size != smallest)
        for size in prompt_tokens
    ]
    return [*single, _step("sustained", smallest, output_tokens, concurrency, duration=duration)]


def sweep_steps(
    prompt_tokens: Sequence[int], concurrency: Sequence[int], output_tokens: int, duration: float, repeats: int
) -> Steps:
    """Return the load steps of all rounds. ``repeats`` is the number of rounds.

    Each round has one step for each combination of prompt size and concurrency. The repeats of a combination are in
    different rounds, not in consecutive steps. A disturbance or a slow warm-up then affects all combinations equally,
    and whole rounds can be compared with each other.
    Only the smallest prompt is mandatory: a model with a short context skips the others.

    :param duration: length of each step, in seconds.
    """
    sizes, streams = sorted(set(prompt_tokens)), sorted(set(concurrency))
    return [
        _step(
            f"{size}x{output_tokens}@{count}, round {number}",
            size,
            output_tokens,
            count,
            duration=duration,
            optional=size != sizes[0],
        )
        for number in range(1, repeats + 1)
        for size in sizes
        for count in streams
    ]


def _step(name: str, prompt_tokens: int, output_tokens: int, concurrency: int, **options: t.Any) -> dict[str, t.Any]:
    sizes = {"prompt_tokens": prompt_tokens, "output_tokens": output_tokens, "concurrency": concurrency}
    return {"name": name, **sizes, **options}
