# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tensor-parallel findings of ``vllm_tp_check``."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: Checks of this area, with the measurements that each one needs.
CHECKS: t.Final[dict[str, tuple[str, ...]]] = {
    "tensor_parallel.size": ("tensor_parallel",),
    "tensor_parallel.ranks": ("tensor_parallel",),
    "tensor_parallel.model_fit": ("tensor_parallel",),
}


def evaluate(node: NodeFacts) -> list[Finding]:
    """Return the findings of ``vllm_tp_check`` unchanged."""
    return node.findings("tensor_parallel")
