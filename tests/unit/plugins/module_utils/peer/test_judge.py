# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts on rows of the program: as two H200 gave them, and with one row changed."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.peer import judge
from ansible_collections.multigpu.vllm.plugins.module_utils.peer.run import SIZES
from ansible_collections.multigpu.vllm.tests.support.peer_data import ROWS, changed

GPUS = [0, 1]
LAST = SIZES[-1]


def judged(rows: list[dict[str, t.Any]]) -> tuple[dict[str, str], dict[str, t.Any]]:
    pairs, groups = judge.pairs_of(rows, GPUS, SIZES), judge.groups_of(rows, GPUS, SIZES)
    return judge.layers_of(pairs, groups), judge.finding(pairs, groups).as_dict()


def test_two_h200_pass_with_the_recorded_bandwidth() -> None:
    layers, finding = judged(ROWS)
    assert set(layers.values()) == {"pass"}
    assert finding["status"] == "pass"
    there, back = judge.pairs_of(ROWS, GPUS, SIZES)
    assert there["copy_bandwidth"] == pytest.approx(385e9, rel=0.02)
    assert back["write_bandwidth"] == pytest.approx(347e9, rel=0.02)


@pytest.mark.parametrize(
    ("change", "where", "layer", "verdict"),
    [
        ({"hangs": [0]}, {"test": "copy", "from": 0, "bytes": LAST}, "copies", "hangs"),
        ({"error": "cuLaunchKernel: error"}, {"test": "write", "to": 1, "bytes": 4}, "custom_all_reduce", "fails"),
        ({"bandwidth": 90e9}, {"test": "copy_speed", "from": 1}, "copies", "slow"),
        ({"offered": False}, {"test": "driver", "from": 1}, "driver", "unsupported"),
        ({"error": "cuInit: error", "offered": None}, {"test": "driver", "to": 0}, "driver", "not_tested"),
        ({"hangs": [0, 1]}, {"arm": "Simple", "bytes": LAST, "under_load": True}, "nccl", "hangs"),
        ({"not_run": "it hangs"}, {"arm": "LL", "bytes": 4}, "nccl", "not_tested"),
        ({"error": "ncclCommInitRank: error"}, {"arm": "control LL", "bytes": 4}, "nccl", "pass"),
    ],
)
def test_verdict_is_that_of_the_changed_row(
    change: dict[str, t.Any], where: dict[str, t.Any], layer: str, verdict: str
) -> None:
    layers, _finding = judged(changed(change, **where))
    assert layers[layer] == verdict


def test_all_reduce_that_fails_in_the_control_too_is_inconclusive() -> None:
    rows = changed({"hangs": [1]}, bytes=4, under_load=False)
    layers, finding = judged(rows)
    assert layers["nccl"] == "inconclusive"
    assert finding["status"] == "fail"
    assert judge.settings(layers, []) == {"environment": {}, "arguments": []}


@pytest.mark.parametrize(
    ("control", "avoidable"), [({}, True), ({"hangs": [1]}, False), ({"error": "x"}, False), ({"not_run": "x"}, True)]
)
def test_settings_avoid_a_fault_only_if_all_reduce_is_right_without_the_access(
    control: dict[str, t.Any], avoidable: bool
) -> None:
    copies = {"test": "copy", "from": 1, "bytes": 4}
    rows = [{**row, "hangs": [1]} if copies.items() <= row.items() else row for row in ROWS]
    rows = [{**row, **control} if row.get("arm") == "control LL" and "bytes" in row else row for row in rows]
    pairs, groups = judge.pairs_of(rows, GPUS, SIZES), judge.groups_of(rows, GPUS, SIZES)
    assert judge.verdict_of(pairs, groups) == "hangs"
    assert bool(judge.settings(judge.layers_of(pairs, groups), groups)["arguments"]) is avoidable


@pytest.mark.parametrize("kept", [0, 3, len(ROWS) // 2, len(ROWS) - 20, len(ROWS) - 1])
def test_an_unfinished_test_never_passes(kept: int) -> None:
    layers, finding = judged(ROWS[:kept])
    assert layers["nccl"] == "not_tested"
    assert finding["status"] == "not_tested"
