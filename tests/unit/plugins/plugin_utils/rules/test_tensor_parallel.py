# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the findings of vllm_tp_check are returned unchanged."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import tensor_parallel
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts


def test_tensor_parallel_returns_the_modules_findings(node: Callable[..., NodeFacts], results: dict) -> None:
    assert [item.check for item in tensor_parallel.evaluate(node(results))] == list(tensor_parallel.CHECKS)
