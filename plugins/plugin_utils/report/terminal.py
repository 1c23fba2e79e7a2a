# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the terminal summary of a run: the fleet, the main problems of the worst nodes, and the report files."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.units import counted
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import problem_list, tables, text
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import WIDTH, Style

#: Maximum number of nodes with details on the terminal, and of problems per node; the report lists all problems.
NODES: t.Final = 5
FINDINGS: t.Final = 3


def summary_text(
    document: Mapping[str, t.Any], files: Sequence[str], style: Style, *, full: bool = False, kept: str | None = None
) -> str:
    """Return the terminal summary; it includes every section if ``full`` is set or there is only one node.

    :param kept: directory with a dated copy of ``files``.
    """
    lines = ["", *tables.fleet(document, style)]
    if full or len(document["hosts"]) == 1:
        for name in tables.worst_first(document):
            lines += ["", *text.entry_lines(name, document, style)]
    else:
        lines += _details(document, style)
    lines += ["", style.rule * WIDTH]
    lines += [f" {'' if number else 'Report':<7} {path}" for number, path in enumerate(files)]
    if kept:
        lines.append(f" Kept    {kept}")
    if not files:
        lines.append(" Check mode: no load was generated and no report was written.")
    return "\n".join(lines)


def _details(document: Mapping[str, t.Any], style: Style) -> Iterator[str]:
    nodes = document["hosts"]
    for name, group in document["groups"].items():
        if listed := [problem_list.of_finding(finding) for finding in tables.wrong({"sections": [group]})]:
            yield ""
            yield style.title(f" {tables.group_title(name, group, style)}", group["status"])
            for item in listed:
                yield from problem_list.problem("   ", item, style, evidence=False)
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
        yield f" and {counted(len(troubled) - NODES, 'more node')} with problems; see the report"
