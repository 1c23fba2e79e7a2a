# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the tables and bars in the text report."""

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import SEVERITY, Status
from ansible_collections.multigpu.vllm.plugins.module_utils.units import GIB, counted
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import figures
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import WIDTH, WORDS, Style

Document = Mapping[str, t.Any]

_INDENT: t.Final = "      "
#: Maximum number of rows in the utilisation table; a longer load test is averaged over this many time windows.
_ROWS: t.Final = 10
#: Maximum number of GPUs in a table that fits into 80 columns.
_COLUMNS: t.Final = 8
#: Size of the largest fleet, in nodes, whose table also shows the activity and memory of the GPUs of nodes that pass.
_DETAILED: t.Final = 20
#: Explanation of the speeds in the fleet table.
LEGEND: t.Final = (
    "Speeds in output tokens/s: one stream, its share of the expected speed, and all streams of the best load step "
    "(with their number)."
)


def worst_first(document: Document) -> list[str]:
    """Return the node names, sorted by status (worst first), number of problems (most first) and name.

    The members of a group stay together, in the order of their ranks, at the place of the group.
    """
    nodes = document["hosts"]
    units = [[name for name in group["hosts"] if name in nodes] for group in document["groups"].values()]
    alone = set(nodes).difference(*units)
    statuses = [group["status"] for group in document["groups"].values()]
    ranked = [*zip(statuses, units, strict=True), *((nodes[name]["status"], [name]) for name in alone)]

    def key(item: tuple[str, list[str]]) -> tuple[int, int, list[str]]:
        status, names = item
        return (-SEVERITY.index(Status(status)), -sum(len(wrong(nodes[name])) for name in names), names)

    return [name for _status, names in sorted(ranked, key=key) for name in names]


def group_of_first(document: Document, name: str) -> tuple[str, Document] | None:
    """Return the name and the entry of a group if ``name`` is its first member in the report, otherwise None."""
    for title, group in document["groups"].items():
        if name == next((host for host in group["hosts"] if host in document["hosts"]), None):
            return title, group
    return None


def group_title(name: str, group: Document, style: Style) -> str:
    """Return the heading of a group, such as ``group llm · 2 nodes``."""
    return style.dot.join((f"group {name}", counted(len(group["hosts"]), "node")))


def wrong(node: Document) -> list[dict[str, t.Any]]:
    """Return a node's failures, followed by its warnings, both in the order of the report's sections."""
    problems = [
        finding
        for section in node["sections"]
        for finding in section["findings"]
        if finding["status"] in ("fail", "warn")
    ]
    return sorted(problems, key=lambda finding: finding["status"] != "fail")


def section_word(section: Document) -> str | None:
    """Return the words for the verdict of a section if the usual word would hide something, otherwise None.

    A section that was not selected has no verdict. A pass states how many checks were not tested.
    """
    if not section["selected"]:
        return "not selected"
    findings = section["findings"]
    untested = sum(finding["status"] == "not_tested" for finding in findings)
    if section["status"] != "pass" or not untested:
        return None
    return f"{WORDS['pass']}, {untested} of {len(findings)} not tested"


def heading(name: str, counts: Mapping[str, int], status: str, style: Style) -> list[str]:
    """Return the heading of a summary, with the total number of nodes and the number of nodes with each status."""
    shown = ", ".join(f"{count} {WORDS[status]}" for status, count in counts.items() if count)
    title = style.dot.join((f" {name}", counted(sum(counts.values()), "node"), shown))
    return [style.heavy * WIDTH, style.title(title, status), style.heavy * WIDTH]


def fleet(document: Document, style: Style) -> Iterator[str]:
    """Yield the lines of the fleet table, worst node first, followed by the cost and the findings of the fleet.

    A node has a row with its verdict, number of GPUs, tensor-parallel size and speeds. The lines below the row state
    what is wrong, which GPUs are active, and the memory in use.
    """
    total = len(document["hosts"])
    yield from heading("multigpu.vllm", document["summary"]["hosts"], document["summary"]["status"], style)
    if partial := document["run"].get("partial"):
        yield from style.wrap(f"Partial run: {', '.join(partial)}", "   ")
    names = worst_first(document)
    width = min(max([len("node"), *map(len, names)]), 18)
    verdict = max([len("verdict"), *(len(WORDS[node["status"]]) for node in document["hosts"].values())])
    yield f"   {'node':<{width}}  {'verdict':<{verdict}}  GPUs     TP  1 stream  expected  all streams"
    for name in names:
        node = document["hosts"][name]
        if group := group_of_first(document, name):
            yield style.title(f" {style.symbols[group[1]['status']]} {group_title(*group, style)}", group[1]["status"])
            for finding in group[1]["findings"]:
                yield from style.wrap(finding["summary"], f"     {style.symbols[finding['status']]} ")
        if len(name) > width:
            yield f"   {style.fit(name, WIDTH - 3)}"
        yield _node_row(name if len(name) <= width else "", node, width, verdict, style)
        if node["headline"]:
            yield from style.wrap(node["headline"], "     ")
        if total <= _DETAILED or node["status"] != "pass":
            yield from (line for text in state(node) for line in style.wrap(text, "     "))
        yield from (line for text in figures.changes(node) for line in style.wrap(text, "     "))
    yield from style.wrap(LEGEND, "   ")
    if bill := document["summary"]["cost"]:
        alone = "" if bill["nodes"] == total else f" ({bill['nodes']} of {total} nodes have a known price)"
        yield from style.wrap(f"{style.dot.join(figures.cost(bill))}{alone}", "   ")
    for finding in document["fleet"]["findings"]:
        if finding["status"] in ("fail", "warn"):
            yield from style.wrap(finding["summary"], f" {style.symbols[finding['status']]} ")
    yield from networks(document, style)


def _node_row(name: str, node: Document, width: int, verdict: int, style: Style) -> str:
    status, facts = node["status"], node["facts"]
    alone = facts["one_stream"] or {"speed": None, "percent": None}
    cells = (
        f"{style.fit(name, width):<{width}}",
        style.paint(f"{WORDS[status]:<{verdict}}", status),
        f"{figures.gpu_count(facts['gpus']):<6}",
        f"{figures.cell(facts['vllm']['tensor_parallel_size']):>3}",
        f"{figures.speed(alone['speed']):>8}",
        f"{figures.percent(alone['percent']):>8}",
        f"{figures.all_streams(facts):>11}",
    )
    return f" {style.mark(status)} {'  '.join(cells)}"


def state(node: Document) -> list[str]:
    """Return a line about the active GPUs and one about the memory in use, if there is a reading of any GPU."""
    gpus = node["facts"]["gpus"]
    lines = [gpus["activity"]["summary"] if gpus["devices"] else "", figures.memory_in_use(node["memory"])]
    return [line for line in lines if line]


def gpus(node: Document, style: Style) -> Iterator[str]:
    """Yield a line with the name, memory and PCIe link of each GPU, their connections, and the test of their data."""
    for device in node["facts"]["gpus"]["devices"]:
        yield from style.wrap(figures.gpu(device), f"{_INDENT}GPU {device['index']:<2} ")
    for matrix in (list(topology(node, style)), list(peers(node, style))):
        yield from ["", *matrix] if matrix else ()


def topology(node: Document, style: Style) -> Iterator[str]:
    """Yield the connection matrix of the GPUs in the style of ``nvidia-smi topo -m``."""
    matrix = node["facts"]["gpus"]["topology"] or []
    if len(matrix) < 2:
        return
    width = max(6, *(len(cell or "") + 1 for row in matrix for cell in row))
    if len(_INDENT) + 6 + width * len(matrix) > WIDTH:
        return
    yield f"{_INDENT}      " + "".join(f"{f'GPU {column}':>{width}}" for column in range(len(matrix)))
    for number, row in enumerate(matrix):
        yield f"{_INDENT}GPU {number:<2}" + "".join(f"{cell or '-':>{width}}" for cell in row)


def pair_matrix(pairs: Sequence[Document]) -> dict[t.Any, list[Document | None]]:
    """Return a row for each sender (GPU or node), with a pair for each receiver, or None for the sender itself."""
    ends = list(dict.fromkeys([*(pair["from"] for pair in pairs), *(pair["to"] for pair in pairs)]))
    by_ends = {(pair["from"], pair["to"]): pair for pair in pairs}
    return {row: [by_ends.get((row, column)) for column in ends] for row in ends}


def peers(node: Document, style: Style) -> Iterator[str]:
    """Yield the bandwidth or the fault between each ordered pair of GPUs, as a matrix."""
    matrix = pair_matrix(node["facts"]["gpus"]["peers"])
    if not matrix or len(_INDENT) + 6 + 8 * len(matrix) > WIDTH:
        return
    yield f"{_INDENT}      " + "".join(f"{f'GPU {column}':>8}" for column in matrix)
    for row, pairs in matrix.items():
        yield f"{_INDENT}GPU {row:<2}" + "".join(f"{'X' if pair is None else figures.peer(pair):>8}" for pair in pairs)
    yield from style.wrap(figures.PEER_LEGEND, _INDENT)


def links(node: Document, style: Style) -> Iterator[str]:
    """Yield a row for the link to each other member of the node's group."""
    rows = [(link["to"], figures.link_cells(link)) for link in node["facts"]["links"]]
    if not rows:
        return
    widths = [max(6, len(column)) for column in figures.LINK_COLUMNS]
    room = WIDTH - len(_INDENT) - sum(column + 2 for column in widths)
    width = min(room, max(len("to"), *(len(name) for name, _cells in rows)))
    for name, cells in (("to", figures.LINK_COLUMNS), *rows):
        columns = zip(cells, widths, strict=True)
        yield f"{_INDENT}{style.fit(name, width):<{width}}" + "".join(f"  {cell:>{column}}" for cell, column in columns)


def networks(document: Document, style: Style) -> Iterator[str]:
    """Yield a matrix of the links of each group that fits into 80 columns."""
    for pairs in document["fleet"]["networks"]:
        matrix = pair_matrix(pairs)
        width = max(9, *(len(str(name)) + 1 for name in matrix))
        if 3 + width * (len(matrix) + 1) > WIDTH:
            continue
        yield ""
        yield f"   {'':<{width}}" + "".join(f"{name:>{width}}" for name in matrix)
        for row, cells in matrix.items():
            shown = ("X" if column == row else figures.link(cell) for column, cell in zip(matrix, cells, strict=True))
            yield f"   {row:<{width}}" + "".join(f"{text:>{width}}" for text in shown)
        yield from style.wrap(figures.LINK_LEGEND, "   ")


def nccl(node: Document, style: Style) -> Iterator[str]:
    """Yield the NCCL version, the number of connections per transport, and the log lines that led to findings."""
    facts = node["facts"]["nccl"]
    parts = [f"NCCL {facts['version']}"] if facts["version"] else []
    kinds = {kind.removeprefix("transport_").replace("_", " "): count for kind, count in facts["transports"].items()}
    parts += [f"{count} {style.times} {kind}" for kind, count in kinds.items()]
    if parts:
        yield from style.wrap(style.dot.join(parts), _INDENT)
    for line in facts["lines"]:
        place = f"line {line['line']}: " if line["line"] else ""
        yield from style.wrap(f"{place}{line['text']}", _INDENT, f"{_INDENT}  ")


def settings(node: Document, style: Style) -> Iterator[str]:
    """Yield the arguments and environment variables of the running server."""
    configuration = node["facts"]["configuration"]
    for title, values in (("Arguments", configuration["arguments"]), ("Environment", configuration["environment"])):
        for number, (key, value) in enumerate((values or {}).items()):
            head = f"{_INDENT}{'' if number else title:<12}"
            yield from style.wrap(f"{key}: {figures.plain(value)}", head, " " * (len(head) + 2))


def memory(node: Document, style: Style) -> Iterator[str]:
    """Yield one line per GPU with a bar that shows its memory use."""
    for gpu in node["memory"]:
        used = gpu["used"] / GIB
        if gpu["total"]:
            share = gpu["used"] / gpu["total"]
            yield (
                f"{_INDENT}GPU {gpu['index']:<2} {style.gauge(share, 30)} {used:6.1f} of {gpu['total'] / GIB:.1f} GiB"
                f" {100 * share:4.0f} %"
            )
        else:
            yield f"{_INDENT}GPU {gpu['index']:<2} {used:6.1f} GiB"


def load(node: Document, style: Style) -> Iterator[str]:
    """Yield the lines of the load table, which has one row per load step.

    A row shows the prompt and output tokens per request, the number of concurrent streams, the speed, the latencies in
    milliseconds and the number of failed requests.
    """
    steps = node["load"]
    if not steps:
        return
    yield (
        f"{_INDENT}{'prompt':>6} {'output':>6} {'streams':>7} {'tok/s':>8}  {'TTFT p50':>8} {'p95':>7}"
        f"  {'ITL p50':>8} {'p95':>7} {'failed':>6}"
    )
    for step in steps:
        sizes = f"{_INDENT}{figures.cell(step['prompt_tokens']):>6} {figures.cell(step['output_tokens']):>6}"
        if step["skipped"]:
            yield f"{sizes}   {style.fit(step['skipped'], WIDTH - len(sizes) - 3)}"
            continue
        rate = figures.speed(step["output_throughput"]) + ("?" if step["void"] else "")
        ttft, ttft_p95, itl, itl_p95 = figures.latencies(step)
        yield (
            f"{sizes} {figures.cell(step['concurrency']):>7} {rate:>8}  {ttft:>8} {ttft_p95:>7}  {itl:>8} {itl_p95:>7}"
            f" {figures.cell(step['failed']):>6}"
        )
    yield f"{_INDENT}TTFT and ITL in milliseconds" + (
        "; ?: not valid, limited by the load client" if any(step["void"] for step in steps) else ""
    )
    for line in load_sources(steps):
        yield from style.wrap(line, _INDENT)


def load_sources(steps: Sequence[Document]) -> list[str]:
    """Return one line for each group of load steps whose requests came from the same hosts, and name these hosts.

    The list is empty if the node itself sent all requests.
    """
    steps_by_source: dict[str, list[str]] = {}
    for step in steps:
        parts = step["load_hosts"]
        shares = [
            f"{part['host']} ({counted(part['concurrency'], 'stream')}, {part['tokens']:,} tokens)" for part in parts
        ]
        if source := parts[0]["host"] if len(parts) == 1 else ", ".join(shares):
            steps_by_source.setdefault(source, []).append(str(step["name"]))
    return [f"{', '.join(names)}: load from {source}" for source, names in steps_by_source.items()]


def utilisation(node: Document, style: Style) -> Iterator[str]:
    """Yield a table of GPU utilisation over time as percentages, with one column per GPU and one for the average."""
    data = node["utilisation"]
    if data is None:
        return
    indices = data["gpus"]
    shown = indices[:_COLUMNS]
    hidden = len(indices) - len(shown)
    yield f"{_INDENT}{'UTC' if data['begin'] else 'time':>8}" + "".join(f"{f'GPU {i}':>7}" for i in shown) + "  average"
    for row in windows(data["rows"], _ROWS):
        yield _utilisation_row(
            figures.clock_time(data["begin"], row["time"]), row["utilization_gpu"], len(shown), style
        )
    yield _utilisation_row("mean", data["mean"], len(shown), style)
    if hidden:
        yield f"{_INDENT}and {counted(hidden, 'more GPU')}, included in the average"


def _utilisation_row(label: str, values: Sequence[float | None], shown: int, style: Style) -> str:
    average = _mean(values)
    cells = "".join(f"{'-' if value is None else f'{value:.0f} %':>7}" for value in values[:shown])
    text = f"{_INDENT}{label:>8}{cells}{'-' if average is None else f'{average:.0f} %':>9}"
    room = min(WIDTH - len(text) - 1, 20)
    if average is None or room < 5:
        return text
    return f"{text} {style.gauge(average / 100, room)}"


def windows(rows: Sequence[Document], count: int) -> list[dict[str, t.Any]]:
    """Reduce ``rows`` to at most ``count`` rows by averaging groups of consecutive rows."""
    size = -(-len(rows) // count)
    merged = []
    for start in range(0, len(rows), size or 1):
        group = rows[start : start + size]
        columns = zip(*(row["utilization_gpu"] for row in group), strict=True)
        merged.append({"time": group[0]["time"], "utilization_gpu": [_mean(column) for column in columns]})
    return merged


def _mean(values: Sequence[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return statistics.fmean(measured) if measured else None
