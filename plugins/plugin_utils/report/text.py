# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the text report: for each node, sections with one line per check, then all problems with their fixes."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator, Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import CHECKS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import figures, problem_list, tables
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import UNICODE, WIDTH, Style

Node = Mapping[str, t.Any]
Finding = Mapping[str, t.Any]

_TITLE: t.Final = max(len(check.title) for check in CHECKS.values()) + 1
#: Maximum length of a unit in characters; longer units are omitted, because the summary contains them.
_SHORT_UNIT: t.Final = 6


def report_text(document: Mapping[str, t.Any], style: Style = UNICODE) -> str:
    """Return the report as text: the fleet table, followed by the details of each node, worst node first."""
    lines = [
        *tables.fleet(document, style),
        "",
        *(line for name in tables.worst_first(document) for line in entry_lines(name, document, style)),
        *_footer(document, style),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def entry_lines(name: str, document: Mapping[str, t.Any], style: Style) -> Iterator[str]:
    """Yield the lines about a node, after those about its group if it is the first member."""
    if group := tables.group_of_first(document, name):
        yield from group_lines(*group, style)
    yield from node_lines(name, document["hosts"][name], style)


def group_lines(name: str, group: Mapping[str, t.Any], style: Style = UNICODE) -> Iterator[str]:
    """Yield the lines about the checks of a group of nodes, whose members follow."""
    yield style.heavy * WIDTH
    yield style.title(f" {tables.group_title(name, group, style)}", group["status"])
    yield from style.wrap(f"members: {', '.join(group['hosts'])}", " ")
    yield style.heavy * WIDTH
    for finding in group["findings"]:
        yield from check_lines(finding, style)
    for number, finding in enumerate(tables.wrong({"sections": [group]}), start=1):
        yield ""
        yield from problem_list.problem(f" {number}. ", problem_list.of_finding(finding), style)
    yield ""


def node_lines(name: str, node: Node, style: Style = UNICODE) -> Iterator[str]:
    """Yield the lines about one node: header, sections and problems."""
    yield style.heavy * WIDTH
    yield style.title(f" {name}", node["status"])
    for line in about(node, style):
        yield from style.wrap(line, " ")
    yield style.heavy * WIDTH
    for error in node["errors"]:
        yield from style.wrap(error["reason"], f" {style.symbols['fail']} ")
    for section in node["sections"]:
        yield ""
        yield from _section(section, node, style)
    yield from problems(node, style)
    yield ""


def about(node: Node, style: Style) -> list[str]:
    """Describe the node in at most three lines: hardware, server and price."""
    gpus, vllm = node["facts"]["gpus"], node["facts"]["vllm"]
    hardware = [f"{count} {style.times} {name}" for name, count in gpus["names"].items()]
    if not hardware and gpus["count"] is not None:
        hardware = [f"{gpus['count']} GPUs"]
    hardware += [f"driver {gpus['driver_version']}"] if gpus["driver_version"] else []
    hardware += [f"CUDA {gpus['cuda_version']}"] if gpus["cuda_version"] else []
    engine = vllm.get("engine")
    server = [f"{engine} (not vLLM)"] if engine else [f"vLLM {vllm['version']}"] if vllm["version"] else []
    server += [f"TP {vllm['tensor_parallel_size']}"] if vllm["tensor_parallel_size"] else []
    server += [str(vllm["model"])] if vllm["model"] else []
    server += [f"image {_short_image(vllm['image'])}"] if vllm.get("image") else []
    cost = node["facts"]["cost"]
    price = [*figures.cost(cost), cost["source"]] if cost else []
    return [style.dot.join(parts) for parts in (hardware, server, price) if parts]


def _short_image(image: str) -> str:
    """Return the first 12 digits of an image's digest, as ``docker images`` does, or its name if it has no digest."""
    return re.sub(r".*@(sha256:\w{12}).*", r"\1", image)


def _section(section: Mapping[str, t.Any], node: Node, style: Style) -> Iterator[str]:
    head = f" {section['number']} {section['title']}"
    yield style.title(
        head, section["status"] if section["selected"] else "not_tested", word=tables.section_word(section)
    )
    if not section["selected"]:
        return
    reasons = {finding["summary"] for finding in section["findings"]}
    if section["status"] == "not_tested" and len(reasons) == 1:
        yield from style.wrap(f"not tested: {reasons.pop()}", f"    {style.symbols['not_tested']} ")
        return
    for finding in section["findings"]:
        yield from check_lines(finding, style)
    table = _TABLES.get(section["area"])
    if table is not None:
        lines = list(table(node, style))
        yield from (["", *lines] if lines else [])


#: For each area, the function that renders the table below its checks.
_TABLES: t.Final = {
    "hardware": tables.gpus,
    "memory": tables.memory,
    "nccl": tables.nccl,
    "performance": tables.load,
    "utilisation": tables.utilisation,
    "configuration": tables.settings,
    "network": tables.links,
}


def check_lines(finding: Finding, style: Style) -> list[str]:
    """Return the lines about one check, such as ``✗ GPU count   3 GPUs [3, expected 4]``."""
    title = CHECKS[finding["check"]].title
    status = finding["status"]
    text = f"not tested: {finding['summary']}" if status == "not_tested" else finding["summary"]
    first = f"    {style.symbols[status]} {title:<{_TITLE}}"
    lines = style.wrap(text if status == "not_tested" else f"{text}{figure(finding)}", first)
    if status == "pass" and len(lines) > 1:
        lines = style.wrap(text, first)
    return [lines[0].replace(style.symbols[status], style.mark(status), 1), *lines[1:]]


def figure(finding: Finding) -> str:
    """Format the measured and expected values of a finding, such as `` [3, expected 4]``.

    Return an empty string if nothing was expected, if both values are equal, or if the summary contains both, or names
    the measured one in words (``connection_refused``).
    """
    measured, expected = finding["measured"], finding["expected"]
    if measured is None or expected is None or measured == expected:
        return ""
    words = finding["summary"].replace(",", " ").split()
    named = "_" in str(measured) and str(measured).replace("_", " ") in finding["summary"]
    if named or (str(measured) in words and str(expected) in words):
        return ""
    unit = finding["unit"] or ""
    bound = "" if str(expected).startswith(("at least", "at most", "below")) else "expected "
    return f" [{_quantity(measured, unit)}, {bound}{_quantity(expected, unit)}]"


def _quantity(value: t.Any, unit: str) -> str:
    """Return ``value`` as text. If it is a number, append ``unit``, unless the unit is long."""
    if not isinstance(value, (int, float)):
        return str(value)
    number = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{number} {unit}" if unit and len(unit) <= _SHORT_UNIT else number


def problems(node: Node, style: Style) -> Iterator[str]:
    """Yield the numbered problems of a node, each with its evidence and fix."""
    listed = problem_list.problems(node)
    if not listed:
        return
    yield ""
    yield " What is wrong, and what to do"
    for number, item in enumerate(listed, start=1):
        yield ""
        yield from problem_list.problem(f" {number}. ", item, style)


def _footer(document: Mapping[str, t.Any], style: Style) -> list[str]:
    run = document["run"]
    return [
        style.rule * WIDTH,
        f" {style.fit(style.dot.join((run['time'], 'multigpu.vllm ' + run['collection_version'])), WIDTH - 1)}",
        *style.wrap(
            "TTFT: time to first token. ITL: time between two tokens. TPOT: (end to end - TTFT) / (tokens - 1). "
            "tok/s: output tokens of all streams per second. A check that was not tested never counts as a pass.",
            " ",
        ),
    ]
