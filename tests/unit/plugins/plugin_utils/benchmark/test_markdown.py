# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the benchmark results as Markdown."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark import document
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.markdown import results_markdown
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.tests.support.sweep_results import sweep_results

RUN: t.Final = {"time": "2026-11-23T17:00:00+00:00", "options": {"targets": {"ttft": 1.5, "itl": None}}}


def show(results: dict[str, t.Any], directory: Path) -> list[str]:
    node = document.node_document(NodeFacts.from_results("node_01", results), RUN["options"]["targets"], directory)
    return results_markdown(document.results_document({"node_01": node, "lost": None}, RUN)).splitlines()


def test_results_markdown_has_a_row_for_each_combination(tmp_path: Path) -> None:
    lines = show(sweep_results(noise=1e-9), tmp_path)
    assert lines[0] == "# multigpu.vllm benchmark, 2026-11-23 17:00 UTC"
    assert "## node\\_01: pass" in lines
    table = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in table} == {10}
    assert table[2:4] == [
        "| 128 | 1 | 47.1 | - | 82.0 | 107 | 21.3 | 27.6 | 50 % |",
        "| 128 | 8 | 266.7 | - | 127 | 165 | 30.0 | 39.0 | 48 % |",
    ]
    assert len(table) == 2 + 6
    assert any(line.startswith("- Knee for 128-token prompts within TTFT 1500 ms (p95): 32 streams") for line in lines)
    assert "## lost: fail" in lines


def test_results_markdown_escapes_the_text_of_nodes(tmp_path: Path) -> None:
    results = sweep_results()
    results["load"]["server"]["model"] = "a/<b>|[x](y)"
    assert any("\\<b\\>\\|\\[x\\](y)" in line for line in show(results, tmp_path))
