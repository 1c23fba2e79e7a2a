# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.logs import newer_than, part_of

LOG = [
    "(APIServer pid=1) INFO 11-23 11:30:01 [api_utils.py:286] non-default args: {}",
    "(Worker_TP0 pid=9) WARNING 11-23 11:30:09 [custom_all_reduce.py:144] Custom allreduce is disabled",
    "INFO:     Application startup complete.",
    'INFO:     127.0.0.1:4711 - "POST /v1/completions HTTP/1.1" 200 OK',
    "torch.OutOfMemoryError: CUDA out of memory.",
]


@pytest.mark.parametrize(("part", "kept"), [("all", [0, 1, 2, 3, 4]), ("start", [0, 1, 2]), ("errors", [1, 4])])
def test_part_of_selects_lines(part: str, kept: list[int]) -> None:
    assert part_of(LOG, part) == [LOG[index] for index in kept]


@pytest.mark.parametrize("part", ["all", "start", "errors"])
def test_part_of_masks_secrets(part: str) -> None:
    assert part_of(["ERROR authorization: bearer hush"], part) == ["ERROR authorization: ***"]


def test_part_of_unfinished_start_is_the_whole_log() -> None:
    assert part_of(LOG[:2], "start") == LOG[:2]
    assert part_of([], "start") == []


def test_newer_than_sorts_both_streams_and_drops_known_lines() -> None:
    lines = ["2026-11-23T10:00:03.5Z out", "2026-11-23T10:00:01.5Z old", "2026-11-23T10:00:02.5Z error"]
    assert newer_than(lines, "2026-11-23T10:00:01.5Z") == [tuple(lines[2].split(" ", 1)), tuple(lines[0].split(" ", 1))]
