# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Track how many tokens of a request the engine has processed and generated."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field


@dataclass(eq=False)
class Sequence:
    """Token counts and times of one choice. The response to a request has one or more choices.

    ``deliver(position, finish_reason)`` is called for each generated token. ``batch`` is the number of the batch that
    contains the sequence.
    """

    prompt_tokens: int
    max_tokens: int
    finish_reason: str
    deliver: t.Callable[[int, str | None], None]
    arrived: float = field(default_factory=time.monotonic)
    prefilled: int = 0
    generated: int = 0
    batch: int = 0
    scheduled: float = 0.0
    first_token: float = 0.0
    last_token: float = 0.0
