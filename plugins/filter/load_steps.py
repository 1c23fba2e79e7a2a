# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``multigpu.vllm.load_steps``; documented in load_steps.yml beside it."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Sequence

from ansible.errors import AnsibleFilterError


def load_steps(
    prompt_tokens: Sequence[int],
    output_tokens: int = 128,
    requests: int = 3,
    concurrency: int = 8,
    duration: float = 30.0,
) -> list[dict[str, t.Any]]:
    """Steps for ``throughput_probe``: each prompt size with one stream, then ``concurrency`` streams for ``duration``.

    The sustained step uses the smallest prompt, so that decoding, not prefill, fills the time. Prompt sizes but the
    smallest are optional: a model with a short context skips them.

    :raises AnsibleFilterError: without a prompt size.
    """
    if not prompt_tokens:
        raise AnsibleFilterError("load_steps: give at least one prompt size, for example [128]")
    sizes = [int(size) for size in prompt_tokens]
    smallest = min(sizes)
    single = [
        {
            "name": f"prompt-{size}",
            "prompt_tokens": size,
            "output_tokens": output_tokens,
            "concurrency": 1,
            "requests": requests,
            "optional": size != smallest,
        }
        for size in sizes
    ]
    sustained = {
        "name": "sustained",
        "prompt_tokens": smallest,
        "output_tokens": output_tokens,
        "concurrency": concurrency,
        "duration": duration,
    }
    return [*single, sustained]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"load_steps": load_steps}
