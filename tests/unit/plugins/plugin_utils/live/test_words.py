# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.screen import Size
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.view import NodeProgress
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.words import WordsView

VIEW = WordsView("reading the logs")


def test_nodes_that_are_waited_for_are_named():
    nodes = {"a": NodeProgress(7.5), "b": NodeProgress(7.0, ended="done"), "c": NodeProgress(2.0)}
    assert VIEW.plain(nodes) == ["a, c: reading the logs, 0:07"]
    assert VIEW.table(nodes, Size(79, 23)) == [" a, c: reading the logs, 0:07"]


def test_many_nodes_are_counted():
    assert VIEW.plain({f"node-{number}": NodeProgress(65.0) for number in range(5)}) == [
        "5 nodes: reading the logs, 1:05"
    ]


def test_nothing_is_left_to_say():
    assert VIEW.plain({"a": NodeProgress(7.5, ended="done")}) == []
    assert VIEW.table({"a": NodeProgress(7.5, ended="done")}, Size(79, 23)) == []
    assert VIEW.closing("a", {}) == []


def test_line_fits_the_window():
    nodes = {f"{number}-{'x' * 60}": NodeProgress(1.0) for number in range(4)}
    (line,) = VIEW.table(nodes, Size(79, 23))
    assert len(line) <= 79
