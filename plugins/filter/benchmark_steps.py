# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``multigpu.vllm.benchmark_steps``; documented in benchmark_steps.yml beside it."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.sweep import InvalidSweep, sweep_steps


def benchmark_steps(
    prompt_tokens: Sequence[int],
    concurrency: Sequence[int],
    output_tokens: int = 128,
    duration: float = 10.0,
    repeats: int = 5,
) -> list[dict[str, t.Any]]:
    """Steps for ``throughput_probe``; see ``sweep_steps``.

    :raises AnsibleFilterError: for a sweep that cannot be run.
    """
    try:
        return sweep_steps(prompt_tokens, concurrency, output_tokens, duration, repeats)
    except InvalidSweep as error:
        raise AnsibleFilterError(f"benchmark_steps: {error}") from error


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"benchmark_steps": benchmark_steps}
