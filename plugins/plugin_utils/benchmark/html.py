# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render a benchmark's result document as an HTML page, in the same style as the validation report."""

from __future__ import annotations

import itertools
import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.text import (
    knee_lines,
    of_expected,
    percent,
    reference,
    subject,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import load_plots, plot
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.figures import three_digits
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.html import environment
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import UNICODE

Document = Mapping[str, t.Any]


def results_html(document: Document) -> str:
    """Render the results of a benchmark: plots and a table for each node."""
    targets = document["run"]["options"]["targets"]
    nodes = [
        {
            "name": name,
            "data": node,
            "about": subject(node, UNICODE),
            "groups": [*load_plots.load_groups([_step(cell) for cell in node["cells"]]), *_pareto(node)],
            "lines": [*knee_lines(node, targets), *([reference(node)] if node["cells"] else [])],
            "rows": [(cell, of_expected(cell), percent(cell["within_targets"], 0)) for cell in _measured(node)],
        }
        for name, node in document["nodes"].items()
    ]
    return environment().get_template("benchmark.html.j2").render({**document, "nodes": nodes})


def _measured(node: Document) -> list[Document]:
    return [cell for cell in node["cells"] if cell["output_throughput"] is not None]


def _step(cell: Document) -> Document:
    """Return a row of the benchmark in the form of a load step, which ``load_plots`` reads."""
    return {**cell, "skipped": cell["reason"], "void": False, "expectation": {}}


def _pareto(node: Document) -> list[plot.Drawing]:
    """Return a plot of the total speed against the speed of one stream, with one line for each prompt size.

    Each point is a number of streams. No server is faster for all users together without being slower for each one.
    """
    lines = {
        f"prompts of {size:,} tokens": [
            (cell["output_throughput"] / cell["concurrency"], cell["output_throughput"], cell["concurrency"])
            for cell in cells
        ]
        for size, cells in itertools.groupby(_measured(node), key=lambda cell: cell["prompt_tokens"])
    }
    points = [point for line in lines.values() for point in line]
    if len(points) <= len(lines) or not any(total for _each, total, _streams in points):
        return []
    (right, x_ticks), (top, y_ticks) = (
        plot.linear_axis(1.08 * max(point[axis] for point in points)) for axis in (0, 1)
    )
    placed = [[(100 * each / right, 100 * total / top) for each, total, _streams in line] for line in lines.values()]
    described = (
        f"{name}: "
        + ", ".join(
            f"{three_digits(total)} tok/s at {three_digits(each)} tok/s for each of {streams} streams"
            for each, total, streams in line
        )
        for name, line in lines.items()
    )
    panel = {
        "title": "Total speed",
        "unit": "tok/s",
        "x_title": "tok/s of one stream",
        "x_ticks": x_ticks,
        "y_ticks": y_ticks,
        "series": tuple(
            {
                "line": plot.path(line),
                "dots": "".join(f"M{plot.number(x)} {plot.number(100 - y)}h0" for x, y in line),
                "spread": "",
            }
            for line in placed
        ),
        "labels": [],
        "limits": None,
        "summary": f"Total speed against the speed of one stream. {'; '.join(described)}.",
    }
    return [{"title": "Against the speed of one stream (Pareto)", "panels": [panel], "series": tuple(lines)}]
