# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the load steps for the validate and benchmark roles, in the format that ``throughput_probe`` accepts."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

Steps = list[dict[str, t.Any]]
#: Options of a role, by their names without the name of the role.
Options = Mapping[str, t.Any]


def validation_steps(options: Options) -> Steps:
    """Return a load step with one stream for each prompt size, and a last step with ``concurrency`` streams.

    The last step, ``sustained``, uses the smallest prompt, so that the time is spent on decoding rather than prefill.
    Only the smallest prompt is mandatory: a model with a short context skips the others.

    :param options: ``prompt_tokens`` (list), ``output_tokens``, ``requests`` (of each single-stream step),
        ``concurrency`` and ``load_duration`` (length of the sustained step, in seconds).
    """
    sizes, output_tokens = options["prompt_tokens"], options["output_tokens"]
    smallest = min(sizes)
    single = [
        _step(f"prompt-{size}", size, output_tokens, 1, requests=options["requests"], optional=size != smallest)
        for size in sizes
    ]
    duration = options["load_duration"]
    return [*single, _step("sustained", smallest, output_tokens, options["concurrency"], duration=duration)]


def sweep_steps(options: Options) -> Steps:
    """Return the load steps of all rounds. ``repeats`` is the number of rounds.

    Each round has one step for each combination of prompt size and concurrency. The repeats of a combination are in
    different rounds, not in consecutive steps. A disturbance or a slow warm-up then affects all combinations equally,
    and whole rounds can be compared with each other.
    Only the smallest prompt is mandatory: a model with a short context skips the others.

    :param options: ``prompt_tokens`` (list), ``concurrency`` (list), ``output_tokens``, ``repeats`` and ``duration``
        (length of each step, in seconds).
    """
    sizes, tokens = sorted(set(options["prompt_tokens"])), options["output_tokens"]
    return [
        _step(
            f"{size}x{tokens}@{count}, round {number}",
            size,
            tokens,
            count,
            duration=options["duration"],
            optional=size != sizes[0],
        )
        for number in range(1, options["repeats"] + 1)
        for size in sizes
        for count in sorted(set(options["concurrency"]))
    ]


#: Role -> function that builds the steps of its load test, in the format of ``throughput_probe``'s ``steps`` option.
LOAD_STEPS: t.Final = {"validate": validation_steps, "benchmark": sweep_steps}


def _step(name: str, prompt_tokens: int, output_tokens: int, concurrency: int, **options: t.Any) -> dict[str, t.Any]:
    sizes = {"prompt_tokens": prompt_tokens, "output_tokens": output_tokens, "concurrency": concurrency}
    return {"name": name, **sizes, **options}
