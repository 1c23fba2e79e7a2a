# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the comparison of a node with its last report."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.history.node_changes import changes


def node(speed: float | None, size: int = 4, *titles: str, status: str = "pass") -> dict[str, t.Any]:
    return {
        "status": status,
        "facts": {
            "one_stream": None if speed is None else {"speed": speed},
            "vllm": {"tensor_parallel_size": size},
            "gpus": {"count": 4},
        },
        "diagnoses": [{"title": title} for title in titles],
    }


def test_changes_after_a_fix() -> None:
    before, after = node(12.2, 1, "vLLM uses 1 of 4 GPUs", status="fail"), node(47.6, 4, "The KV cache is small")
    assert changes("2026-11-23", before, after) == {
        "since": "2026-11-23",
        "values": {"one_stream": [12.2, 47.6], "tensor_parallel_size": [1, 4], "status": ["fail", "pass"]},
        "fixed": ["vLLM uses 1 of 4 GPUs"],
        "new": ["The KV cache is small"],
    }


@pytest.mark.parametrize(
    ("before", "after", "values"),
    [
        (100.0, 96.0, {}),
        (100.0, 94.0, {"one_stream": [100.0, 94.0]}),
        (None, 50.0, {"one_stream": [None, 50.0]}),
        (50.0, None, {"one_stream": [50.0, None]}),
    ],
)
def test_changes_of_speed_beyond_noise(before: float | None, after: float | None, values: dict) -> None:
    assert changes("x", node(before), node(after))["values"] == values
