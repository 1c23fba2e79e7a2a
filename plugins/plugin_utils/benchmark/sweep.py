# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The load of a benchmark: every prompt size with every number of streams, several rounds of all of them."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

#: What a combination is: prompt tokens, output tokens, streams.
Combination = tuple[int, int, int]


class InvalidSweep(ValueError):
    """The sweep that was asked for cannot be run; the message names the value and what is allowed."""


def sweep_steps(
    prompt_tokens: Sequence[int], concurrency: Sequence[int], output_tokens: int, duration: float, repeats: int
) -> list[dict[str, t.Any]]:
    """Steps for ``throughput_probe``; ``duration`` in seconds each.

    The repeats are rounds over all combinations, not runs of one combination in a row: a node that warms up or is
    disturbed for a moment then does so in every combination alike, and whole rounds can be compared with each other.
    Prompt sizes but the smallest are optional: a model with a short context skips them.

    :raises InvalidSweep: for an empty list or a value that is not positive.
    """
    sizes, streams = _distinct("prompt_tokens", prompt_tokens), _distinct("concurrency", concurrency)
    for name, value in (("output_tokens", output_tokens), ("duration", duration), ("repeats", repeats)):
        if float(value) <= 0:
            raise InvalidSweep(f"{name} is {value}; allowed: more than 0")
    return [
        {
            "name": f"{size}x{output_tokens}@{count}, round {number}",
            "prompt_tokens": size,
            "output_tokens": int(output_tokens),
            "concurrency": count,
            "duration": float(duration),
            "optional": size != sizes[0],
        }
        for number in range(1, int(repeats) + 1)
        for size in sizes
        for count in streams
    ]


def combination(result: Mapping[str, t.Any]) -> Combination:
    """What one entry of the probe's ``results`` measured."""
    asked = result["requested"]
    return asked["prompt_tokens"], asked["output_tokens"], result["concurrency"]


def _distinct(name: str, values: Sequence[int]) -> list[int]:
    numbers = sorted({int(value) for value in values})
    if not numbers:
        raise InvalidSweep(f"{name} is empty; give at least one number")
    if numbers[0] < 1:
        raise InvalidSweep(f"{name} holds {numbers[0]}; allowed: 1 or more")
    return numbers
