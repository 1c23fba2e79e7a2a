# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``multigpu.vllm.judgement_errors``; documented in judgement_errors.yml beside it."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.thresholds import judgement_errors


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"judgement_errors": judgement_errors}
