# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One setting of a server with the reason why it is there."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Setting:
    """``name`` is an argument in vLLM's Python spelling (``max_num_seqs``) or an environment variable."""

    name: str
    value: t.Any
    why: str

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)
