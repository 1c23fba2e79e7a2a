# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the terminal summary of a run: the fleet, the main problems of the worst nodes, and the report files."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import problem_list, tables, text
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import WIDTH, Style

#: Nodes with details on the terminal, and problems per node; the report has all.
NODES: t.Final = 5
FINDINGS: t.Final = 3


def summary_text(document: Mapping[str, t.Any], files: Sequence[str], style: Style, *, full: bool = False) -> str:
    """Return the terminal report; with ``full``, or for a single node, every section of every node."""
    lines = list(_overview(document, style))
    if full or len(document["hosts"]) == 1:
        for name in tables.worst_first(document):
            lines += ["", *text.node_lines(name, document["hosts"][name], style)]
    else:
        lines += _details(document, style)
    lines += ["", style.rule * WIDTH]
    lines += _files(files)
    return "\n".join(lines)


def _overview(document: Mapping[str, t.Any], style: Style) -> Iterator[str]:
    yield ""
    yield from tables.fleet(document, style)


def _details(document: Mapping[str, t.Any], style: Style) -> Iterator[str]:
    nodes = document["hosts"]
    troubled = [name for name in tables.worst_first(document) if nodes[name]["errors"] or tables.wrong(nodes[name])]
    for name in troubled[:NODES]:
        node = nodes[name]
        listed = problem_list.problems(node)
        yield ""
        yield style.title(f" {name}", node["status"])
        for error in node["errors"]:
            yield from style.wrap(error["reason"], f"   {style.symbols['fail']} ")
        for item in listed[:FINDINGS]:
            yield from problem_list.problem("   ", item, style, evidence=False)
        if len(listed) > FINDINGS:
            yield f"     and {len(listed) - FINDINGS} more; see the report"
    if len(troubled) > NODES:
        yield ""
        more = len(troubled) - NODES
        yield f" and {more} more node{'s' if more != 1 else ''} with problems; see the report"


def _files(files: Sequence[str]) -> Iterator[str]:
    if not files:
        yield " Check mode: no load was generated and no report was written."
    for number, path in enumerate(files):
        yield f" {'' if number else 'Report':<7} {path}"
