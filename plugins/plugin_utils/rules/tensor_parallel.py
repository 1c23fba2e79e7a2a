# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tensor parallelism: what ``vllm_tp_check`` proved from its independent signals."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: Check -> the measurements it needs.
CHECKS: t.Final[dict[str, tuple[str, ...]]] = {
    "tensor_parallel.size": ("tensor_parallel",),
    "tensor_parallel.ranks": ("tensor_parallel",),
    "tensor_parallel.model_fit": ("tensor_parallel",),
}


def evaluate(node: NodeFacts) -> list[Finding]:
    """Findings of area ``tensor_parallel``. The module has every signal itself; no rule adds to it yet."""
    return node.findings("tensor_parallel")
