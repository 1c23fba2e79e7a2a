# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ranks of pipelines and replicas: their GPUs, process names and communicators."""

from __future__ import annotations

import pytest
from emulator.layout import Layout


def test_layout_ranks_use_consecutive_gpus_by_engine_and_stage() -> None:
    layout = Layout(tensor=2, pipeline=2, data=2)
    assert [(rank.engine, rank.stage, rank.tensor, rank.gpu) for rank in layout.ranks] == [
        (0, 0, 0, 0),
        (0, 0, 1, 1),
        (0, 1, 0, 2),
        (0, 1, 1, 3),
        (1, 0, 0, 4),
        (1, 0, 1, 5),
        (1, 1, 0, 6),
        (1, 1, 1, 7),
    ]


def test_layout_ranks_use_only_visible_gpus() -> None:
    assert [rank.gpu for rank in Layout(tensor=2, gpus=[2, 3]).ranks] == [2, 3]


def test_layout_of_a_node_has_its_part_of_the_ranks_on_its_own_gpus() -> None:
    second = Layout(tensor=2, pipeline=2, gpus=range(2), nodes=2, node=1)
    assert [(rank.number, rank.stage, rank.tensor, rank.gpu) for rank in second.ranks] == [(2, 1, 0, 0), (3, 1, 1, 1)]
    assert (second.engine_names, second.server_names) == ([], [])


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        # vllm serve of 0.26 on two H200.
        (Layout(tensor=2), ["EngineCore", "Worker_TP0", "Worker_TP1"]),
        (Layout(pipeline=2), ["EngineCore", "Worker_PP0", "Worker_PP1"]),
        # 0.32 on the CPU, whose engines have a worker process even for a single rank.
        (Layout(data=2), ["EngineCore_DP0", "EngineCore_DP1", "Worker", "Worker"]),
        # setup_proc_title_and_log_prefix of 0.27 and 0.32.
        (
            Layout(tensor=2, pipeline=2),
            ["EngineCore", "Worker_PP0_TP0", "Worker_PP0_TP1", "Worker_PP1_TP0", "Worker_PP1_TP1"],
        ),
    ],
)
def test_layout_process_names_are_those_of_vllm(layout: Layout, names: list[str]) -> None:
    assert [*layout.engine_names, *map(layout.worker_name, layout.ranks)] == names


def test_layout_groups_are_tensor_groups_of_each_stage_and_pipelines_across_stages() -> None:
    assert Layout(tensor=2, pipeline=2).groups == [
        ("tp:0", [0, 1]),
        ("tp:1", [2, 3]),
        ("pp:0", [0, 2]),
        ("pp:1", [1, 3]),
    ]
    assert Layout(data=4).groups == []


@pytest.mark.parametrize(
    ("layout", "text"), [(Layout(), ""), (Layout(tensor=2, pipeline=2), "tp2-pp2"), (Layout(data=4), "dp4")]
)
def test_layout_text_names_sizes_above_1(layout: Layout, text: str) -> None:
    assert layout.text == text
