# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speeds of one stream out of a stored baseline."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.document import identify
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.history import past_speeds
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.store import UnreadableBaseline, store
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts


def node(tensor_parallel_size: int = 4, version: str = "0.32.0") -> NodeFacts:
    return NodeFacts.from_results(
        "node-01",
        {
            "tensor_parallel": {"tensor_parallel_size": tensor_parallel_size},
            "load": {"server": {"model": "m", "version": version}},
        },
    )


def entry(itl: float | None, invalid: str | None = None) -> dict[str, t.Any]:
    return {"invalid": invalid, "itl": {"p50": itl, "p95": itl, "p99": itl} if itl else None}


CELLS: t.Final = [
    {"concurrency": 1, "rounds": [entry(0.02), entry(0.025), entry(0.5, "client limited"), entry(None)]},
    {"concurrency": 8, "rounds": [entry(0.1)]},
]


def keep(folder: Path, size: int = 4) -> None:
    stored = {"gpus": 4, "tensor_parallel_size": size, "cells": CELLS}
    store(folder, identify(node()), stored, "2026-11-23T17:00:00+00:00")


def test_valid_rounds_of_one_stream_count(tmp_path: Path) -> None:
    keep(tmp_path)
    assert past_speeds(tmp_path, node()) == pytest.approx([50.0, 40.0])


def test_another_version_is_still_this_nodes_past(tmp_path: Path) -> None:
    keep(tmp_path)
    assert past_speeds(tmp_path, node(version="0.33.0")) == pytest.approx([50.0, 40.0])


def test_another_tensor_parallel_size_is_not(tmp_path: Path) -> None:
    keep(tmp_path, size=2)
    assert past_speeds(tmp_path, node()) == []


def test_nothing_stored_says_nothing(tmp_path: Path) -> None:
    assert past_speeds(tmp_path / "missing", node()) == []


def test_a_damaged_baseline_is_named(tmp_path: Path) -> None:
    (tmp_path / identify(node()).file_name).write_text("{")
    with pytest.raises(UnreadableBaseline, match="cannot be used"):
        past_speeds(tmp_path, node())
