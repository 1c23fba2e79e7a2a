# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the benchmark results as an HTML page."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark import document
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.html import results_html
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.tests.support.sweep_results import sweep_results

RUN: t.Final = {
    "time": "2026-11-23T17:00:00+00:00",
    "collection_version": "0.1.0",
    "ansible_version": "2.19.0",
    "options": {"targets": {"ttft": 1.5, "itl": None}},
}


def show(directory: Path, **results: t.Any) -> str:
    node = document.node_document(
        NodeFacts.from_results("node-01", {**sweep_results(noise=1e-9), **results}),
        RUN["options"]["targets"],
        directory,
    )
    return results_html(document.results_document({"node-01": node, "lost": None}, RUN))


def test_results_html_plots_latency_against_the_load_and_the_pareto_front(tmp_path: Path) -> None:
    page = show(tmp_path)
    summaries = re.findall(r'aria-label="([^"]*\.)"', page)
    assert any(
        text.startswith("Time to first token against concurrency. prompts of 128 tokens: 82.0 ms") for text in summaries
    )
    (pareto,) = [text for text in summaries if text.startswith("Total speed against the speed of one stream.")]
    assert "prompts of 128 tokens: 47.1 tok/s at 47.1 tok/s for each of 1 streams, 267 tok/s at 33.3 tok/s" in pareto
    assert page.count("<tr><td") == 6


def test_results_html_of_a_node_without_results_has_the_reason(tmp_path: Path) -> None:
    page = show(tmp_path, load={"failed": True, "msg": "<b>boom"})
    assert "throughput_probe failed: &lt;b&gt;boom" in page
    assert "Total speed" not in page


def test_results_html_has_no_pareto_front_of_a_single_number_of_streams(tmp_path: Path) -> None:
    assert "Total speed" not in show(tmp_path, **sweep_results(concurrency=[1]))
