# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Summarise the distances that the lane measures. The servers themselves need a GPU."""

from __future__ import annotations

import typing as t
from pathlib import Path

import outputs
import pytest
from ansible_collections.multigpu.vllm.tests.support.output_distances import distances, summary


def position(*logprobs: float) -> dict[str, t.Any]:
    return {"tokens": list(range(len(logprobs))), "logprobs": list(logprobs)}


def recording(load: int, *positions: dict[str, t.Any]) -> dict[str, t.Any]:
    answers = [{"prompt": "p", "text": "", "scored": list(positions), "generated": []}]
    return {"load": load, "seed": 0, "answers": answers}


def test_distances_are_taken_from_the_first_server_without_load() -> None:
    reference = [recording(0, position(-1.0, -3.0)), recording(16, position(-2.0, -6.0))]
    rows = list(distances([recording(16, position(-1.2, -3.0))], reference))
    assert [(row["load"], row["positions"]) for row in rows] == [(16, 1)]
    figures = summary(rows)
    assert (figures["comparisons"], figures["flips"]) == (1, 0)
    assert figures["worst"] == pytest.approx(0.1)
    assert figures["worst_relative"] == pytest.approx(0.1 / 2)


def test_servers_load_the_weights_and_only_one_is_damaged(tmp_path: Path) -> None:
    models = {}
    for name, case in outputs.cases("1.5b").items():
        server = outputs.WeightsServer(case, tmp_path, tmp_path, name, "0")
        assert "--load-format" not in server.command
        assert str(server.model) in server.command
        models[name] = server.model
    assert len(set(models.values())) == 2
    assert models["damaged"] != models["reference"]
