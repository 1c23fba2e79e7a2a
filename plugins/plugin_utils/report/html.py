# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the HTML report: a single file that works offline, without scripts, in dark mode, on phones and in print.

Everything that comes from a node is untrusted: the templates escape it, and the page's content security policy
allows neither scripts nor requests. The markup is in templates/. load_plots.py and timeline_plot.py compute the plots.
"""

from __future__ import annotations

import dataclasses
import functools
import typing as t
from collections.abc import Iterator, Mapping
from pathlib import Path

import jinja2
from ansible_collections.multigpu.vllm.plugins.module_utils import units
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import CHECKS
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.topology import LEGEND
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import (
    figures,
    load_plots,
    problem_list,
    tables,
    text,
    timeline_plot,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import UNICODE

Document = Mapping[str, t.Any]

#: Maximum number of nodes that are expanded initially in a large fleet. Only nodes that do not pass are expanded.
UNFOLDED: t.Final = 10
#: Size of the largest fleet, in nodes, in which all nodes are expanded initially.
SMALL_FLEET: t.Final = 3
#: Maximum number of rows in the table next to the utilisation plot.
_ROWS: t.Final = 20

_WORDS: t.Final = {"pass": "pass", "warn": "warning", "fail": "fail", "not_tested": "not tested"}


def report_html(document: Document) -> str:
    """Render the result document as an HTML page."""
    names = tables.worst_first(document)
    nodes = [_node(number, name, document, len(names)) for number, name in enumerate(names, start=1)]
    template = environment().get_template("report.html.j2")
    return template.render(
        **{key: document[key] for key in ("run", "summary", "fleet")},
        time=figures.moment(document["run"]["time"]),
        fleet_problems=[
            dataclasses.replace(problem_list.of_finding(finding), title=finding["summary"])
            for finding in tables.wrong({"sections": [document["fleet"]]})
        ],
        groups=[
            (name, group, [problem_list.of_finding(finding) for finding in tables.wrong({"sections": [group]})])
            for name, group in document["groups"].items()
        ],
        sections=max((_section_names(node["data"]) for node in nodes), key=len, default=[]),
        speeds=tables.LEGEND,
        nodes=nodes,
        fastest=max((node["data"]["facts"]["output_throughput"] or 0.0 for node in nodes), default=0.0),
    )


@functools.cache
def environment() -> jinja2.Environment:
    """Return the environment of the templates, with the filters and constants that they use."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        all_streams=figures.all_streams,
        cell=figures.cell,
        changes=figures.changes,
        clock_time=figures.clock_time,
        cost=figures.cost,
        latencies=figures.latencies,
        peer=figures.peer,
        link=figures.link,
        link_cells=figures.link_cells,
        pair_matrix=tables.pair_matrix,
        load_sources=tables.load_sources,
        section_word=tables.section_word,
        gpu=figures.gpu,
        gpu_count=figures.gpu_count,
        gib=lambda size: f"{size / units.GIB:.1f}",
        plain=figures.plain,
        speed=figures.speed,
        percent=figures.percent,
        position=lambda value: f"{value:.2f}".rstrip("0").rstrip("."),
    )
    environment.globals.update(
        checks=CHECKS,
        measured=measured,
        legend=topology_legend,
        peer_legend=figures.PEER_LEGEND,
        link_columns=figures.LINK_COLUMNS,
        link_legend=figures.LINK_LEGEND,
        symbols=UNICODE.symbols,
        words=_WORDS,
    )
    return environment


def _section_names(node: Document) -> list[str]:
    """Return short names of a node's sections, for the columns of the fleet table."""
    titles = {"nccl": "NCCL", "output": "Answers", "user": "Thresholds"}
    return [titles.get(area := section["area"], area.replace("_", " ").capitalize()) for section in node["sections"]]


def _node(number: int, name: str, document: Document, nodes: int) -> dict[str, t.Any]:
    """Return the template variables for one node: its entry in the document, and values derived from this entry."""
    data = document["hosts"][name]
    return {
        "name": name,
        "anchor": f"node-{number}",
        "group": tables.group_of_first(document, name),
        "data": data,
        "about": text.about(data, UNICODE),
        "unfolded": nodes <= SMALL_FLEET or (number <= UNFOLDED and data["status"] != "pass"),
        "problems": problem_list.problems(data),
        "groups": load_plots.load_groups(data["load"]),
        "timeline": timeline_plot.timeline(data["utilisation"], data["load"]),
        "utilisation_rows": tables.windows((data["utilisation"] or {}).get("rows") or (), _ROWS),
    }


def measured(finding: Mapping[str, t.Any]) -> str:
    """Format the measured and expected values of a finding, such as ``1, expected 4 (GPUs with model memory)``.

    Return an empty string if these values would add nothing to the summary.
    """
    shown = text.figure(finding).strip(" []")
    unit = finding["unit"] or ""
    return f"{shown} ({unit})" if shown and unit and unit not in shown else shown


def topology_legend(matrix: list[list[str | None]]) -> Iterator[tuple[str, str]]:
    """Return each type of GPU connection that occurs in ``matrix``, with its meaning, fastest type first."""
    kinds = {"NV#" if cell.startswith("NV") else cell for row in matrix for cell in row if cell}
    return ((kind, meaning) for kind, meaning in LEGEND.items() if kind in kinds)
