# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node's stored baseline says of the speed of one stream: an expectation where nothing better is known."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.document import identify
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.store import find
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts


def past_speeds(directory: Path, node: NodeFacts) -> list[float]:
    """Output tokens/s of one stream after its first token, one number for each valid round with a single stream.

    Empty without a baseline of this node, GPU model and model, and where it was measured at another tensor-parallel
    size: then it says nothing about today's.

    :raises UnreadableBaseline: where the file is there and is no baseline.
    """
    baseline = find(directory, identify(node))
    if baseline is None or baseline.tensor_parallel_size != node.tensor_parallel.data.get("tensor_parallel_size"):
        return []
    rounds = [entry for cell in baseline.cells if cell["concurrency"] == 1 for entry in cell["rounds"]]
    return [1.0 / entry["itl"]["p50"] for entry in rounds if entry["invalid"] is None and entry["itl"]]
